//! The hard state shared by the log storage, its readers, the state machine and the handshake.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raftmq_store::FrameId;
use raftmq_sys::Spawn;
use tokio::sync::oneshot;

use crate::hard_state::{HardState, HardStateError, HardStateFile, StoredVote};
use crate::type_config::{Leader, Vote};

/// The file behind a lock that is held during an fsync, and copies for those who must not wait for it.
pub(crate) struct Durable {
    file: Mutex<HardStateFile>,
    copy: Mutex<HardState>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Durable {
    pub(crate) fn new(file: HardStateFile) -> Durable {
        let copy = file.state().clone();
        Durable { file: Mutex::new(file), copy: Mutex::new(copy) }
    }

    /// The state as of the last completed update.
    pub(crate) fn state(&self) -> HardState {
        lock(&self.copy).clone()
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        lock(&self.copy)
            .vote
            .map(|vote| Vote { leader_id: Leader { term: vote.term, node_id: vote.node }, committed: vote.committed })
    }

    pub(crate) fn purged(&self) -> Option<FrameId> {
        lock(&self.copy).purged
    }

    pub(crate) fn joined(&self) -> bool {
        lock(&self.copy).joined
    }

    pub(crate) fn founder(&self) -> Option<u128> {
        lock(&self.copy).founder
    }

    /// Durable when this returns; blocks for two fsyncs.
    pub(crate) fn update(&self, change: impl FnOnce(&mut HardState)) -> Result<(), HardStateError> {
        let mut file = lock(&self.file);
        file.update(change)?;
        *lock(&self.copy) = file.state().clone();
        Ok(())
    }

    /// [`Durable::update`] off the runtime's threads.
    pub(crate) async fn update_on(
        self: &Arc<Durable>,
        spawn: &dyn Spawn,
        change: impl FnOnce(&mut HardState) + Send + 'static,
    ) -> std::io::Result<()> {
        let durable = Arc::clone(self);
        let (done, result) = oneshot::channel();
        spawn.blocking(
            "raft-hard-state",
            Box::new(move || {
                // Nobody waits any more only when the group stops.
                let _ = done.send(durable.update(change));
            }),
        );
        match result.await {
            Ok(result) => result.map_err(std::io::Error::other),
            Err(_) => Err(std::io::Error::other("hard state: the writer stopped")),
        }
    }
}

pub(crate) fn stored_vote(vote: &Vote) -> StoredVote {
    StoredVote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}
