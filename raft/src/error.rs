use std::io;

use raftmq_store::OpenError;

/// Why a group member could not start. Nothing runs afterwards.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("open the store of group {group}")]
    Store { group: String, source: OpenError },
    #[error("hard state of group {group}: {reason}")]
    HardState { group: String, reason: String },
    #[error("snapshot of group {group}: {reason}")]
    Snapshot { group: String, reason: String },
    #[error("state machine of group {group}: {reason}")]
    StateMachine { group: String, reason: String },
    #[error("listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error("raft of group {group}: {reason}")]
    Raft { group: String, reason: String },
}

/// Why a proposal, or a barrier, did not succeed. Only `Unknown` leaves open whether it is, or will be, in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not appended: this member does not lead, leads another term than the proposer saw, or is not ready yet.
    #[error("not the leader; leader is {leader:?}")]
    NotLeader { leader: Option<u16> },
    /// Not appended: the leader has not heard from a majority for a lease. Hold and propose again.
    #[error("the leader's lease has expired")]
    LeaseExpired,
    /// Not appended: more proposals wait than the queue to the Raft core holds.
    #[error("{limit} proposals wait for the raft core already")]
    Full { limit: u64 },
    /// Not appended: one entry cannot hold so much.
    #[error("proposal of {size_bytes} bytes exceeds the limit of {limit_bytes}")]
    TooLarge { size_bytes: usize, limit_bytes: usize },
    /// The entry may or may not be in the log, now or later.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Not appended: this member has stopped.
    #[error("the raft group has stopped")]
    Stopped,
}

/// Why a request to the leader has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// Not sent: nobody leads, as far as this member knows.
    #[error("no leader is known")]
    NoLeader,
    /// Not sent: this member is the leader itself.
    #[error("this member leads")]
    SelfLeads,
    /// Not sent: no link to the leader could be made, or it is full.
    #[error("not sent to the leader n{slot}: {reason}")]
    NotSent { slot: u16, reason: String },
    /// Sent; whether the leader did it is unknown.
    #[error("no answer from the leader n{slot}: {reason}")]
    Unknown { slot: u16, reason: String },
}
