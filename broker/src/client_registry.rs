//! Which clients are connected, by connection: producers, and consumers with what their groups subscribe.
//!
//! Volatile, of this member only: clients send their heartbeats to every member they know, and to a new one within
//! 30 s. [`Clients`] is the table, [`ClientRegistry`] adds the lock and the connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_model::subscription::SubscriptionData;
use raftmq_remoting::body::{ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel};
use raftmq_remoting::{RemotingCommand, Session, request_code};

/// A client that sent no heartbeat for this long is gone (RocketMQ `CHANNEL_EXPIRED_TIMEOUT`).
pub const EXPIRY: Duration = Duration::from_secs(120);

/// Number of a connection, [`Session::id`].
pub type SessionId = u64;

/// The members of a consumer group have changed: these connections are to be told (request 40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub group: Arc<str>,
    pub sessions: Vec<SessionId>,
}

/// What the heartbeats of a consumer group say. Type, model and start are those of the last heartbeat, whoever sent
/// it; so clients of one group that subscribe differently disturb each other, as they do in RocketMQ.
#[doc(alias = "ConsumerGroupInfo")]
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
    /// By topic.
    pub subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    members: BTreeMap<SessionId, Member>,
}

#[derive(Clone, Debug)]
struct Member {
    client_id: Arc<str>,
    last_heartbeat: Duration,
}

/// The table. Times are on the group's monotonic clock.
#[derive(Debug, Default)]
pub struct Clients {
    consumers: BTreeMap<Arc<str>, ConsumerGroup>,
    producers: BTreeMap<Arc<str>, BTreeMap<SessionId, Member>>,
}

impl Clients {
    /// Takes in one heartbeat; the notices are of groups that have a new member or other topics now.
    pub fn heartbeat(&mut self, session: SessionId, heartbeat: &HeartbeatData, now: Duration) -> Vec<Notice> {
        let member = Member { client_id: heartbeat.client_id.as_str().into(), last_heartbeat: now };
        for producer in &heartbeat.producer_data_set {
            let members = entry(&mut self.producers, &producer.group_name, BTreeMap::new);
            members.insert(session, member.clone());
        }
        let mut notices = Vec::new();
        for data in &heartbeat.consumer_data_set {
            let group = entry(&mut self.consumers, &data.group_name, || ConsumerGroup::new(data));
            if group.heartbeat(session, member.clone(), data) {
                notices.push(Notice { group: data.group_name.as_str().into(), sessions: group.sessions() });
            }
        }
        notices
    }

    /// A client has said that it leaves one group.
    pub fn unregister(
        &mut self,
        session: SessionId,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Vec<Notice> {
        if let Some(group) = producer_group
            && let Some(members) = self.producers.get_mut(group)
        {
            members.remove(&session);
            if members.is_empty() {
                self.producers.remove(group);
            }
        }
        match consumer_group {
            Some(group) => self.remove_consumers(|name, of| name == group && of == session),
            None => Vec::new(),
        }
    }

    /// A connection has ended.
    pub fn close(&mut self, session: SessionId) -> Vec<Notice> {
        self.producers.retain(|_, members| {
            members.remove(&session);
            !members.is_empty()
        });
        self.remove_consumers(|_, of| of == session)
    }

    /// Connections without a heartbeat since [`EXPIRY`].
    pub fn expired(&self, now: Duration) -> BTreeSet<SessionId> {
        let producers = self.producers.values().flatten();
        let consumers = self.consumers.values().flat_map(|group| &group.members);
        let all = producers.chain(consumers);
        all.filter(|(_, member)| now.saturating_sub(member.last_heartbeat) > EXPIRY).map(|(id, _)| *id).collect()
    }

    fn remove_consumers(&mut self, which: impl Fn(&str, SessionId) -> bool) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.consumers.retain(|name, group| {
            let before = group.members.len();
            group.members.retain(|session, _| !which(name, *session));
            if group.members.len() < before && !group.members.is_empty() {
                notices.push(Notice { group: name.clone(), sessions: group.sessions() });
            }
            !group.members.is_empty()
        });
        notices
    }

    pub fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// Whether a producer of this group is connected.
    pub fn has_producer_group(&self, group: &str) -> bool {
        self.producers.contains_key(group)
    }
}

fn entry<'a, T>(table: &'a mut BTreeMap<Arc<str>, T>, name: &str, new: impl FnOnce() -> T) -> &'a mut T {
    let key = table.get_key_value(name).map_or_else(|| Arc::from(name), |(known, _)| known.clone());
    table.entry(key).or_insert_with(new)
}

impl ConsumerGroup {
    fn new(data: &ConsumerData) -> ConsumerGroup {
        ConsumerGroup {
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: BTreeMap::new(),
            members: BTreeMap::new(),
        }
    }

