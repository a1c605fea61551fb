//! The keys as the settings of the crates below.

use raftmq_raft::{Peer, RaftConfig, Timers};
use raftmq_store::{FlushMode, StoreConfig};

use super::{BrokerConfig, FlushDiskType, InvalidConfig};

impl BrokerConfig {
    /// Where this member stores and how it flushes.
    pub fn to_store_config(&self) -> StoreConfig {
        let flush = match self.flush_disk_type {
            FlushDiskType::SyncFlush => FlushMode::Sync,
            FlushDiskType::AsyncFlush => FlushMode::Async {
                interval: self.flush_interval,
                least_pages: self.flush_least_pages,
                thorough_interval: self.flush_thorough_interval,
            },
        };
        StoreConfig {
            commit_log_dir: self.commit_log_dir(),
            segment_bytes: self.commit_log_file_bytes,
            queue_file_bytes: self.queue_file_bytes(),
            max_message_bytes: self.max_message_bytes,
            flush,
            check_crc_on_recover: self.check_crc_on_recover,
            ..StoreConfig::new(&self.store_root)
        }
    }

    /// This member of its Raft group; the error names the key that is malformed.
    pub fn to_raft_config(&self) -> Result<RaftConfig, InvalidConfig> {
        let raft = |key| move |reason| InvalidConfig::Raft { key, reason };
        let peers = self.raft_peers().map_err(raft("dLegerPeers"))?;
        let slot = self.raft_self_slot().map_err(raft("dLegerSelfId"))?;
        let peers = peers.into_iter().map(|peer| Peer { slot: peer.slot, address: peer.address }).collect();
        let store = self.to_store_config();
        Ok(RaftConfig {
            timers: Timers {
                heartbeat: self.raft_heartbeat,
                election_min: self.raft_election_min,
                election_max: self.raft_election_max,
            },
            ..RaftConfig::new(&self.cluster, self.raft_group_name(), slot, peers, store)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;

    #[test]
    fn keys_reach_the_store_and_the_group() {
        let text = "storePathRootDir=/data\nmappedFileSizeConsumeQueue=1001\nenableDLegerCommitLog=true\n\
                    brokerName=g\ndLegerPeers=n0-a:1;n3-b:2\ndLegerSelfId=n3\nraftHeartbeatMillis=20\n";
        let config = load("b.conf", text.as_bytes()).unwrap().config;
        let raft = config.to_raft_config().unwrap();
        assert_eq!((raft.group.as_str(), raft.self_slot), ("g", 3));
        assert_eq!(raft.own_peer(), Some(&Peer { slot: 3, address: "b:2".to_owned() }));
        assert_eq!(raft.timers.heartbeat.as_millis(), 20);
        assert_eq!(raft.store.commit_log_dir, Path::new("/data/commitlog"));
        assert_eq!((raft.store.queue_file_bytes, raft.store.flush), (1020, FlushMode::Sync));
        assert_eq!(raft.validate(), Ok(()));
    }
}
