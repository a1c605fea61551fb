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
    /// The leadership under which the caller checked what it wants; read before the check. Under another one the work
    /// is not appended.
    pub epoch: i64,
    pub records: WorkRecords,
    /// Called once with where the messages of `records` lie, or why they were not acknowledged.
    pub done: WorkDone,
    /// Dropped when the records are applied or can no more get into the log, which may be long after `done` was told
    /// that their outcome is unknown.
    pub until_ended: Option<Box<dyn Send>>,
}

pub enum WorkRecords {
    Ready(Vec<ProposalRecord>),
    /// Made when nothing is under way, so that they may speak of everything before them in the log. They become a batch
    /// of their own; what comes later waits until it is handed over. Called with the proposer's queue locked.
    WhenNothingIsUnderWay(Box<dyn FnOnce() -> Vec<ProposalRecord> + Send>),
}

pub type WorkDone = Box<dyn FnOnce(Result<&[Appended], ProposeError>) + Send>;

impl Work {
    pub fn new(epoch: i64, records: Vec<ProposalRecord>, done: WorkDone) -> Work {
        Work { epoch, records: WorkRecords::Ready(records), done, until_ended: None }
    }
}

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
    /// Key syncFlushTimeout: a batch under way for longer is answered with an unknown outcome.
    pub max_under_way: Duration,
}

