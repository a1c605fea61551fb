//! A member of a Raft group: the batch is durable when a majority says so, and done when this leader applied it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use raftmq_raft::{Proposal, ProposeError, RaftGroup, RoleKind};
use tokio::runtime::Handle;

use super::{Batch, BoxFuture, Done, Leadership, ReplicateError, Replicated, Replicator};

/// Batches in flight. openraft merges what queues behind an append; more only adds latency.
const IN_FLIGHT: usize = 16;

pub struct RaftReplicator {
    group: Arc<RaftGroup>,
    runtime: Handle,
    /// See [`Replicator::announced`].
    announced: AtomicI64,
}

impl RaftReplicator {
    /// `runtime` answers what is refused on the spot.
    pub fn new(group: Arc<RaftGroup>, runtime: Handle) -> RaftReplicator {
        RaftReplicator { group, runtime, announced: AtomicI64::new(-1) }
    }
}

fn outcome(error: ProposeError) -> ReplicateError {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::LeaseExpired | ProposeError::Full { .. } => {
            ReplicateError::NotAppended(error.to_string())
        }
        ProposeError::TooLarge { .. } => ReplicateError::Illegal(error.to_string()),
        ProposeError::Unknown(why) => ReplicateError::Unknown(why),
        ProposeError::Stopped => ReplicateError::Stopped(error.to_string()),
    }
}

impl Replicator for RaftReplicator {
    fn replicate(&self, batch: Batch, done: Done) {
        // The caller holds the proposer's queue, which `done` takes again: a refusal that comes before `submit`
        // returns must reach it from elsewhere.
        let submitting = Arc::new(AtomicBool::new(true));
        let (still_submitting, runtime) = (submitting.clone(), self.runtime.clone());
        let proposal = Proposal { records: batch.records };
        self.group.submit(
            batch.epoch,
            proposal,
            Box::new(move |result| {
                let result = result.map(|committed| Replicated { appended: committed.appended }).map_err(outcome);
                if still_submitting.load(Ordering::Acquire) {
                    runtime.spawn(async move { done(result) });
                } else {
                    done(result);
                }
            }),
        );
        submitting.store(false, Ordering::Release);
    }

    fn capacity(&self) -> usize {
        IN_FLIGHT
    }

    fn leadership(&self) -> Leadership {
        let roles = self.group.role();
        let role = roles.borrow();
        let epoch = role.epoch;
        match role.kind {
            RoleKind::Leader { ready: true } if self.announced.load(Ordering::Acquire) == epoch => {
                Leadership::Leading { epoch }
            }
            RoleKind::Leader { ready: true } => Leadership::Unknown { epoch },
            RoleKind::Leader { ready: false } => Leadership::Unknown { epoch },
            _ if role.leader_slot.is_some() => Leadership::Following { epoch },
            _ => Leadership::Unknown { epoch },
        }
    }

    fn announced(&self, epoch: i64) {
        self.announced.store(epoch, Ordering::Release);
    }

    fn read_barrier(&self) -> BoxFuture<Result<(), ReplicateError>> {
        let group = self.group.clone();
        Box::pin(async move { group.read_barrier().await.map_err(outcome) })
    }
}
