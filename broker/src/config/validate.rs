use super::derived::is_address;
use super::{BrokerConfig, BrokerRole};

/// Values that are fine alone and not together, or not for this mode. The text names the keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    #[error("{key} is empty")]
    Empty { key: &'static str },
    #[error("namesrvAddr: `{address}` is not like host:port")]
    NameServer { address: String },
    #[error("brokerRole=SLAVE needs brokerId > 0, it is {broker_id}")]
    SlaveId { broker_id: i64 },
    #[error("brokerRole={role} needs brokerId=0, it is {broker_id}")]
    MasterId { role: &'static str, broker_id: i64 },
    #[error(
        "brokerRole={role} needs master-slave replication, which this release does not have; a Raft group does more \
         (enableDLegerCommitLog=true)"
    )]
    NoReplication { role: &'static str },
    #[error(
        "maxMessageSize={max_message_bytes} does not fit mappedFileSizeCommitLog={file_bytes}: a file must hold it \
         and {overhead_bytes} bytes more"
    )]
    MessageTooLargeForFile { max_message_bytes: usize, file_bytes: u64, overhead_bytes: u64 },
    #[error("{key}: {reason}")]
    Raft { key: &'static str, reason: String },
    #[error("dLegerSelfId=n{slot} is not among dLegerPeers={peers}")]
    SelfNotAmongPeers { slot: u16, peers: String },
    #[error("dLegerPeers names {what} twice")]
    PeerTwice { what: String },
    #[error(
        "raftElectionMinMillis={min_ms} must be at least twice raftHeartbeatMillis={heartbeat_ms} and less than \
         raftElectionMaxMillis={max_ms}"
    )]
    Timers { heartbeat_ms: u128, min_ms: u128, max_ms: u128 },
    #[error("proposerBatchMaxBytes={batch_bytes} is more than proposerQueueMaxBytes={queue_bytes}")]
    BatchLargerThanQueue { batch_bytes: usize, queue_bytes: usize },
}

/// Room beside the body: a Raft frame header, the rest of the record with the longest topic and properties, and the
/// blank that closes a file.
const RECORD_OVERHEAD_BYTES: u64 = (64 << 10) + 72;

