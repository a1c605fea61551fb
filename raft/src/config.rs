use std::time::Duration;

use raftmq_store::StoreConfig;

/// One member of the group as configured at bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Small number of the member, unique in its group for ever; `n0` in `dLegerPeers` is slot 0.
    pub slot: u16,
    /// `host:port` of its Raft listener. The name is resolved again at every connect.
    pub address: String,
}

/// Raft's timers. Defaults are for a local NVMe disk; a failover takes about twice the longest election timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Pause between heartbeats; also how long one may stay unanswered.
    pub heartbeat: Duration,
    /// Shortest wait of a follower before it asks for votes.
    pub election_min: Duration,
    /// Longest wait of a follower before it asks for votes; also the leader's lease.
    pub election_max: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            heartbeat: Duration::from_millis(60),
            election_min: Duration::from_millis(180),
            election_max: Duration::from_millis(300),
        }
    }
}

/// When a snapshot of the tables is taken, besides at close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSchedule {
    /// Bytes of log applied since the last one.
    pub log_bytes: u64,
    /// Time since the last one, if anything was applied since.
    pub interval: Duration,
    /// Never sooner than this after the last one.
    pub least_interval: Duration,
}

impl Default for SnapshotSchedule {
    fn default() -> SnapshotSchedule {
        SnapshotSchedule {
            log_bytes: 4 << 30,
            interval: Duration::from_secs(600),
            least_interval: Duration::from_secs(60),
        }
    }
}

/// One member of one Raft group.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// RocketMQ's `brokerClusterName`; members of another cluster are refused.
    pub cluster: String,
    /// RocketMQ's `brokerName` (`dLegerGroup`); members of another group are refused.
    pub group: String,
    /// Which of `peers` this member is (`dLegerSelfId`).
    pub self_slot: u16,
    /// All members at bootstrap, this one included (`dLegerPeers`). Afterwards the membership in the log counts.
    pub peers: Vec<Peer>,
    pub store: StoreConfig,
    pub timers: Timers,
    pub snapshots: SnapshotSchedule,
    /// An append that a follower has not answered for this long breaks the stream to it.
    pub response_deadline: Duration,
}

impl RaftConfig {
    /// A group with default timers and schedules.
    pub fn new(cluster: &str, group: &str, self_slot: u16, peers: Vec<Peer>, store: StoreConfig) -> RaftConfig {
        RaftConfig {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            self_slot,
            peers,
            store,
            timers: Timers::default(),
            snapshots: SnapshotSchedule::default(),
            response_deadline: Duration::from_secs(2),
        }
    }

    /// This member's own entry of `peers`.
    pub fn own_peer(&self) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.slot == self.self_slot)
    }

    /// Names the first pair of settings that cannot work together.
    pub fn validate(&self) -> Result<(), String> {
        if self.own_peer().is_none() {
            return Err(format!("dLegerSelfId n{} is not among dLegerPeers of group {}", self.self_slot, self.group));
        }
        for (index, peer) in self.peers.iter().enumerate() {
            if self.peers[..index].iter().any(|other| other.slot == peer.slot) {
                return Err(format!("dLegerPeers of group {} names n{} twice", self.group, peer.slot));
            }
            if self.peers[..index].iter().any(|other| other.address == peer.address) {
                return Err(format!("dLegerPeers of group {} names {} twice", self.group, peer.address));
            }
        }
        let timers = &self.timers;
        if timers.election_min >= timers.election_max || timers.heartbeat * 2 > timers.election_min {
            return Err(format!(
                "group {}: need 2 x heartbeat ({:?}) <= election_min ({:?}) < election_max ({:?})",
                self.group, timers.heartbeat, timers.election_min, timers.election_max
            ));
        }
        Ok(())
    }
}