    /// Whether the members are to be told.
    fn heartbeat(&mut self, session: SessionId, member: Member, data: &ConsumerData) -> bool {
        self.consume_type = data.consume_type;
        self.message_model = data.message_model;
        self.consume_from_where = data.consume_from_where;
        let is_new = self.members.insert(session, member).is_none();
        let topics_changed = self.subscribe(&data.subscription_data_set);
        is_new || topics_changed
    }

    /// Replaces the subscriptions; those that are there already only by newer ones. Whether the topics are others.
    fn subscribe(&mut self, wanted: &[SubscriptionData]) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.iter().any(|wanted| wanted.topic == *topic));
        let mut changed = self.subscriptions.len() < before;
        for subscription in wanted {
            match self.subscriptions.get_mut(&subscription.topic) {
                Some(known) => {
                    if subscription.sub_version > known.sub_version {
                        *known = Arc::new(subscription.clone());
                    }
                }
                None => {
                    self.subscriptions.insert(subscription.topic.clone(), Arc::new(subscription.clone()));
                    changed = true;
                }
            }
        }
        changed
    }

    /// The client id of every connected member, each once: a client that has reconnected while its old connection is
    /// not known to be gone must not count twice, or queues would go to nobody.
    pub fn client_ids(&self) -> Vec<String> {
        let ids: BTreeSet<&str> = self.members.values().map(|member| &*member.client_id).collect();
        ids.into_iter().map(str::to_owned).collect()
    }

    fn sessions(&self) -> Vec<SessionId> {
        self.members.keys().copied().collect()
    }
}

/// The clients of one broker group, shared by its processors.
#[doc(alias = "ConsumerManager")]
#[doc(alias = "ProducerManager")]
#[derive(Default)]
pub struct ClientRegistry {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: Clients,
    sessions: BTreeMap<SessionId, Arc<Session>>,
}

