//! Work beside the append: the next segment, zeros ahead of the tail, writing consume queues behind, and once a
//! second the mark and the checkpoint.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use raftmq_sys::{Clock, DiskFile, Seams, Worker};

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::commit_log::CommitLog;
use crate::config::{FlushMode, StoreConfig};
use crate::consume_queue::{ConsumeQueues, Fingerprint};
use crate::error::{AppendError, FlushError, OpenError, is_full};
use crate::folder::Folder;
use crate::mark::{Mark, MarkFile};
use crate::raft_log::{IndexFiles, RaftEntries};
use crate::segments::Segment;
use crate::signal::Signal;

const TICK: Duration = Duration::from_secs(1);
/// With more queues than this to fsync, they are fsynced every ten ticks.
const QUEUES_PER_TICK: usize = 256;
const MANY_QUEUES_TICKS: u32 = 10;
/// Recovery points remembered behind the tail, spread over `verify_at_open_bytes`.
const RECOVERY_POINTS: u64 = 16;

/// What recovery hands over.
pub(crate) struct Setup {
    pub(crate) config: StoreConfig,
    pub(crate) folder: Folder,
    pub(crate) log: Arc<CommitLog>,
    pub(crate) queues: Arc<ConsumeQueues>,
    pub(crate) mark: MarkFile,
    pub(crate) recovery_point: u64,
    /// Classic: RocketMQ's checkpoint and abort files are kept.
    pub(crate) checkpoint: Option<CheckpointFile>,
    /// Raft: the entries, whose index is written per full segment.
    pub(crate) raft: Option<(Arc<RaftEntries>, IndexFiles)>,
    pub(crate) wake: Arc<Signal>,
}

/// The writer's handle on the background work. Dropped without [`close`](Background::close), it stops it.
pub(crate) struct Background {
    shared: Arc<Shared>,
}

struct Shared {
    config: StoreConfig,
    folder: Folder,
    log: Arc<CommitLog>,
    queues: Arc<ConsumeQueues>,
    raft: Option<(Arc<RaftEntries>, IndexFiles)>,
    clock: Arc<dyn Clock>,
    wake: Arc<Signal>,
    /// Held while segments are made and zeroed ahead of the tail; taken before `durable`.
    ahead: Mutex<Option<Zeroing>>,
    durable: Mutex<Durable>,
}

/// The segment that is being zeroed, by a descriptor of its own: Linux tells each open file of a failed write-back
/// once, so the zeros' fsync through the flusher's would take the error away from it.
struct Zeroing {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
}

/// The small files and what goes into them; one owner at a time.
struct Durable {
    mark: MarkFile,
    checkpoint: Option<CheckpointFile>,
    /// Ends of the log at which records begin, oldest first.
    recovery_points: VecDeque<u64>,
    queues: (u64, Fingerprint),
    /// Store time up to which consume queues are durable.
    logics_timestamp: i64,
    /// Segments below have their index file.
    indexed_below: u64,
    closed: bool,
}

impl Background {
    /// Writes the first mark and starts the worker.
    pub(crate) fn start(setup: Setup, seams: &Seams) -> Result<Background, OpenError> {
        let root = setup.folder.root().clone();
        let queues = setup.queues.persist_point().map_err(OpenError::io("persist consume queues of", &root))?;
        let durable = Durable {
            mark: setup.mark,
            checkpoint: setup.checkpoint,
            recovery_points: VecDeque::from([setup.recovery_point]),
            queues,
            logics_timestamp: setup.log.flushed_timestamp(),
            indexed_below: 0,
            closed: false,
        };
        let shared = Arc::new(Shared {
            config: setup.config,
            folder: setup.folder,
            log: setup.log,
            queues: setup.queues,
            raft: setup.raft,
            clock: Arc::clone(&seams.clock),
            wake: setup.wake,
            ahead: Mutex::default(),
            durable: Mutex::new(durable),
        });
        let worker = BackgroundWorker { last_tick: seams.clock.monotonic(), ticks: 0, shared: Arc::clone(&shared) };
        // From here on a failure stops everything by dropping it.
        let background = Background { shared };
        let shared = &background.shared;
        shared.write_mark(&mut shared.lock()).map_err(OpenError::io("write the mark of", &root))?;
        shared.plan_wake();
        seams
            .spawn
            .worker("store-background", Box::new(worker))
            .map_err(OpenError::io("start the worker of", &root))?;
        Ok(background)
    }

