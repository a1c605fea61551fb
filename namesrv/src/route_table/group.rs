use std::collections::BTreeMap;
use std::time::Duration;

use raftmq_model::route::{BrokerData, DataVersion};

use super::ConnectionId;

/// One broker group and its living members by address.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) cluster: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Epoch of the newest leader that registered; 0 in a group without epochs.
    pub(super) epoch: i64,
}

/// A living broker.
#[derive(Debug)]
pub(super) struct Member {
    /// None: another address took its id, or it claimed to lead a Raft group without an epoch.
    pub(super) broker_id: Option<i64>,
    pub(super) data_version: DataVersion,
    pub(super) connection: ConnectionId,
    pub(super) last_seen: Duration,
    pub(super) expires_after: Duration,
    pub(super) ha_server_address: String,
    pub(super) filter_servers: Vec<String>,
}

impl Group {
    pub(super) fn new(cluster: &str) -> Group {
        Group { cluster: cluster.to_owned(), members: BTreeMap::new(), epoch: 0 }
    }

    /// Addresses by brokerId, as clients are told.
    pub(super) fn addresses(&self) -> BTreeMap<i64, String> {
        let ids = self.members.iter().filter_map(|(address, member)| Some((member.broker_id?, address.clone())));
        let mut addresses: BTreeMap<i64, String> = ids.collect();
        if self.epoch != 0 && !addresses.contains_key(&0) {
            // Nobody leads at the moment, or the leader is gone: the first living member stands in.
            let stand_in = addresses.pop_first().map(|(_, address)| address);
            addresses.extend(stand_in.map(|address| (0, address)));
        }
        addresses
    }

    pub(super) fn broker_data(&self, name: &str) -> BrokerData {
        BrokerData { broker_addrs: self.addresses(), broker_name: name.to_owned(), cluster: self.cluster.clone() }
    }

    pub(super) fn any_address(&self) -> Option<&str> {
        self.members.keys().next().map(String::as_str)
    }

    /// Address and member that is brokerId 0.
    pub(super) fn master(&self) -> Option<(&String, &Member)> {
        self.members.iter().find(|(_, member)| member.broker_id == Some(0))
    }

    pub(super) fn filter_servers(&self) -> impl Iterator<Item = (&str, &[String])> {
        let members = self.members.iter().filter(|(_, member)| !member.filter_servers.is_empty());
        members.map(|(address, member)| (address.as_str(), member.filter_servers.as_slice()))
    }
}
