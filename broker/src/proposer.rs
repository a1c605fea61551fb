//! Group commit: everything that waits when a place is free becomes one batch.
//!
//! There is no linger timer and no sequencer task. A submitter that finds a place free hands its work over at once;
//! else the work waits, and the completion of an earlier batch takes all that has gathered. So batches grow by
//! themselves when the disk or the quorum is the bottleneck.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_store::{Appended, ProposalRecord};
use raftmq_sys::Clock;

use crate::metrics::ProposerMetrics;
use crate::replicator::{Batch, ReplicateError, Replicated, Replicator};

/// What one caller wants to have replicated as a unit, often all sends of one read of a connection.
pub struct Work {
    pub records: Vec<ProposalRecord>,
    /// Called once with where the messages of `records` lie, or why they were not acknowledged.
    pub done: WorkDone,
}

pub type WorkDone = Box<dyn FnOnce(Result<&[Appended], ProposeError>) + Send>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Our own overload; definitely not appended.
    #[error("proposer queue holds {queued_bytes} bytes, proposerQueueMaxBytes is {limit_bytes}")]
    Busy { queued_bytes: usize, limit_bytes: usize },
    /// It waited too long to be proposed; definitely not appended.
    #[error("not proposed within {0:?}")]
    Expired(Duration),
    #[error(transparent)]
    Replicate(#[from] ReplicateError),
}

/// Bounds of the queue and of one batch.
#[derive(Clone, Copy, Debug)]
pub struct ProposerLimits {
    /// Key proposerQueueMaxBytes: bytes waiting, beyond which sends are answered SYSTEM_BUSY.
    pub queue_bytes: usize,
    /// One batch ends when it has reached this many bytes.
    pub batch_bytes: usize,
    /// Work that waited longer is not proposed any more.
    pub max_wait: Duration,
}

impl Default for ProposerLimits {
    fn default() -> Self {
        ProposerLimits { queue_bytes: 64 << 20, batch_bytes: 1 << 20, max_wait: Duration::from_secs(2) }
    }
}

struct Waiting {
    work: Work,
    bytes: usize,
    since: Duration,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    in_flight: usize,
}

/// The queue before a group's replicator. Cloned freely.
#[derive(Clone)]
pub struct Proposer {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Mutex<Queue>,
    replicator: Arc<dyn Replicator>,
    clock: Arc<dyn Clock>,
    limits: ProposerLimits,
    metrics: ProposerMetrics,
}

/// A piece of a batch that is under way: how many of the batch's `Appended` are its own.
struct Share {
    messages: usize,
    done: WorkDone,
}

impl Proposer {
    pub fn new(
        replicator: Arc<dyn Replicator>,
        clock: Arc<dyn Clock>,
        limits: ProposerLimits,
        metrics: ProposerMetrics,
    ) -> Proposer {
        Proposer { inner: Arc::new(Inner { queue: Mutex::default(), replicator, clock, limits, metrics }) }
    }

    /// Queues work; `done` is called from the replicator's thread, or at once if the queue is full.
    pub fn submit(&self, work: Work) {
        let bytes = work.records.iter().map(record_bytes).sum();
        let inner = &self.inner;
        let mut queue = inner.lock();
        let queued_bytes = queue.bytes;
        if queued_bytes > 0 && queued_bytes + bytes > inner.limits.queue_bytes {
            drop(queue);
            inner.metrics.refused.add(1);
            (work.done)(Err(ProposeError::Busy { queued_bytes, limit_bytes: inner.limits.queue_bytes }));
            return;
        }
        queue.waiting.push_back(Waiting { work, bytes, since: inner.clock.monotonic() });
        queue.bytes += bytes;
        let expired = inner.start(&mut queue, inner);
        drop(queue);
        inner.refuse(expired);
    }

    /// Bytes that wait to be proposed.
    pub fn queued_bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        let queue = self.inner.lock();
        queue.waiting.is_empty() && queue.in_flight == 0
    }
}