    /// Takes the log back to `end`, the end of entry `last_kept`, whose header has this CRC.
    ///
    /// The mark is lowered first and durably: after a crash in between, what is missing must not look like damage.
    pub(crate) fn truncate(&self, end: u64, last_kept: Option<u64>, header_crc: u32) -> Result<(), AppendError> {
        let shared = &self.shared;
        let mut ahead = shared.lock_ahead();
        // The file may be removed, and another one made by the same name.
        *ahead = None;
        let mut durable = shared.lock();
        let result = shared.truncate(&mut durable, end, last_kept, header_crc);
        drop((durable, ahead));
        shared.plan_wake();
        result.map_err(|source| {
            shared.log.poison(shared.folder.root(), &source);
            AppendError::Io { path: shared.folder.root().clone(), source: Arc::new(source) }
        })
    }

    /// Makes everything durable, ends the work and gives the folder free.
    pub(crate) fn close(&self) -> Result<(), FlushError> {
        let shared = &self.shared;
        shared.log.flush()?;
        shared.persist_all().map_err(|error| {
            shared.log.poison(shared.folder.root(), &error);
            FlushError::io(shared.folder.root())(error)
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.wake.stop();
        self.shared.queues.stop();
        self.shared.lock().closed = true;
        // What is being made ahead of the tail is in the folder too.
        *self.shared.lock_ahead() = None;
        self.shared.folder.unlock();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_ahead(&self) -> MutexGuard<'_, Option<Zeroing>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is needed ahead of the tail. Failures are left to the append, which meets them again.
    fn prepare(&self, restart_zeros: bool) {
        let mut ahead = self.lock_ahead();
        if self.wake.is_stopped() {
            return;
        }
        let segments = self.log.segments();
        let end = self.log.end().0;
        if segments.last().is_some_and(|last| end >= last.base + last.length / 2)
            && let Err(error) = segments.prepare(1)
        {
            tracing::warn!(%error, "cannot prepare the next segment of the commitlog");
        }
        if self.config.flush == FlushMode::Sync && self.config.zero_ahead_bytes > 0 {
            self.zero_ahead(&mut ahead, restart_zeros);
        }
    }

    fn zero_ahead(&self, zeroing: &mut Option<Zeroing>, mut restart: bool) {
        let Some(segment) = self.log.segments().containing(self.log.end().0) else { return };
        let file = match zeroing.take().filter(|zeroing| Arc::ptr_eq(&zeroing.segment, &segment)) {
            Some(zeroing) => Ok(zeroing.file),
            None => self.log.segments().open_again(&segment),
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => return tracing::warn!(%error, "cannot write zeros ahead of the commitlog"),
        };
        *zeroing = Some(Zeroing { segment: Arc::clone(&segment), file: Arc::clone(&file) });
        while !self.log.is_poisoned() && !self.wake.is_stopped() {
            let tail = self.log.end().0.saturating_sub(segment.base);
            let window = self.config.zero_ahead_bytes;
            // Synced here, so that no append's fsync has to carry the zeros.
            let step = segment.zero_ahead.extend(&*file, segment.length, tail, window, restart);
            let step = match step {
                // File systems that copy on write may have no space for them though the segment is allocated.
                Err(error) if is_full(&error) => return,
                step => step.and_then(|bytes| if bytes > 0 { file.sync_data().map(|()| bytes) } else { Ok(0) }),
            };
            match step {
                Ok(0) => return,
                Ok(bytes) => self.log.metrics.zeroed_ahead_bytes.add(bytes),
                // It may be the append's own bytes whose write-back failed here.
                Err(error) => return self.log.poison(&segment.path, &error),
            }
            restart = false;
        }
    }

    /// Sets the log position at which the writer is to wake us.
    fn plan_wake(&self) {
        let segments = self.log.segments();
        let end = self.log.end().0;
        let Some(segment) = segments.containing(end) else { return };
        let half = segment.base + segment.length / 2;
        let mut wake_at = if end < half { half } else { segment.end() };
        if self.config.flush == FlushMode::Sync && self.config.zero_ahead_bytes > 0 {
            let zeroed = segment.base + segment.zero_ahead.zeroed();
            if zeroed > end && zeroed < segment.end() {
                wake_at = wake_at.min(zeroed.saturating_sub(self.config.zero_ahead_bytes / 2).max(end + 1));
            }
        }
        self.log.wake_at(wake_at);
    }

    /// Consume queues to disk; the durable point rises if few enough of them have to be synced.
    fn persist_queues(&self, all: bool) -> io::Result<()> {
        self.queues.write_behind()?;
        if !all && self.queues.unsynced() > QUEUES_PER_TICK {
            return Ok(());
        }
        let (timestamp, flushed) = (self.log.flushed_timestamp(), self.log.flushed().0);
        let point = self.queues.persist_point()?;
        let mut durable = self.lock();
        durable.queues = point;
        if point.0 >= flushed {
            durable.logics_timestamp = timestamp;
        }
        Ok(())
    }

    /// Writes the mark and, in classic mode, the checkpoint behind it. Nothing if neither says anything new.
    fn write_mark(&self, durable: &mut Durable) -> io::Result<()> {
        let disk = &*self.folder.disk;
        let physic_msg_timestamp = self.log.flushed_timestamp();
        let flushed = self.log.flushed().0;
        durable.note_recovery_point(flushed, self.config.verify_at_open_bytes);
        let before = durable.checkpoint.as_ref().map(|file| file.current).unwrap_or_default();
        let checkpoint = Checkpoint {
            physic_msg_timestamp: physic_msg_timestamp.max(before.physic_msg_timestamp),
            logics_msg_timestamp: durable.logics_timestamp.max(before.logics_msg_timestamp),
            ..before
        };
        let newest = durable.mark.newest();
        let checkpoint_of = |checkpoint: Checkpoint| match self.raft {
            Some(_) => Checkpoint::default().encode(),
            None => checkpoint.encode(),
        };
        let mark = Mark {
            sequence: newest.map_or(0, |newest| newest.sequence),
            is_closed: durable.closed,
            flushed,
            recovery_point: durable.recovery_points.front().copied().unwrap_or(0),
            dispatched: durable.queues.0,
            store_timestamp: self.log.store_timestamp(),
            queue_count: durable.queues.1.count,
            queue_fingerprint: durable.queues.1.hash,
            checkpoint: checkpoint_of(checkpoint),
            checkpoint_before: checkpoint_of(before),
        };
        if newest.is_none_or(|newest| Mark { checkpoint_before: mark.checkpoint_before, ..newest } != mark) {
            durable.mark.write(disk, mark)?;
        }
        if let Some(file) = durable.checkpoint.as_mut().filter(|file| file.current != checkpoint) {
            file.write(disk, checkpoint)?;
        }
        Ok(())
    }

    /// Writes the index files of segments that are full and durable.
    fn write_index_files(&self, durable: &mut Durable) -> io::Result<()> {
        let Some((entries, files)) = &self.raft else { return Ok(()) };
        let durable_end = durable.mark.newest().map_or(0, |mark| mark.flushed);
        loop {
            let index = entries.index();
            let last = index.segments.back().map_or(0, |segment| segment.base);
            let next = index.segments.iter().find(|segment| segment.base >= durable.indexed_below);
            let end = next.map(|segment| segment.base + self.log.segments().segment_bytes());
            let (Some(segment), Some(end)) = (next, end.filter(|end| *end <= durable_end)) else { return Ok(()) };
            if segment.base == last {
                return Ok(());
            }
            let base = segment.base;
            let bytes = (!files.exists(base)).then(|| IndexFiles::encode(segment, &index));
            drop(index);
            if let Some(bytes) = bytes {
                files.write(base, &bytes)?;
            }
            durable.indexed_below = end;
        }
    }

    fn truncate(&self, durable: &mut Durable, end: u64, last_kept: Option<u64>, header_crc: u32) -> io::Result<()> {
        let segments = self.log.segments();
        let segment = segments.containing(end).ok_or_else(|| io::Error::other("no segment at the new end"))?;
        let Some((entries, index_files)) = self.raft.as_ref().filter(|_| !durable.closed) else {
            return Err(io::Error::other("store is closed"));
        };
        durable.recovery_points.retain(|point| *point <= end);
        if durable.recovery_points.is_empty() {
            durable.recovery_points.push_back(self.log.min_offset().0);
        }
        if let Some(mark) = durable.mark.newest().filter(|mark| mark.flushed > end) {
            let recovery_point = durable.recovery_points.front().copied().unwrap_or(0);
            durable.mark.write(&*self.folder.disk, Mark { flushed: end, recovery_point, ..mark })?;
        }
        index_files.remove_from(segment.base)?;
        durable.indexed_below = durable.indexed_below.min(segment.base);
        let _no_flush = self.log.lock_flush();
        let old_end = self.log.end().0;
        entries.truncate(last_kept, header_crc);
        self.log.lower_end(end);
        segment.file.zero(end - segment.base, old_end.min(segment.end()) - end)?;
        // Now, for nothing else may do it: a close finds everything below the flushed end durable, and says that
        // nothing lies behind. Entries that came back after that would stay for ever behind those that follow.
        segment.file.sync_data()?;
        segments.remove_from(segment.end())
    }

    fn persist_all(&self) -> io::Result<()> {
        self.persist_queues(true)?;
        let mut durable = self.lock();
        durable.closed = true;
        self.write_mark(&mut durable)?;
        self.write_index_files(&mut durable)?;
        // RocketMQ's sign of a clean stop: everything is flushed and dispatched.
        let abort = self.folder.abort();
        let disk = &self.folder.disk;
        if durable.queues.0 >= self.log.end().0 && durable.checkpoint.is_some() && disk.exists(&abort) {
            disk.remove_file(&abort)?;
            disk.sync_dir(self.folder.root())?;
        }
        Ok(())
    }
}

impl Durable {
    /// Remembers an end of the log as a place where recovery may begin, and forgets those that lie further back
    /// than needed.
    fn note_recovery_point(&mut self, flushed: u64, verify_bytes: u64) {
        let step = (verify_bytes / RECOVERY_POINTS).max(1);
        if self.recovery_points.back().is_none_or(|last| flushed >= last + step) {
            self.recovery_points.push_back(flushed);
        }
        while self.recovery_points.get(1).is_some_and(|second| second + verify_bytes <= flushed) {
            self.recovery_points.pop_front();
        }
    }
}

struct BackgroundWorker {
    shared: Arc<Shared>,
    last_tick: Duration,
    ticks: u32,
}

impl BackgroundWorker {
    fn until_tick(&self) -> Duration {
        (self.last_tick + TICK).saturating_sub(self.shared.clock.monotonic())
    }

    fn tick(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        self.ticks += 1;
        let persisted = shared.persist_queues(self.ticks.is_multiple_of(MANY_QUEUES_TICKS));
        if persisted.as_ref().is_err_and(|error| !is_full(error)) {
            return persisted;
        }
        let mut durable = shared.lock();
        if durable.closed {
            return Ok(());
        }
        // The mark needs no space, and what is flushed is flushed.
        shared.write_mark(&mut durable)?;
        shared.write_index_files(&mut durable)?;
        persisted
    }

    /// Between ticks: a new segment has begun, or many units wait in memory.
    fn nudged(&mut self) -> io::Result<()> {
        let shared = &self.shared;
        shared.queues.write_if_many()?;
        let mut durable = shared.lock();
        let segment_bytes = shared.log.segments().segment_bytes();
        let marked = durable.mark.newest().map_or(0, |mark| mark.flushed);
        if durable.closed || marked / segment_bytes == shared.log.flushed().0 / segment_bytes {
            return Ok(());
        }
        shared.write_mark(&mut durable)?;
        shared.write_index_files(&mut durable)
    }
}

impl Worker for BackgroundWorker {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let raised = self.shared.wake.take(context);
        if self.shared.wake.is_stopped() {
            return Poll::Ready(false);
        }
        if raised || self.until_tick().is_zero() { Poll::Ready(true) } else { Poll::Pending }
    }

    fn work(&mut self) {
        let is_tick = self.until_tick().is_zero();
        if self.shared.wake.is_stopped() || self.shared.log.is_poisoned() {
            self.last_tick = self.shared.clock.monotonic();
            return;
        }
        self.shared.prepare(is_tick);
        self.shared.plan_wake();
        let result = if is_tick { self.tick() } else { self.nudged() };
        if is_tick {
            self.last_tick = self.shared.clock.monotonic();
        }
        match result {
            // It is tried again with the next tick; the append refuses what it has no place for.
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, path = %self.shared.folder.root().display(), "the disk is full");
            }
            Err(error) if !self.shared.wake.is_stopped() => {
                self.shared.log.poison(self.shared.folder.root(), &error);
            }
            _ => {}
        }
    }

    fn wake_within(&self) -> Option<Duration> {
        Some(self.until_tick())
    }
}
