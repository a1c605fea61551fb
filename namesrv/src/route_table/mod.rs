//! The route table: which brokers live, which queues their groups have. Pure: time and connections are arguments.
//!
//! The rules are RocketMQ's `RouteInfoManager`, plus one. A group whose registrations carry an epoch
//! (`DataVersion.stateVersion` = term << 16 | slot of the leader) is a Raft group: an older epoch never becomes
//! brokerId 0, and while nobody is brokerId 0 some living member is shown as it, because every member of a Raft group
//! serves every request and a stock client speaks to brokerId 0 only.

mod group;
mod registration;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raftmq_model::permission;
use raftmq_model::route::{BrokerData, DataVersion, QueueData, TopicRouteData};

use group::Group;
pub use registration::{Registered, Registration};

/// How long a broker that registers no more stays, unless it names another time.
pub const EXPIRY: Duration = Duration::from_secs(120);

/// A connection to a broker, by the number of its session.
pub type ConnectionId = u64;

/// Name and place of a broker, as its requests give it.
#[derive(Clone, Copy, Debug)]
pub struct BrokerIdentity<'a> {
    pub cluster: &'a str,
    pub broker_name: &'a str,
    pub address: &'a str,
    pub broker_id: i64,
}

/// A broker that was removed because it was silent for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    pub broker_name: String,
    pub address: String,
}

/// All routes of one name server.
#[doc(alias = "RouteInfoManager")]
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Topic, then broker name.
    topics: BTreeMap<String, BTreeMap<String, QueueData>>,
    /// By broker name.
    groups: BTreeMap<String, Group>,
}

