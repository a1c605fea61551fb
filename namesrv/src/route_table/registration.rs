use std::time::Duration;

use raftmq_model::route::{DataVersion, QueueData};
use raftmq_model::topic::TopicConfig;

use super::group::{Group, Member};
use super::{BrokerIdentity, ConnectionId, EXPIRY, RouteTable};

/// What a broker registers.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    pub broker: BrokerIdentity<'a>,
    pub ha_server_address: &'a str,
    pub data_version: DataVersion,
    pub topics: &'a [TopicConfig],
    pub filter_servers: &'a [String],
    /// How long it may be silent; [`EXPIRY`] if it does not say.
    pub expires_after: Option<Duration>,
    pub connection: ConnectionId,
}

/// What a broker is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// For slaves: the address of their master, if one lives.
    pub master_address: Option<String>,
    /// For slaves: where their master serves its log.
    pub ha_server_address: Option<String>,
    /// The registration carried an older epoch than one already known and did not get brokerId 0.
    pub outdated: bool,
}

/// The id of the member in this slot of a Raft group while it follows: `n0` is 1.
fn follower_id(epoch: i64) -> i64 {
    (epoch & 0xFFFF) + 1
}

impl RouteTable {
    /// Registers a broker, anew or again.
    ///
    /// Queues are taken from brokerId 0 only, and only when its DataVersion is not the one known of that address or
    /// the address was not brokerId 0 before. Topics that are missing stay: an incremental registration has just one.
    pub fn register(&mut self, registration: &Registration<'_>, now: Duration) -> Registered {
        let BrokerIdentity { cluster, broker_name, address, broker_id } = registration.broker;
        let group = self.groups.entry(broker_name.to_owned()).or_insert_with(|| Group::new(cluster));
        group.cluster = cluster.to_owned();

        let known = group.members.get(address).map(|member| (member.broker_id, member.data_version));
        let epoch = registration.data_version.state_version;
        if let Some((id, version)) = known
            && version.state_version > epoch
        {
            // Sent before something that has overtaken it: a sign of life and nothing else.
            let mut member = member_of(registration, now);
            (member.broker_id, member.data_version) = (id, version);
            group.members.insert(address.to_owned(), member);
            return Registered { outdated: true, ..answer(group, id) };
        }

        let outdated = broker_id == 0 && epoch < group.epoch;
        let id = match (outdated, epoch) {
            (false, _) => Some(broker_id),
            (true, 0) => None,
            (true, epoch) => Some(follower_id(epoch)),
        };
        if let Some(id) = id {
            make_room(group, id, address);
        }
        if id == Some(0) {
            group.epoch = group.epoch.max(epoch);
        }
        let mut member = member_of(registration, now);
        member.broker_id = id;
        group.members.insert(address.to_owned(), member);
        let registered = Registered { outdated, ..answer(group, id) };
        if id == Some(0) && known != Some((Some(0), registration.data_version)) {
            self.take_queues(broker_name, registration.topics);
        }
        registered
    }

    fn take_queues(&mut self, broker_name: &str, topics: &[TopicConfig]) {
        for topic in topics {
            let queue_data = QueueData {
                broker_name: broker_name.to_owned(),
                perm: topic.perm,
                read_queue_nums: topic.read_queue_nums,
                topic_sys_flag: topic.topic_sys_flag,
                write_queue_nums: topic.write_queue_nums,
            };
            let queues = self.topics.entry(topic.topic_name.clone()).or_default();
            queues.insert(broker_name.to_owned(), queue_data);
        }
    }
}

fn member_of(registration: &Registration<'_>, now: Duration) -> Member {
    Member {
        broker_id: None,
        data_version: registration.data_version,
        connection: registration.connection,
        last_seen: now,
        expires_after: registration.expires_after.unwrap_or(EXPIRY),
        ha_server_address: registration.ha_server_address.to_owned(),
        filter_servers: registration.filter_servers.to_vec(),
    }
}

/// Takes an id from whoever else has it: the last one to register shows. A leader that is replaced follows from now
/// on; its own slot tells under which id.
fn make_room(group: &mut Group, id: i64, address: &str) {
    let holder = group.members.iter().find(|(other, member)| member.broker_id == Some(id) && *other != address);
    let Some((holder, member)) = holder else { return };
    let epoch = member.data_version.state_version;
    let new_id = (id == 0 && epoch != 0)
        .then(|| follower_id(epoch))
        .filter(|id| group.members.values().all(|member| member.broker_id != Some(*id)));
    let holder = holder.clone();
    if let Some(member) = group.members.get_mut(&holder) {
        member.broker_id = new_id;
    }
}

fn answer(group: &Group, id: Option<i64>) -> Registered {
    match group.master() {
        Some((address, master)) if id != Some(0) => Registered {
            master_address: Some(address.clone()),
            ha_server_address: Some(master.ha_server_address.clone()),
            outdated: false,
        },
        _ => Registered::default(),
    }
}