impl BrokerConfig {
    /// The first pair of values that cannot work.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let names = [
            ("brokerClusterName", &self.cluster),
            ("brokerName", &self.broker_name),
            ("brokerIP1", &self.broker_ip1),
            ("storePathRootDir", &self.store_root),
        ];
        if let Some((key, _)) = names.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(InvalidConfig::Empty { key });
        }
        if let Some(address) = self.name_servers().into_iter().find(|address| !is_address(address)) {
            return Err(InvalidConfig::NameServer { address });
        }
        if self.max_message_bytes as u64 + RECORD_OVERHEAD_BYTES > self.commit_log_file_bytes {
            return Err(InvalidConfig::MessageTooLargeForFile {
                max_message_bytes: self.max_message_bytes,
                file_bytes: self.commit_log_file_bytes,
                overhead_bytes: RECORD_OVERHEAD_BYTES,
            });
        }
        if self.proposer_batch_max_bytes > self.proposer_queue_max_bytes {
            return Err(InvalidConfig::BatchLargerThanQueue {
                batch_bytes: self.proposer_batch_max_bytes,
                queue_bytes: self.proposer_queue_max_bytes,
            });
        }
        if self.raft_enable { self.validate_raft() } else { self.validate_role() }
    }

    fn validate_role(&self) -> Result<(), InvalidConfig> {
        match (self.broker_role, self.broker_id) {
            (BrokerRole::Slave, broker_id @ ..=0) => Err(InvalidConfig::SlaveId { broker_id }),
            // Both would promise copies that nobody makes.
            (role @ (BrokerRole::Slave | BrokerRole::SyncMaster), _) => {
                Err(InvalidConfig::NoReplication { role: role.name() })
            }
            (_, 0) => Ok(()),
            (role, broker_id) => Err(InvalidConfig::MasterId { role: role.name(), broker_id }),
        }
    }

    fn validate_raft(&self) -> Result<(), InvalidConfig> {
        let peers = self.raft_peers().map_err(|reason| InvalidConfig::Raft { key: "dLegerPeers", reason })?;
        let slot = self.raft_self_slot().map_err(|reason| InvalidConfig::Raft { key: "dLegerSelfId", reason })?;
        for (index, peer) in peers.iter().enumerate() {
            let before = &peers[..index];
            if before.iter().any(|other| other.slot == peer.slot) {
                return Err(InvalidConfig::PeerTwice { what: format!("n{}", peer.slot) });
            }
            if before.iter().any(|other| other.address == peer.address) {
                return Err(InvalidConfig::PeerTwice { what: peer.address.clone() });
            }
        }
        if !peers.iter().any(|peer| peer.slot == slot) {
            return Err(InvalidConfig::SelfNotAmongPeers { slot, peers: self.raft_peers.clone() });
        }
        let (heartbeat, min, max) = (self.raft_heartbeat, self.raft_election_min, self.raft_election_max);
        if heartbeat * 2 > min || min >= max {
            return Err(InvalidConfig::Timers {
                heartbeat_ms: heartbeat.as_millis(),
                min_ms: min.as_millis(),
                max_ms: max.as_millis(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    fn problem(text: &str) -> String {
        let config = load("b.conf", text.as_bytes()).unwrap().config;
        config.validate().map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn bad_pairs_are_named() {
        assert_eq!(problem("namesrvAddr=127.0.0.1:9876;b:9876"), "fine");
        assert_eq!(problem("brokerName="), "brokerName is empty");
        assert_eq!(problem("namesrvAddr=a:9876;b"), "namesrvAddr: `b` is not like host:port");
        assert_eq!(problem("brokerRole=SLAVE"), "brokerRole=SLAVE needs brokerId > 0, it is 0");
        assert_eq!(
            problem("brokerRole=SLAVE\nbrokerId=1"),
            "brokerRole=SLAVE needs master-slave replication, which this release does not have; a Raft group does more \
             (enableDLegerCommitLog=true)"
        );
        assert_eq!(problem("brokerId=1"), "brokerRole=ASYNC_MASTER needs brokerId=0, it is 1");
        assert_eq!(
            problem("mappedFileSizeCommitLog=4194304"),
            "maxMessageSize=4194304 does not fit mappedFileSizeCommitLog=4194304: a file must hold it and 65608 \
             bytes more"
        );
        assert_eq!(
            problem("proposerQueueMaxBytes=1000"),
            "proposerBatchMaxBytes=1048576 is more than proposerQueueMaxBytes=1000"
        );
    }

    #[test]
    fn raft_groups_need_peers_that_fit() {
        let raft = |rest: &str| problem(&format!("enableDLegerCommitLog=true\n{rest}"));
        assert_eq!(raft("dLegerPeers=n0-a:1;n1-b:2\ndLegerSelfId=n1"), "fine");
        assert_eq!(raft("dLegerPeers=n0-a:1;n1-b\ndLegerSelfId=n1"), "dLegerPeers: `n1-b` is not like n0-host:port");
        assert_eq!(raft("dLegerPeers=n0-a:1"), "dLegerSelfId: `` is not like n0");
        assert_eq!(
            raft("dLegerPeers=n0-a:1;n1-b:2\ndLegerSelfId=n2"),
            "dLegerSelfId=n2 is not among dLegerPeers=n0-a:1;n1-b:2"
        );
        assert_eq!(raft("dLegerPeers=n0-a:1;n0-b:2\ndLegerSelfId=n0"), "dLegerPeers names n0 twice");
        assert_eq!(raft("dLegerPeers=n0-a:1;n1-a:1\ndLegerSelfId=n0"), "dLegerPeers names a:1 twice");
        assert_eq!(
            raft("dLegerPeers=n0-a:1\ndLegerSelfId=n0\nraftElectionMinMillis=100"),
            "raftElectionMinMillis=100 must be at least twice raftHeartbeatMillis=60 and less than \
             raftElectionMaxMillis=300"
        );
    }
}
