//! The one seam between the broker and the way a batch becomes durable: locally, or by Raft.

mod classic;
mod local;
mod raft;

use std::future::Future;
use std::pin::Pin;

use raftmq_store::{Appended, ProposalRecord};

pub use classic::{ClassicLocalStore, TableSaver};
pub use local::{LocalReplicator, LocalStore};
pub use raft::RaftReplicator;

/// What is replicated and applied as one: messages, commands, or both. It applies whole or not at all.
#[derive(Default)]
pub struct Batch {
    /// The leadership under which the records were checked, see [`Leadership::epoch`]. Under another one they are not
    /// appended: what they were checked against may have changed.
    pub epoch: i64,
    pub records: Vec<ProposalRecord>,
    /// Bytes of all records, the unit in which bounds are counted.
    pub bytes: usize,
}

/// Where the messages of a batch lie: one value per [`ProposalRecord::Messages`], in their order.
pub struct Replicated {
    pub appended: Vec<Appended>,
}

/// Why a batch was not acknowledged. Ask two things: could the effect still happen, and may this replica go on?
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicateError {
    /// Definitely not appended: this member does not lead, or leads without a quorum. It may be proposed again,
    /// here or at the leader.
    #[error("not appended: {0}")]
    NotAppended(String),
    /// It may or may not be in the log, now or later.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The batch itself cannot be stored, now or ever.
    #[error("{0}")]
    Illegal(String),
    /// The log is poisoned or closed; this member must stop.
    #[error("the store has stopped: {0}")]
    Stopped(String),
}

/// Called exactly once, from any thread, after the batch was applied here or has failed.
pub type Done = Box<dyn FnOnce(Result<Replicated, ReplicateError>) + Send>;

/// How this member stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Takes writes. `epoch` orders leaders of a group: `term << 16 | slot`; 0 outside Raft mode.
    Leading { epoch: i64 },
    /// Somebody else takes writes.
    Following { epoch: i64 },
    /// Nobody is known to take writes: an election runs, or a leader is not ready yet.
    Unknown { epoch: i64 },
}

impl Leadership {
    pub fn is_leading(self) -> bool {
        matches!(self, Leadership::Leading { .. })
    }

    /// Orders the leaderships of a group.
    pub fn epoch(self) -> i64 {
        match self {
            Leadership::Leading { epoch } | Leadership::Following { epoch } | Leadership::Unknown { epoch } => epoch,
        }
    }
}

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Replicates batches in the order of the calls.
///
/// What breaks if an implementation cheats: `done(Ok)` before the batch is durable as configured (or, in Raft mode,
/// on a majority) and applied loses acknowledged messages; `NotAppended` for a batch that may be in the log makes
/// clients' retries count as first tries.
pub trait Replicator: Send + Sync + 'static {
    /// Starts to replicate. Must be quick, and must not call `done` before it returns: it is called with the proposer's
    /// queue locked, and `done` locks it again.
    fn replicate(&self, batch: Batch, done: Done);
    /// Batches that may be under way at once.
    fn capacity(&self) -> usize;
    fn leadership(&self) -> Leadership;
    /// The name servers know of this leadership: from here on it is `Leading`. Before, a client that was acknowledged
    /// could still be sent to the leader before it.
    fn announced(&self, _epoch: i64) {}
    /// Resolves when every write acknowledged by the group before the call is applied here, if this member leads.
    fn read_barrier(&self) -> BoxFuture<Result<(), ReplicateError>>;
}
