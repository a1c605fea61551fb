//! A group for tests: over a classic store of its own, and with a replicator whose batches and barriers end when the
//! test says so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use raftmq_model::topic::TopicConfig;
use raftmq_remoting::{ClientIdentity, FrameDecoder, RemotingCommand, ReplyBuffer, ReplySink, Session};
use raftmq_store::{ClassicStore, ProposalRecord, StoreConfig};
use raftmq_sys::Seams;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::apply_sink::GroupSink;
use crate::client_registry::ClientRegistry;
use crate::config::BrokerConfig;
use crate::dispatcher;
use crate::group::Group;
use crate::metrics::{MessageMetrics, ProposerMetrics};
use crate::offset_coalescer::OffsetCoalescer;
use crate::proposer::{Proposer, ProposerLimits};
use crate::pull_hold::PullHold;
use crate::replicator::{
    Batch, BoxFuture, ClassicLocalStore, Done, Leadership, LocalStore, ReplicateError, Replicator, TableSaver,
};
use crate::state_machine::{Command, Machine, Tables, bootstrap_commands};
use crate::topics_in_creation::TopicsInCreation;

/// Leads, and keeps batches and barriers until the test ends them.
#[derive(Default)]
pub(crate) struct Scripted {
    batches: Mutex<VecDeque<(Batch, Done)>>,
    barriers: Mutex<VecDeque<oneshot::Sender<Result<(), ReplicateError>>>>,
}

impl Replicator for Scripted {
    fn replicate(&self, batch: Batch, done: Done) {
        self.batches.lock().unwrap().push_back((batch, done));
    }

    fn capacity(&self) -> usize {
        16
    }

    fn leadership(&self) -> Leadership {
        Leadership::Leading { epoch: 0 }
    }

    fn read_barrier(&self) -> BoxFuture<Result<(), ReplicateError>> {
        let (end, ended) = oneshot::channel();
        self.barriers.lock().unwrap().push_back(end);
        Box::pin(async move { ended.await.unwrap() })
    }
}

struct NoFiles;

impl TableSaver for NoFiles {
    fn changed(&mut self, _: &mut Machine) -> Result<(), String> {
        Ok(())
    }

    fn close(&mut self, _: &mut Machine) {}
}

/// The answers that a session got.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Vec<RemotingCommand>>>);

impl ReplySink for Answers {
    fn send(&self, replies: ReplyBuffer) {
        let mut bytes = BytesMut::new();
        for segment in replies.into_segments() {
            bytes.extend_from_slice(&segment);
        }
        while let Some(answer) = FrameDecoder::default().decode(&mut bytes).unwrap() {
            self.0.lock().unwrap().push(answer);
        }
    }
}

impl Answers {
    /// Codes of the answers so far.
    pub(crate) fn take_codes(&self) -> Vec<i32> {
        self.0.lock().unwrap().drain(..).map(|answer| answer.code).collect()
    }

    /// The code of the next answer.
    pub(crate) async fn next_code(&self) -> i32 {
        eventually("an answer", || self.0.lock().unwrap().pop()).await.code
    }
}

pub(crate) struct TestGroup {
    pub(crate) group: Arc<Group>,
    pub(crate) answers: Answers,
    session: Arc<Session>,
    replicator: Arc<Scripted>,
    store: Mutex<ClassicLocalStore>,
    _folder: tempfile::TempDir,
}

impl TestGroup {
    /// With the topics of the start, and `topics` of so many queues.
    pub(crate) fn new(topics: &[(&str, i32)]) -> TestGroup {
        TestGroup::open(Some(topics))
    }

    pub(crate) fn without_topics() -> TestGroup {
        TestGroup::open(None)
    }

