//! Single master: the batch is durable when this disk says so.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use raftmq_sys::{Spawn, Worker};
use tokio::runtime::Handle;

use super::{Batch, BoxFuture, Done, Leadership, ReplicateError, Replicated, Replicator};

/// Where batches go: the classic store and the tables beside it. One worker owns it.
pub trait LocalStore: Send + 'static {
    /// Appends, makes durable as configured, applies. One result per batch, in order; after a
    /// [`ReplicateError::Stopped`] every later call says the same.
    fn commit(&mut self, batches: Vec<Batch>) -> Vec<Result<Replicated, ReplicateError>>;
    /// Makes everything durable and marks the store as cleanly closed.
    fn close(&mut self);
}

/// Hands batches to one worker that appends, flushes and applies everything that waits in one go.
pub struct LocalReplicator {
    shared: Arc<Shared>,
    /// Answers what is refused on the spot.
    runtime: Handle,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Batch, Done)>,
    closing: Option<Done0>,
    closed: bool,
    waker: Option<Waker>,
}

type Done0 = Box<dyn FnOnce() + Send>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalReplicator {
    /// Starts the worker named `append-<group>`.
    pub fn start(
        group: &str,
        store: Box<dyn LocalStore>,
        spawn: &dyn Spawn,
        runtime: Handle,
    ) -> io::Result<LocalReplicator> {
        let shared = Arc::new(Shared::default());
        let appender = Appender { shared: shared.clone(), store };
        spawn.worker(&format!("append-{group}"), Box::new(appender))?;
        Ok(LocalReplicator { shared, runtime })
    }

    /// Closes the store after the batches that wait; `closed` is called when that is done.
    pub fn close(&self, closed: Box<dyn FnOnce() + Send>) {
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            closed();
            return;
        }
        state.closing = Some(closed);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Replicator for LocalReplicator {
    fn replicate(&self, batch: Batch, done: Done) {
        let mut state = self.shared.lock();
        if state.closed || state.closing.is_some() {
            drop(state);
            // The proposer's queue is locked by the caller, so the answer must not come from here.
            std::mem::drop(batch);
            let refused = ReplicateError::NotAppended("the broker is shutting down".to_owned());
            self.runtime.spawn(async move { done(Err(refused)) });
            return;
        }
        state.waiting.push_back((batch, done));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// One batch is being committed, a second one is ready when that is done.
    fn capacity(&self) -> usize {
        2
    }

    fn leadership(&self) -> Leadership {
        Leadership::Leading { epoch: 0 }
    }

    fn read_barrier(&self) -> BoxFuture<Result<(), ReplicateError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Appender {
    shared: Arc<Shared>,
    store: Box<dyn LocalStore>,
}

impl Worker for Appender {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.lock();
        if !state.waiting.is_empty() || state.closing.is_some() {
            return Poll::Ready(true);
        }
        if state.closed {
            return Poll::Ready(false);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn work(&mut self) {
        let taken: Vec<_> = self.shared.lock().waiting.drain(..).collect();
        if !taken.is_empty() {
            let (batches, dones): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
            let results = self.store.commit(batches);
            debug_assert_eq!(results.len(), dones.len());
            for (done, result) in dones.into_iter().zip(results) {
                done(result);
            }
            return;
        }
        let mut state = self.shared.lock();
        if let Some(closed) = state.closing.take() {
            state.closed = true;
            drop(state);
            self.store.close();
            closed();
        }
    }
}