fn record_bytes(record: &ProposalRecord) -> usize {
    match record {
        ProposalRecord::Messages(messages) => messages.bytes.len(),
        ProposalRecord::Command(command) => command.len(),
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over batches while places are free; returns work that waited too long.
    fn start(&self, queue: &mut Queue, this: &Arc<Inner>) -> Vec<WorkDone> {
        let mut expired = Vec::new();
        while queue.in_flight < self.replicator.capacity() && !queue.waiting.is_empty() {
            let now = self.clock.monotonic();
            let mut batch = Batch::default();
            let mut shares = Vec::new();
            while let Some(next) = queue.waiting.front() {
                let full = batch.bytes > 0 && batch.bytes + next.bytes > self.limits.batch_bytes;
                if full {
                    break;
                }
                let Some(waiting) = queue.waiting.pop_front() else { break };
                queue.bytes -= waiting.bytes;
                let waited = now.saturating_sub(waiting.since);
                if waited > self.limits.max_wait {
                    expired.push(waiting.work.done);
                    continue;
                }
                let messages = waiting.work.records.iter().filter(is_messages).count();
                shares.push(Share { messages, done: waiting.work.done });
                batch.bytes += waiting.bytes;
                batch.records.extend(waiting.work.records);
            }
            if shares.is_empty() {
                continue;
            }
            queue.in_flight += 1;
            self.metrics.batch_bytes.record(batch.bytes as u64);
            let this = this.clone();
            self.replicator.replicate(batch, Box::new(move |result| this.finish(shares, result)));
        }
        self.metrics.queued_bytes.set(queue.bytes as i64);
        expired
    }

    fn finish(self: Arc<Self>, shares: Vec<Share>, result: Result<Replicated, ReplicateError>) {
        let mut queue = self.lock();
        queue.in_flight -= 1;
        let expired = self.start(&mut queue, &self);
        drop(queue);
        self.refuse(expired);
        match result {
            Ok(replicated) => {
                let mut rest = &replicated.appended[..];
                for share in shares {
                    let (own, others) = rest.split_at(share.messages);
                    rest = others;
                    (share.done)(Ok(own));
                }
            }
            Err(error) => {
                for share in shares {
                    (share.done)(Err(ProposeError::Replicate(error.clone())));
                }
            }
        }
    }

    fn refuse(&self, expired: Vec<WorkDone>) {
        for done in expired {
            self.metrics.refused.add(1);
            done(Err(ProposeError::Expired(self.limits.max_wait)));
        }
    }
}

fn is_messages(record: &&ProposalRecord) -> bool {
    matches!(record, ProposalRecord::Messages(_))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use raftmq_sys::{RealClock, metrics::Registry};

    use super::*;
    use crate::replicator::{BoxFuture, Done, Leadership};

    /// Keeps batches until the test completes them.
    #[derive(Default)]
    struct Held {
        batches: Mutex<Vec<(Batch, Done)>>,
    }

    impl Replicator for Held {
        fn replicate(&self, batch: Batch, done: Done) {
            self.batches.lock().unwrap().push((batch, done));
        }

        fn capacity(&self) -> usize {
            1
        }

        fn leadership(&self) -> Leadership {
            Leadership::Leading { epoch: 0 }
        }

        fn read_barrier(&self) -> BoxFuture<Result<(), ReplicateError>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn command(size: usize) -> Vec<ProposalRecord> {
        vec![ProposalRecord::Command(vec![0; size])]
    }

    fn submit(proposer: &Proposer, size: usize, answers: &mpsc::Sender<Result<usize, ProposeError>>) {
        let answers = answers.clone();
        let done = Box::new(move |result: Result<&[Appended], _>| {
            answers.send(result.map(<[Appended]>::len)).unwrap();
        });
        proposer.submit(Work { records: command(size), done });
    }

    #[test]
    fn what_gathers_behind_a_batch_becomes_the_next_one() {
        let held = Arc::new(Held::default());
        let metrics = ProposerMetrics::new(&Registry::default(), "g");
        let proposer = Proposer::new(held.clone(), Arc::new(RealClock::new()), ProposerLimits::default(), metrics);
        let (sender, answers) = mpsc::channel();
        for _ in 0..4 {
            submit(&proposer, 10, &sender);
        }
        let (first, done) = held.batches.lock().unwrap().pop().unwrap();
        assert_eq!(first.records.len(), 1);
        done(Ok(Replicated { appended: Vec::new() }));
        assert_eq!(answers.try_iter().count(), 1);
        let (second, done) = held.batches.lock().unwrap().pop().unwrap();
        assert_eq!(second.records.len(), 3);
        done(Err(ReplicateError::Unknown("test".to_owned())));
        assert_eq!(answers.try_iter().filter(Result::is_err).count(), 3);
        assert!(proposer.is_idle());
    }

    #[test]
    fn a_full_queue_refuses_with_limit_and_value() {
        let limits = ProposerLimits { queue_bytes: 100, ..ProposerLimits::default() };
        let metrics = ProposerMetrics::new(&Registry::default(), "g");
        let proposer = Proposer::new(Arc::new(Held::default()), Arc::new(RealClock::new()), limits, metrics);
        let (sender, answers) = mpsc::channel();
        for _ in 0..3 {
            submit(&proposer, 60, &sender);
        }
        let error = answers.try_recv().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "proposer queue holds 60 bytes, proposerQueueMaxBytes is 100");
    }
}