impl ClientRegistry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a heartbeat and tells the members of changed groups, where `notifies` allows it.
    pub fn heartbeat(
        &self,
        session: &Arc<Session>,
        heartbeat: &HeartbeatData,
        now: Duration,
        notifies: impl Fn(&str) -> bool,
    ) {
        self.change(notifies, |state| {
            // A connection that has closed meanwhile was already taken out and must not come back.
            if session.is_closed() {
                return Vec::new();
            }
            state.sessions.insert(session.id(), session.clone());
            state.clients.heartbeat(session.id(), heartbeat, now)
        });
    }

    /// Takes a connection out of a producer and a consumer group.
    pub fn unregister(
        &self,
        session: &Session,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
        notifies: impl Fn(&str) -> bool,
    ) {
        self.change(notifies, |state| state.clients.unregister(session.id(), producer_group, consumer_group));
    }

    /// Takes a connection out of everything.
    pub fn close(&self, session: SessionId, notifies: impl Fn(&str) -> bool) {
        self.change(notifies, |state| {
            state.sessions.remove(&session);
            state.clients.close(session)
        });
    }

    /// Takes out the connections that sent no heartbeat for [`EXPIRY`] and returns them, to be closed.
    pub fn expire(&self, now: Duration, notifies: impl Fn(&str) -> bool) -> Vec<Arc<Session>> {
        let mut gone = Vec::new();
        self.change(notifies, |state| {
            let mut notices = Vec::new();
            for session in state.clients.expired(now) {
                gone.extend(state.sessions.remove(&session));
                notices.extend(state.clients.close(session));
            }
            notices
        });
        gone
    }

    /// The client ids of a consumer group; `None` if nobody is connected.
    pub fn consumer_ids(&self, group: &str) -> Option<Vec<String>> {
        self.lock().clients.consumer_group(group).map(ConsumerGroup::client_ids)
    }

    /// Whether each member of a consumer group gets all messages, as its last heartbeat says; `None` if nobody is
    /// connected.
    pub fn is_broadcasting(&self, group: &str) -> Option<bool> {
        let state = self.lock();
        state.clients.consumer_group(group).map(|found| found.message_model == MessageModel::Broadcasting)
    }

    /// What a group wants of a topic, as its last heartbeats say.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Arc<SubscriptionData>> {
        self.lock().clients.consumer_group(group)?.subscriptions.get(topic).cloned()
    }

    /// Changes the table under the lock and sends the notices after it.
    fn change(&self, notifies: impl Fn(&str) -> bool, change: impl FnOnce(&mut State) -> Vec<Notice>) {
        let mut state = self.lock();
        let notices = change(&mut state);
        let mut to_tell = Vec::new();
        for notice in notices.into_iter().filter(|notice| notifies(&notice.group)) {
            let sessions = notice.sessions.iter().filter_map(|id| state.sessions.get(id).cloned());
            to_tell.push((notice.group.clone(), sessions.collect::<Vec<_>>()));
        }
        drop(state);
        for (group, sessions) in to_tell {
            for session in sessions {
                let notice = RemotingCommand::request(request_code::NOTIFY_CONSUMER_IDS_CHANGED);
                session.oneway(notice.with_field("consumerGroup", &*group));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use raftmq_remoting::body::ProducerData;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn consumer(client: &str, topics: &[(&str, i64)]) -> HeartbeatData {
        let subscription = |(topic, version): &(&str, i64)| SubscriptionData {
            sub_version: *version,
            ..SubscriptionData::from_tags(topic, "*").unwrap()
        };
        let data = ConsumerData {
            group_name: "cg".to_owned(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        };
        HeartbeatData { client_id: client.to_owned(), consumer_data_set: vec![data], ..HeartbeatData::default() }
    }

    fn notice(sessions: &[SessionId]) -> Vec<Notice> {
        vec![Notice { group: "cg".into(), sessions: sessions.to_vec() }]
    }

    #[test]
    fn a_new_member_is_told_to_all_and_a_repeated_heartbeat_to_nobody() {
        let mut clients = Clients::default();
        assert_eq!(clients.heartbeat(1, &consumer("a", &[("T", 1)]), NOW), notice(&[1]));
        assert_eq!(clients.heartbeat(1, &consumer("a", &[("T", 1)]), NOW), []);
        assert_eq!(clients.heartbeat(2, &consumer("b", &[("T", 1)]), NOW), notice(&[1, 2]));
        assert_eq!(clients.consumer_group("cg").unwrap().client_ids(), ["a", "b"]);
    }

    #[test]
    fn a_client_that_has_reconnected_counts_once() {
        let mut clients = Clients::default();
        for session in [1, 2] {
            clients.heartbeat(session, &consumer("a", &[("T", 1)]), NOW);
        }
        assert_eq!(clients.consumer_group("cg").unwrap().client_ids(), ["a"]);
        assert_eq!(clients.close(1), notice(&[2]));
        assert_eq!(clients.consumer_group("cg").unwrap().client_ids(), ["a"]);
    }

    #[test]
    fn subscriptions_are_replaced_by_each_heartbeat() {
        let mut clients = Clients::default();
        clients.heartbeat(1, &consumer("a", &[("T", 5), ("U", 5)]), NOW);
        assert_eq!(clients.heartbeat(1, &consumer("a", &[("T", 6), ("U", 4)]), NOW), [], "only versions differ");
        let version = |clients: &Clients, topic: &str| {
            clients.consumer_group("cg").unwrap().subscriptions.get(topic).map(|found| found.sub_version)
        };
        assert_eq!((version(&clients, "T"), version(&clients, "U")), (Some(6), Some(5)), "older ones do not replace");
        assert_eq!(clients.heartbeat(1, &consumer("a", &[("V", 7)]), NOW), notice(&[1]));
        assert_eq!((version(&clients, "T"), version(&clients, "V")), (None, Some(7)));
    }

    #[test]
    fn type_model_and_start_are_those_of_the_last_heartbeat() {
        let mut clients = Clients::default();
        clients.heartbeat(1, &consumer("a", &[]), NOW);
        let mut heartbeat = consumer("b", &[]);
        heartbeat.consumer_data_set[0].message_model = MessageModel::Broadcasting;
        clients.heartbeat(2, &heartbeat, NOW);
        assert_eq!(clients.consumer_group("cg").unwrap().message_model, MessageModel::Broadcasting);
    }

    #[test]
    fn who_stays_is_told_when_somebody_leaves() {
        let mut clients = Clients::default();
        for (session, client) in [(1, "a"), (2, "b"), (3, "c")] {
            clients.heartbeat(session, &consumer(client, &[("T", 1)]), NOW);
        }
        assert_eq!(clients.unregister(1, Some("pg"), Some("other")), []);
        assert_eq!(clients.unregister(1, None, Some("cg")), notice(&[2, 3]));
        assert_eq!(clients.close(2), notice(&[3]));
        assert_eq!(clients.close(2), []);
        assert_eq!(clients.close(3), []);
        assert!(clients.consumer_group("cg").is_none(), "an empty group is dropped");
    }

    #[test]
    fn silent_clients_expire() {
        let mut clients = Clients::default();
        clients.heartbeat(1, &consumer("a", &[("T", 1)]), NOW);
        let producer = HeartbeatData {
            client_id: "p".to_owned(),
            producer_data_set: vec![ProducerData { group_name: "pg".to_owned() }],
            ..HeartbeatData::default()
        };
        clients.heartbeat(2, &producer, NOW + Duration::from_secs(60));
        assert!(clients.expired(NOW + EXPIRY).is_empty());
        assert_eq!(clients.expired(NOW + EXPIRY + Duration::from_millis(1)), BTreeSet::from([1]));
        assert_eq!(clients.expired(NOW + EXPIRY * 2), BTreeSet::from([1, 2]));
        clients.close(2);
        assert!(!clients.has_producer_group("pg"));
    }
}