impl Default for ProposerLimits {
    fn default() -> Self {
        ProposerLimits {
            queue_bytes: 64 << 20,
            batch_bytes: 1 << 20,
            max_wait: Duration::from_secs(2),
            max_under_way: Duration::from_secs(5),
        }
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
    /// By age. A batch keeps its place until the replicator has ended it, whatever its submitters were told.
    under_way: VecDeque<UnderWay>,
    /// Numbers the batches.
    next_batch: u64,
}

/// A batch that the replicator has.
struct UnderWay {
    number: u64,
    since: Duration,
    /// Empty once they were answered.
    shares: Vec<Share>,
}

/// Who is to be answered once the queue is not locked any more.
#[derive(Default)]
struct Late {
    /// Never proposed.
    expired: Vec<Work>,
    /// Under way for too long.
    unknown: Vec<WorkDone>,
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

type UntilEnded = Vec<Box<dyn Send>>;

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
        let bytes = match &work.records {
            WorkRecords::Ready(records) => records.iter().map(record_bytes).sum(),
            // Commands, so small.
            WorkRecords::WhenNothingIsUnderWay(_) => 0,
        };
        let inner = &self.inner;
        let mut queue = inner.lock();
        let queued_bytes = queue.bytes;
        if queued_bytes > 0 && queued_bytes + bytes > inner.limits.queue_bytes {
            drop(queue);
            drop(work.until_ended);
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

    /// Answers work that has waited too long, and batches that are under way for too long: without a quorum neither
    /// would hear of anybody. To be called now and then.
    pub fn answer_late(&self) {
        let inner = &self.inner;
        let now = inner.clock.monotonic();
        let mut queue = inner.lock();
        let mut late = Late::default();
        while queue.waiting.front().is_some_and(|first| inner.has_expired(first, now)) {
            let Some(waiting) = queue.waiting.pop_front() else { break };
            queue.bytes -= waiting.bytes;
            late.expired.push(waiting.work);
        }
        for batch in &mut queue.under_way {
            if now.saturating_sub(batch.since) <= inner.limits.max_under_way {
                break;
            }
            late.unknown.extend(std::mem::take(&mut batch.shares).into_iter().map(|share| share.done));
        }
        // What was first may have kept others from places that are free.
        late.expired.extend(inner.start(&mut queue, inner));
        drop(queue);
        inner.refuse(late.expired);
        inner.metrics.unanswered.add(late.unknown.len() as u64);
        for done in late.unknown {
            let why = format!("no end after {:?} (syncFlushTimeout)", inner.limits.max_under_way);
            done(Err(ProposeError::Replicate(ReplicateError::Unknown(why))));
        }
    }

    /// Bytes that wait to be proposed.
    pub fn queued_bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        let queue = self.inner.lock();
        queue.waiting.is_empty() && queue.under_way.is_empty()
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
    fn start(&self, queue: &mut Queue, this: &Arc<Inner>) -> Vec<Work> {
        let mut expired = Vec::new();
        while queue.under_way.len() < self.replicator.capacity() {
            let now = self.clock.monotonic();
            let Some((batch, shares, until_ended)) = self.next_batch(queue, now, &mut expired) else { break };
            let number = queue.next_batch;
            queue.next_batch += 1;
            queue.under_way.push_back(UnderWay { number, since: now, shares });
            self.metrics.batch_bytes.record(batch.bytes as u64);
            let this = this.clone();
            self.replicator.replicate(batch, Box::new(move |result| this.finish(number, until_ended, result)));
        }
        self.metrics.queued_bytes.set(queue.bytes as i64);
        expired
    }

    /// Takes what may go together: work of one leadership up to the limit of a batch. `None` if nothing may go now.
    fn next_batch(
        &self,
        queue: &mut Queue,
        now: Duration,
        expired: &mut Vec<Work>,
    ) -> Option<(Batch, Vec<Share>, UntilEnded)> {
        let (mut batch, mut shares, mut until_ended) = (Batch::default(), Vec::new(), Vec::new());
        while let Some(next) = queue.waiting.front() {
            let is_late = self.has_expired(next, now);
            let alone = matches!(next.work.records, WorkRecords::WhenNothingIsUnderWay(_));
            let full = batch.bytes + next.bytes > self.limits.batch_bytes;
            let ends_batch = !shares.is_empty() && (alone || full || next.work.epoch != batch.epoch);
            let must_wait = alone && !queue.under_way.is_empty();
            if !is_late && (ends_batch || must_wait) {
                break;
            }
            let Some(waiting) = queue.waiting.pop_front() else { break };
            queue.bytes -= waiting.bytes;
            if is_late {
                expired.push(waiting.work);
                continue;
            }
            let Work { epoch, records, done, until_ended: held } = waiting.work;
            let records = match records {
                WorkRecords::Ready(records) => records,
                WorkRecords::WhenNothingIsUnderWay(make) => make(),
            };
            shares.push(Share { messages: records.iter().filter(is_messages).count(), done });
            until_ended.extend(held);
            batch.epoch = epoch;
            batch.bytes += waiting.bytes;
            match batch.records.is_empty() {
                true => batch.records = records,
                false => batch.records.extend(records),
            }
            if alone {
                break;
            }
        }
        (!shares.is_empty()).then_some((batch, shares, until_ended))
    }

    fn has_expired(&self, waiting: &Waiting, now: Duration) -> bool {
        now.saturating_sub(waiting.since) > self.limits.max_wait
    }

    fn finish(self: Arc<Self>, number: u64, until_ended: UntilEnded, result: Result<Replicated, ReplicateError>) {
        let mut queue = self.lock();
        let place = queue.under_way.iter().position(|batch| batch.number == number);
        let shares = place.and_then(|place| queue.under_way.remove(place)).map(|batch| batch.shares);
        let expired = self.start(&mut queue, &self);
        drop(queue);
        // Before the answers: who was told that a topic exists must find it so.
        drop(until_ended);
        self.refuse(expired);
        // None are left if they were answered meanwhile.
        let shares = shares.unwrap_or_default();
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

    fn refuse(&self, expired: Vec<Work>) {
        for Work { done, until_ended, .. } in expired {
            drop(until_ended);
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

    use raftmq_sim::SimClock;
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
        proposer.submit(Work::new(0, command(size), done));
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

    fn timed() -> (Arc<Held>, Proposer, Arc<SimClock>) {
        let (held, clock) = (Arc::new(Held::default()), Arc::new(SimClock::new(0)));
        let metrics = ProposerMetrics::new(&Registry::default(), "g");
        let proposer = Proposer::new(held.clone(), clock.clone(), ProposerLimits::default(), metrics);
        (held, proposer, clock)
    }

    #[test]
    fn work_that_waits_behind_a_stuck_batch_is_answered() {
        let (held, proposer, clock) = timed();
        let (sender, answers) = mpsc::channel();
        submit(&proposer, 10, &sender);
        clock.advance(Duration::from_secs(1));
        submit(&proposer, 20, &sender);
        clock.advance(Duration::from_secs(2));
        proposer.answer_late();
        assert_eq!(answers.try_iter().count(), 0, "not late yet");
        clock.advance(Duration::from_millis(1));
        submit(&proposer, 30, &sender);
        proposer.answer_late();
        let answered: Vec<_> = answers.try_iter().collect();
        assert_eq!(answered, [Err(ProposeError::Expired(Duration::from_secs(2)))], "the one that never left");
        assert_eq!(proposer.queued_bytes(), 30);

        clock.advance(Duration::from_secs(2));
        proposer.answer_late();
        let answered: Vec<_> = answers.try_iter().collect();
        let [Err(ProposeError::Replicate(ReplicateError::Unknown(why)))] = &answered[..] else {
            panic!("{answered:?}");
        };
        assert_eq!(why, "no end after 5s (syncFlushTimeout)");
        assert_eq!(held.batches.lock().unwrap().len(), 1, "its place is not free");
        assert!(!proposer.is_idle());

        let (_, done) = held.batches.lock().unwrap().pop().unwrap();
        done(Ok(Replicated { appended: Vec::new() }));
        assert_eq!(answers.try_iter().count(), 0, "answered once");
        let (next, done) = held.batches.lock().unwrap().pop().unwrap();
        assert_eq!(next.bytes, 30, "its place was given free");
        done(Ok(Replicated { appended: Vec::new() }));
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [Ok(0)]);
        assert!(proposer.is_idle());
    }

    struct Flag(Arc<Mutex<bool>>);

    impl Drop for Flag {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = true;
        }
    }

    #[test]
    fn what_is_kept_until_the_end_outlives_an_unknown_answer() {
        let (held, proposer, clock) = timed();
        let ended = Arc::new(Mutex::new(false));
        let until_ended = Some(Box::new(Flag(ended.clone())) as Box<dyn Send>);
        let (sender, answers) = mpsc::channel();
        let done = Box::new(move |result: Result<&[Appended], _>| sender.send(result.is_ok()).unwrap());
        proposer.submit(Work { until_ended, ..Work::new(0, command(1), done) });
        clock.advance(Duration::from_secs(6));
        proposer.answer_late();
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [false]);
        assert!(!*ended.lock().unwrap(), "it may still get into the log");
        let (_, done) = held.batches.lock().unwrap().pop().unwrap();
        done(Err(ReplicateError::Unknown("test".to_owned())));
        assert!(*ended.lock().unwrap());
    }

    #[test]
    fn work_of_two_leaderships_does_not_share_a_batch() {
        let (held, proposer, _) = timed();
        for epoch in [7, 7, 7, 8, 8] {
            proposer.submit(Work::new(epoch, command(1), Box::new(|_| {})));
        }
        let mut batches = Vec::new();
        loop {
            let Some((batch, done)) = held.batches.lock().unwrap().pop() else { break };
            batches.push((batch.epoch, batch.records.len()));
            done(Ok(Replicated { appended: Vec::new() }));
        }
        assert_eq!(batches, [(7, 1), (7, 2), (8, 2)]);
    }
}