impl RouteTable {
    /// The route of a topic; none if no broker has it.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for (name, queue_data) in queues {
            let Some(group) = self.groups.get(name) else { continue };
            let broker_data = group.broker_data(name);
            if broker_data.broker_addrs.is_empty() {
                // Its members live, but another address that is gone by now had taken their id: Java's client takes a
                // random one of no addresses and fails. They get an id at their next registration.
                continue;
            }
            route.queue_datas.push(queue_data.clone());
            route.broker_datas.push(broker_data);
            for (address, filter_servers) in group.filter_servers() {
                route.filter_server_table.insert(address.to_owned(), filter_servers.to_vec());
            }
        }
        (!route.broker_datas.is_empty()).then_some(route)
    }

    /// All topics, in order.
    pub fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// Topics with queues on a broker of this cluster, in order.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let in_cluster = |name: &String| self.groups.get(name).is_some_and(|group| group.cluster == cluster);
        let topics = self.topics.iter().filter(|(_, queues)| queues.keys().any(in_cluster));
        topics.map(|(topic, _)| topic.clone()).collect()
    }

    /// Topics whose sysFlag passes, in order. RocketMQ looks at the first broker of a topic only.
    pub fn topics_with_flag(&self, wanted: impl Fn(i32) -> bool) -> Vec<String> {
        let flagged = |queues: &BTreeMap<String, QueueData>| {
            queues.values().next().is_some_and(|queue_data| wanted(queue_data.topic_sys_flag))
        };
        self.topics.iter().filter(|(_, queues)| flagged(queues)).map(|(topic, _)| topic.clone()).collect()
    }

    /// The topics that every cluster has by itself, its own name and those of its broker groups, and any one broker
    /// address.
    pub fn system_topics(&self) -> (Vec<String>, Option<String>) {
        let clusters = self.groups.values().map(|group| group.cluster.clone());
        let topics: BTreeSet<String> = clusters.chain(self.groups.keys().cloned()).collect();
        let address = self.groups.values().find_map(|group| group.any_address());
        (topics.into_iter().collect(), address.map(str::to_owned))
    }

    /// All broker groups.
    pub fn brokers(&self) -> Vec<BrokerData> {
        self.groups.iter().map(|(name, group)| group.broker_data(name)).collect()
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster, until a broker registers it again.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.topics.get_mut(topic) else { return };
        match cluster {
            None => queues.clear(),
            Some(cluster) => {
                queues.retain(|name, _| self.groups.get(name).is_none_or(|group| group.cluster != cluster))
            }
        }
        if queues.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Takes write permission from all queues of a broker group, until a changed registration; returns how many
    /// topics that were.
    pub fn wipe_write_permission(&mut self, broker_name: &str) -> usize {
        self.change_permission(broker_name, |perm| perm & !permission::WRITE)
    }

    /// Gives all queues of a broker group read and write permission; returns how many topics that were.
    pub fn add_write_permission(&mut self, broker_name: &str) -> usize {
        self.change_permission(broker_name, |_| permission::READ | permission::WRITE)
    }

    fn change_permission(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> usize {
        let mut count = 0;
        for queue_data in self.topics.values_mut().filter_map(|queues| queues.get_mut(broker_name)) {
            queue_data.perm = change(queue_data.perm);
            count += 1;
        }
        count
    }

    /// Answers "is this still your version of me?": whether it is not, and the version known of that address. An
    /// unchanged version counts as a sign of life.
    pub fn query_data_version(
        &mut self,
        broker: BrokerIdentity<'_>,
        version: DataVersion,
        connection: ConnectionId,
        now: Duration,
    ) -> (bool, Option<DataVersion>) {
        let group = self.groups.get_mut(broker.broker_name);
        let Some(member) = group.and_then(|group| group.members.get_mut(broker.address)) else { return (true, None) };
        let changed = member.data_version != version || member.broker_id != Some(broker.broker_id);
        if !changed {
            member.connection = connection;
            member.last_seen = now;
        }
        (changed, Some(member.data_version))
    }

    /// A light sign of life (5.x BROKER_HEARTBEAT); false if that broker is not registered.
    pub fn handle_heartbeat(&mut self, broker_name: &str, address: &str, now: Duration) -> bool {
        let group = self.groups.get_mut(broker_name);
        let member = group.and_then(|group| group.members.get_mut(address));
        let Some(member) = member else { return false };
        member.last_seen = now;
        true
    }

    /// A broker says goodbye; false if it was not registered.
    pub fn unregister(&mut self, broker: BrokerIdentity<'_>) -> bool {
        self.remove(broker.broker_name, broker.address)
    }

    /// Drops the brokers that registered over this connection; returns their addresses.
    pub fn handle_close(&mut self, connection: ConnectionId) -> Vec<String> {
        let gone = self.members_where(|group, address| group.members[address].connection == connection);
        gone.into_iter()
            .map(|(name, address)| {
                self.remove(&name, &address);
                address
            })
            .collect()
    }

    /// Drops the brokers that were silent for longer than they may.
    pub fn expire(&mut self, now: Duration) -> Vec<Expired> {
        let gone = self.members_where(|group, address| {
            let member = &group.members[address];
            now.saturating_sub(member.last_seen) > member.expires_after
        });
        let mut expired = Vec::with_capacity(gone.len());
        for (broker_name, address) in gone {
            self.remove(&broker_name, &address);
            expired.push(Expired { broker_name, address });
        }
        expired
    }

    fn members_where(&self, wanted: impl Fn(&Group, &String) -> bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, group) in &self.groups {
            for address in group.members.keys().filter(|address| wanted(group, address)) {
                found.push((name.clone(), address.clone()));
            }
        }
        found
    }

    /// Removes a member, and with the last one its group's queues.
    fn remove(&mut self, broker_name: &str, address: &str) -> bool {
        let Some(group) = self.groups.get_mut(broker_name) else { return false };
        let was_there = group.members.remove(address).is_some();
        if group.members.is_empty() {
            self.groups.remove(broker_name);
            self.topics.retain(|_, queues| {
                queues.remove(broker_name);
                !queues.is_empty()
            });
        }
        was_there
    }
}

#[cfg(test)]
mod tests;
