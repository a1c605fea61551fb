#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_client::{ClientConfig, ClientInstance};
use raftmq_model::message::Message;
use raftmq_model::message_codec;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_model::permission::{INHERIT, READ, WRITE};
use raftmq_model::route::{BrokerData, QueueData, TopicRouteData};
use raftmq_model::topic::AUTO_CREATE_TOPIC_KEY;
use raftmq_remoting::body::{ConsumerList, HeartbeatData, fastjson};
use raftmq_remoting::header::SendMessageRequestHeader;
use raftmq_remoting::{
    FieldValue, RemotingCommand, ReplyBuffer, RequestMeta, RequestProcessor, Server, ServerConfig, Session,
    request_code as code, response_code,
};
use raftmq_sys::Seams;

/// What happens to a send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// Answered with this code, not stored.
    Answered(i32),
    /// The connection is closed without an answer.
    Dropped,
    /// Nothing is answered.
    Silent,
}

/// Name server and broker at one address, with one broker group.
pub(crate) struct FakeCluster {
    server: Server,
    pub(crate) state: Arc<Fake>,
}

#[derive(Default)]
pub(crate) struct Fake {
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    address: String,
    /// Queues by topic.
    topics: BTreeMap<String, i32>,
    /// Of the next sends; afterwards all are stored.
    pub(crate) fates: VecDeque<Fate>,
    /// Whether the template topic exists.
    pub(crate) creates_topics: bool,
    /// Records by topic and queue.
    stored: BTreeMap<(String, i32), Vec<Vec<u8>>>,
    pub(crate) sends: usize,
    pub(crate) routes_asked: usize,
    /// Client ids by consumer group, as the last heartbeats said.
    pub(crate) members: BTreeMap<String, Vec<String>>,
    /// Of others, who never beat.
    pub(crate) strangers: Vec<String>,
    pub(crate) committed: BTreeMap<(String, String, i32), i64>,
    sessions: Vec<Arc<Session>>,
}

pub(crate) const BROKER: &str = "broker-a";

impl FakeCluster {
    pub(crate) async fn start(topics: &[(&str, i32)]) -> FakeCluster {
        let state = Arc::new(Fake::default());
        let config = ServerConfig::default();
        let server = Server::bind("127.0.0.1:0", config, state.clone(), Seams::real()).await.unwrap();
        {
            let mut inner = state.lock();
            inner.address = server.local_addr().to_string();
            inner.topics = topics.iter().map(|(topic, queues)| ((*topic).to_owned(), *queues)).collect();
        }
        FakeCluster { server, state }
    }

    /// A client with quick timers but for the rebalance, which waits for a notice; behind a name server that does not answer.
    pub(crate) fn client(&self) -> ClientInstance {
        let config = ClientConfig {
            heartbeat: Duration::from_millis(50),
            rebalance: Duration::from_secs(60),
            offset_commit: Duration::from_millis(50),
            connect_timeout: Duration::from_millis(500),
            ..ClientConfig::new(&format!("127.0.0.1:1;{}", self.server.local_addr()))
        };
        ClientInstance::start(config, Seams::real())
    }
}

impl Fake {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all clients that the members of a group changed.
    pub(crate) fn notify(&self) {
        for session in &self.lock().sessions {
            session.oneway(RemotingCommand::request(code::NOTIFY_CONSUMER_IDS_CHANGED));
        }
    }
}

impl RequestProcessor for Fake {
    fn process(&self, session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        for request in requests.drain(..) {
            self.lock().answer(session, &request, replies);
        }
    }

    fn opened(&self, session: &Arc<Session>) {
        self.lock().sessions.push(session.clone());
    }
}

fn text(request: &RemotingCommand, name: &str) -> String {
    request.fields.get(name).unwrap_or_else(|| panic!("code {} without {name}", request.code)).into_owned()
}

fn number(request: &RemotingCommand, name: &str) -> i64 {
    text(request, name).parse().unwrap()
}

impl Inner {
    fn answer(&mut self, session: &Session, request: &RemotingCommand, replies: &mut ReplyBuffer) {
        let meta = request.meta();
        match request.code {
            code::GET_ROUTEINFO_BY_TOPIC => {
                self.routes_asked += 1;
                match self.route(&text(request, "topic")) {
                    Some(route) => replies.push(meta, 0, None, &[], &fastjson::to_vec(&route)),
                    None => replies.push(meta, response_code::TOPIC_NOT_EXIST, Some("no route"), &[], &[]),
                }
            }
            code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => self.send(session, request, replies),
            code::PULL_MESSAGE => self.pull(request, replies),
            code::HEART_BEAT => {
                let beat = HeartbeatData::parse(&request.body).unwrap();
                for consumer in beat.consumer_data_set {
                    let members = self.members.entry(consumer.group_name).or_default();
                    members.retain(|member| *member != beat.client_id);
                    members.push(beat.client_id.clone());
                }
                replies.push(meta, 0, None, &[], &[]);
            }
            code::UNREGISTER_CLIENT => {
                let id = text(request, "clientID");
                self.members.values_mut().for_each(|members| members.retain(|member| *member != id));
                replies.push(meta, 0, None, &[], &[]);
            }
            code::GET_CONSUMER_LIST_BY_GROUP => {
                let members = self.members.get(&text(request, "consumerGroup")).cloned().unwrap_or_default();
                let consumer_id_list = members.into_iter().chain(self.strangers.clone()).collect();
                replies.push(meta, 0, None, &[], &ConsumerList { consumer_id_list }.to_json());
            }
            code::QUERY_CONSUMER_OFFSET => match self.committed.get(&offset_key(request)) {
                Some(offset) => push_offset(meta, replies, *offset),
                None => replies.push(meta, response_code::QUERY_NOT_FOUND, Some("never here"), &[], &[]),
            },
            code::UPDATE_CONSUMER_OFFSET => {
                self.committed.insert(offset_key(request), number(request, "commitOffset"));
                replies.push(meta, 0, None, &[], &[]);
            }
            code::GET_MIN_OFFSET => push_offset(meta, replies, 0),
            code::GET_MAX_OFFSET => {
                let key = (text(request, "topic"), number(request, "queueId") as i32);
                push_offset(meta, replies, self.stored.get(&key).map_or(0, Vec::len) as i64);
            }
            other => panic!("code {other} is not expected"),
        }
    }

    fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let (queues, perm) = match self.topics.get(topic) {
            Some(queues) => (*queues, READ | WRITE),
            None if topic == AUTO_CREATE_TOPIC_KEY && self.creates_topics => (8, READ | WRITE | INHERIT),
            None => return None,
        };
        let broker = BrokerData {
            broker_addrs: [(0, self.address.clone())].into(),
            broker_name: BROKER.to_owned(),
            cluster: "C".to_owned(),
        };
        let queue = QueueData {
            broker_name: BROKER.to_owned(),
            perm,
            read_queue_nums: queues,
            topic_sys_flag: 0,
            write_queue_nums: queues,
        };
        Some(TopicRouteData { broker_datas: vec![broker], queue_datas: vec![queue], ..TopicRouteData::default() })
    }

    fn send(&mut self, session: &Session, request: &RemotingCommand, replies: &mut ReplyBuffer) {
        self.sends += 1;
        match self.fates.pop_front() {
            Some(Fate::Answered(code)) => return replies.push(request.meta(), code, Some("as told"), &[], &[]),
            Some(Fate::Dropped) => return session.close(),
            Some(Fate::Silent) => return,
            None => {}
        }
        let header = SendMessageRequestHeader::decode(request).unwrap();
        self.topics.entry(header.topic.to_string()).or_insert(header.default_topic_queue_nums);
        let queue = self.stored.entry((header.topic.to_string(), header.queue_id)).or_default();
        let first = queue.len();
        let bodies = if header.batch {
            batch(&request.body)
        } else {
            vec![(&request.body[..], header.properties.as_deref().unwrap_or_default().as_bytes())]
        };
        for (body, properties) in bodies {
            let message = Message {
                topic: &header.topic,
                queue_id: header.queue_id,
                flag: header.flag,
                sys_flag: header.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: session.peer(),
                store_host: self.address.parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body,
                properties,
            };
            let mut record = Vec::new();
            message_codec::encode(&message, 1 << 20, &mut record).unwrap();
            message_codec::patch(&mut record, QueueOffset(queue.len() as u64), PhysicalOffset(7), 9);
            queue.push(record);
        }
        let (queue_id, offset) = (header.queue_id.to_string(), first.to_string());
        let fields: [(&str, FieldValue<'_>); 3] = [
            ("msgId", "OFFSETID".into()),
            ("queueId", queue_id.as_str().into()),
            ("queueOffset", offset.as_str().into()),
        ];
        replies.push(request.meta(), 0, None, &fields, &[]);
    }

    fn pull(&mut self, request: &RemotingCommand, replies: &mut ReplyBuffer) {
        let key = (text(request, "topic"), number(request, "queueId") as i32);
        let stored = self.stored.get(&key).map(Vec::as_slice).unwrap_or_default();
        let offset = number(request, "queueOffset");
        let end = stored.len() as i64;
        let (code, next) = match offset {
            offset if offset > end => (response_code::PULL_OFFSET_MOVED, end),
            offset if offset == end => (response_code::PULL_NOT_FOUND, end),
            // Two at a time, so that the client has to go on.
            offset => (0, (offset + 2).min(end)),
        };
        let body = if code == 0 { stored[offset as usize..next as usize].concat() } else { Vec::new() };
        let fields: [(&str, FieldValue<'_>); 4] = [
            ("suggestWhichBrokerId", 0.into()),
            ("nextBeginOffset", next.into()),
            ("minOffset", 0.into()),
            ("maxOffset", end.into()),
        ];
        replies.push(request.meta(), code, None, &fields, &body);
    }
}

fn offset_key(request: &RemotingCommand) -> (String, String, i32) {
    (text(request, "consumerGroup"), text(request, "topic"), number(request, "queueId") as i32)
}

fn push_offset(meta: RequestMeta, replies: &mut ReplyBuffer, offset: i64) {
    replies.push(meta, 0, None, &[("offset", offset.into())], &[]);
}

/// Bodies and properties of a batch.
fn batch(mut body: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut messages = Vec::new();
    while let Some((size, _)) = body.split_first_chunk::<4>() {
        let (message, rest) = body.split_at(u32::from_be_bytes(*size) as usize);
        let length = u32::from_be_bytes(message[16..20].try_into().unwrap()) as usize;
        messages.push((&message[20..20 + length], &message[22 + length..]));
        body = rest;
    }
    messages
}
