//! Making the log durable in the background: an ordered queue, one fdatasync for all that waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use raftmq_model::offset::PhysicalOffset;
use raftmq_sys::{Clock, Seams, Worker};

use crate::commit_log::CommitLog;
use crate::config::FlushMode;
use crate::error::{FlushError, OpenError};
use crate::signal::Signal;

/// Called once, in the order of the calls that handed it over.
pub type FlushDone = Box<dyn FnOnce(Result<(), FlushError>) + Send>;

/// Hands bytes over to be made durable. Dropping it stops its worker; what still waits is answered with
/// [`FlushError::Closed`].
///
/// The queue has no bound of its own: each item belongs to one append, and whoever appends bounds those.
pub struct Flusher {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<CommitLog>,
    mode: FlushMode,
    queue: Mutex<Queue>,
    signal: Signal,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<FlushDone>,
    /// The worker is between taking items and calling the last of their callbacks.
    busy: bool,
    closed: bool,
}

impl Flusher {
    pub(crate) fn start(log: Arc<CommitLog>, mode: FlushMode, seams: &Seams) -> Result<Flusher, OpenError> {
        let shared = Arc::new(Shared { log, mode, queue: Mutex::default(), signal: Signal::default() });
        let worker = FlushWorker {
            shared: Arc::clone(&shared),
            clock: Arc::clone(&seams.clock),
            last_thorough: seams.clock.monotonic(),
        };
        let directory = shared.log.segments().directory().to_owned();
        seams
            .spawn
            .worker("store-flush", Box::new(worker))
            .map_err(OpenError::io("start the flusher of", &directory))?;
        Ok(Flusher { shared })
    }

    /// Calls `done` when everything up to `end` is durable; in ASYNC mode at once, if nothing failed before.
    /// `end` must have been written.
    pub fn flush_to(&self, end: PhysicalOffset, done: FlushDone) {
        debug_assert!(end <= self.shared.log.end());
        match self.shared.mode {
            FlushMode::Sync => self.enqueue(done),
            FlushMode::Async { .. } => {
                let poisoned = self.shared.log.is_poisoned();
                done(if poisoned { Err(FlushError::Poisoned) } else { Ok(()) });
            }
        }
    }

    /// Calls `done` when everything handed over before is durable (in both modes) and its callbacks have returned.
    pub fn barrier(&self, done: FlushDone) {
        self.enqueue(done);
    }

    fn enqueue(&self, done: FlushDone) {
        let mut queue = self.shared.lock();
        if queue.closed {
            drop(queue);
            return done(Err(FlushError::Closed));
        }
        queue.waiting.push_back(done);
        let idle = !queue.busy;
        drop(queue);
        // A worker that is busy looks at the queue again before it sleeps.
        if idle {
            self.shared.signal.raise();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            std::mem::take(&mut queue.waiting)
        };
        self.shared.signal.stop();
        for done in waiting {
            done(Err(FlushError::Closed));
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct FlushWorker {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    last_thorough: Duration,
}

const PAGE_BYTES: u64 = 4096;

impl FlushWorker {
    /// Whether ASYNC mode wants a flush now.
    fn is_due(&self) -> bool {
        let FlushMode::Async { least_pages, thorough_interval, .. } = self.shared.mode else { return false };
        let log = &self.shared.log;
        let (flushed, end) = (log.flushed().0, log.end().0);
        let dirty_pages = end.div_ceil(PAGE_BYTES).saturating_sub(flushed / PAGE_BYTES);
        let thorough = self.clock.monotonic().saturating_sub(self.last_thorough) >= thorough_interval;
        !log.is_poisoned() && end > flushed && (thorough || dirty_pages >= u64::from(least_pages))
    }
}

impl Worker for FlushWorker {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        // Kept even when there is work: the waker must be in place before the queue is looked at.
        self.shared.signal.take(context);
        let mut queue = self.shared.lock();
        if queue.closed || self.shared.signal.is_stopped() {
            return Poll::Ready(false);
        }
        queue.busy = !queue.waiting.is_empty();
        if queue.busy || self.is_due() { Poll::Ready(true) } else { Poll::Pending }
    }

    fn work(&mut self) {
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        let result = self.shared.log.flush().map(|_| ());
        self.last_thorough = self.clock.monotonic();
        for done in waiting {
            done(result.clone());
        }
    }

    fn wake_within(&self) -> Option<Duration> {
        match self.shared.mode {
            FlushMode::Sync => None,
            FlushMode::Async { interval, .. } => Some(interval),
        }
    }
}
