//! A bound on what all connections of a server together hold of frames that have not come whole.
//!
//! Each connection may have a frame of 16 MiB under way, so a limit per connection alone would let a few thousand
//! slow ones take all memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session::Session;

/// Connections that hold less are never closed to make room. As many as may be open (`serverMaxConnections`, 20,000) hold
/// less than the limit together.
const LARGE_BYTES: usize = 16 << 10;

pub(crate) struct InboundBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    large: Mutex<HashMap<u64, Large>>,
}

struct Large {
    session: Arc<Session>,
    held_bytes: Arc<AtomicUsize>,
}

impl InboundBudget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<InboundBudget> {
        Arc::new(InboundBudget { limit_bytes, used_bytes: AtomicUsize::new(0), large: Mutex::default() })
    }

    fn large(&self) -> MutexGuard<'_, HashMap<u64, Large>> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections that hold most until the rest is within the limit.
    fn relieve(&self) {
        let mut large = self.large();
        while self.used_bytes.load(Ordering::Relaxed) > self.limit_bytes {
            let most = large.iter().max_by_key(|(_, large)| large.held_bytes.load(Ordering::Relaxed));
            let Some(most) = most.map(|(id, _)| *id).and_then(|id| large.remove(&id)) else { return };
            let held_bytes = most.held_bytes.swap(0, Ordering::Relaxed);
            self.used_bytes.fetch_sub(held_bytes, Ordering::Relaxed);
            let (peer, limit_bytes) = (most.session.peer(), self.limit_bytes);
            tracing::warn!(%peer, held_bytes, limit_bytes, key = "serverMaxInboundBytes", "connection closed: unfinished frames of all connections are over the limit");
            most.session.close();
        }
    }
}

/// One connection's part; given back when it is dropped.
pub(crate) struct InboundShare {
    budget: Arc<InboundBudget>,
    session: Arc<Session>,
    held_bytes: Arc<AtomicUsize>,
    is_listed: bool,
}

impl InboundShare {
    pub(crate) fn new(budget: &Arc<InboundBudget>, session: &Arc<Session>) -> InboundShare {
        InboundShare {
            budget: Arc::clone(budget),
            session: Arc::clone(session),
            held_bytes: Arc::default(),
            is_listed: false,
        }
    }

    /// Says how much is held now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = self.held_bytes.swap(bytes, Ordering::Relaxed);
        if bytes <= before {
            self.budget.used_bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        if (bytes >= LARGE_BYTES) != self.is_listed {
            self.is_listed = !self.is_listed;
            let mut large = self.budget.large();
            if self.is_listed {
                let listed = Large { session: Arc::clone(&self.session), held_bytes: Arc::clone(&self.held_bytes) };
                large.insert(self.session.id(), listed);
            } else {
                large.remove(&self.session.id());
            }
        }
        if bytes > before {
            let used = self.budget.used_bytes.fetch_add(bytes - before, Ordering::Relaxed) + bytes - before;
            if used > self.budget.limit_bytes {
                self.budget.relieve();
            }
        }
    }
}

impl Drop for InboundShare {
    fn drop(&mut self) {
        self.set(0);
    }
}