    fn open(topics: Option<&[(&str, i32)]>) -> TestGroup {
        let folder = tempfile::tempdir().unwrap();
        let seams = Seams::real();
        let config = StoreConfig { segment_bytes: 1 << 20, max_message_bytes: 1000, ..StoreConfig::new(folder.path()) };
        let store = ClassicStore::open(config, seams.clone()).unwrap();
        let tables = Tables::default();
        let sink = GroupSink::default();
        let mut machine = Machine::without_store(tables.clone(), store.queues.clone(), Box::new(sink.clone()));
        let config = BrokerConfig { max_message_bytes: 1000, ..BrokerConfig::default() };
        if topics.is_some() {
            for command in bootstrap_commands(&tables, &config.topic_defaults(), 1) {
                machine.apply_command(None, &command).unwrap();
            }
        }
        for (name, queues) in topics.unwrap_or_default() {
            let config = TopicConfig::new(name, *queues, 6);
            let put = Command::PutTopic { config, from_auto_create: false, at_unix_ms: 1 };
            machine.apply_command(None, &put).unwrap();
        }
        let replicator = Arc::new(Scripted::default());
        let metrics = ProposerMetrics::new(&seams.metrics, "g");
        let limits = ProposerLimits::default();
        let proposer = Proposer::new(replicator.clone(), seams.clock.clone(), limits, metrics);
        let group = Arc::new(Group {
            metrics: MessageMetrics::new(&seams.metrics, "g"),
            io: Handle::current(),
            topics: tables.topics,
            groups: tables.groups,
            consumer_offsets: tables.consumer_offsets,
            log: store.log.clone(),
            queues: store.queues.clone(),
            proposer,
            topics_in_creation: TopicsInCreation::default(),
            replicator: replicator.clone(),
            clients: Arc::new(ClientRegistry::default()),
            holds: PullHold::new(10),
            offset_commits: OffsetCoalescer::new(seams.clock.clone(), None),
            leader_hold: None,
            topic_defaults: config.topic_defaults(),
            registration: OnceLock::new(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            config: Arc::new(config),
            seams,
        });
        sink.set_group(&group);
        let answers = Answers::default();
        let peer = "127.0.0.1:5000".parse().unwrap();
        let session = Session::detached(peer, ClientIdentity::default(), Arc::new(answers.clone()));
        let store = ClassicLocalStore::new(store.writer, machine, Box::new(NoFiles), false, watch::Sender::new(None));
        TestGroup { group, answers, session, replicator, store: Mutex::new(store), _folder: folder }
    }

    pub(crate) fn ask(&self, request: RemotingCommand) {
        self.ask_all(vec![request]);
    }

    /// Requests that came with one read.
    pub(crate) fn ask_all(&self, requests: Vec<RemotingCommand>) {
        dispatcher::process_as_leader(&self.group, &self.session, requests);
    }

    pub(crate) fn batches(&self) -> usize {
        self.replicator.batches.lock().unwrap().len()
    }

    /// The commands of the oldest batch.
    pub(crate) fn commands_of_next(&self) -> Vec<Command> {
        let batches = self.replicator.batches.lock().unwrap();
        let records = batches.front().unwrap().0.records.iter();
        let commands = records.filter_map(|record| match record {
            ProposalRecord::Command(command) => Some(Command::from_record(command).unwrap()),
            ProposalRecord::Messages(_) => None,
        });
        commands.collect()
    }

    fn next_batch(&self) -> (Batch, Done) {
        self.replicator.batches.lock().unwrap().pop_front().unwrap()
    }

    /// Stores and applies the oldest batch.
    pub(crate) fn store_next(&self) {
        let (batch, done) = self.next_batch();
        let result = self.store.lock().unwrap().commit(vec![batch]).pop().unwrap();
        done(result);
    }

    /// Ends the oldest batch without storing it.
    pub(crate) fn refuse_next(&self) {
        let (_, done) = self.next_batch();
        done(Err(ReplicateError::NotAppended("test".to_owned())));
    }

    /// Ends the oldest barrier, once there is one.
    pub(crate) async fn end_barrier(&self, result: Result<(), ReplicateError>) {
        let barrier = eventually("a barrier", || self.replicator.barriers.lock().unwrap().pop_front()).await;
        barrier.send(result).unwrap();
    }
}

/// Waits for what happens elsewhere; the bound is generous because machines differ.
pub(crate) async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..5000 {
        match found() {
            Some(found) => return found,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    panic!("did not happen: {what}");
}

/// A send of one message.
pub(crate) fn send(topic: &str, default_queues: i32, queue_id: i32) -> RemotingCommand {
    RemotingCommand::request(10)
        .with_field("producerGroup", "pg")
        .with_field("topic", topic)
        .with_field("defaultTopic", "TBW102")
        .with_field("defaultTopicQueueNums", default_queues)
        .with_field("queueId", queue_id)
        .with_field("sysFlag", 0)
        .with_field("bornTimestamp", 1_700_000_000_000_i64)
        .with_field("flag", 0)
        .with_body("body")
}
