//! The read side of the commitlog, and the state that its one writer shares with everybody else.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use raftmq_model::offset::PhysicalOffset;
use raftmq_sys::Clock;

use crate::error::{AppendError, FlushError, ReadError};
use crate::metrics::StoreMetrics;
use crate::segments::{Segment, Segments};
use crate::signal::Signal;

/// The commitlog as everybody but its writer sees it.
///
/// `min ≤ flushed ≤ end`. Bytes below `end` never change, except that a Raft truncation takes `end` back first.
pub struct CommitLog {
    segments: Segments,
    min: AtomicU64,
    end: AtomicU64,
    flushed: AtomicU64,
    /// Of a record at or before `end`.
    store_timestamp: AtomicI64,
    /// Of a record before `flushed`.
    flushed_timestamp: AtomicI64,
    poisoned: AtomicBool,
    /// End at which the writer wakes the background work.
    wake_at: AtomicU64,
    wake: Arc<Signal>,
    /// Held during an fsync and a truncation: one at a time, and never both.
    flush_lock: Mutex<()>,
    /// So much before `end` is read through maps.
    hot_window_bytes: u64,
    clock: Arc<dyn Clock>,
    pub(crate) metrics: StoreMetrics,
}

impl CommitLog {
    /// A log whose bytes up to `end` are there and durable.
    pub(crate) fn new(
        segments: Segments,
        end: u64,
        store_timestamp: i64,
        hot_window_bytes: u64,
        wake: Arc<Signal>,
        clock: Arc<dyn Clock>,
        metrics: StoreMetrics,
    ) -> CommitLog {
        let min = segments.all().first().map_or(end, |first| first.base);
        CommitLog {
            segments,
            min: AtomicU64::new(min),
            end: AtomicU64::new(end),
            flushed: AtomicU64::new(end),
            store_timestamp: AtomicI64::new(store_timestamp),
            flushed_timestamp: AtomicI64::new(store_timestamp),
            poisoned: AtomicBool::new(false),
            wake_at: AtomicU64::new(u64::MAX),
            wake,
            flush_lock: Mutex::new(()),
            hot_window_bytes,
            clock,
            metrics,
        }
    }

    /// First position that can be read.
    pub fn min_offset(&self) -> PhysicalOffset {
        PhysicalOffset(self.min.load(Ordering::Acquire))
    }

    /// Behind the last byte that can be read.
    #[doc(alias = "maxOffset")]
    pub fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.end.load(Ordering::Acquire))
    }

    /// Behind the last byte that is durable.
    pub fn flushed(&self) -> PhysicalOffset {
        PhysicalOffset(self.flushed.load(Ordering::Acquire))
    }

    /// Whether an earlier write or fsync failed: nothing can be appended until the process restarts.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Bytes of the log; they must lie in one segment and below [`end`](CommitLog::end). Without a copy in the hot
    /// window (`StoreConfig::hot_window_bytes`); older ones are read, which may wait for the disk, but where a map
    /// would end the process at an unreadable sector, it is an error.
    pub fn slice(&self, at: PhysicalOffset, length: u32) -> Result<Bytes, ReadError> {
        let out_of_range =
            || ReadError::OutOfRange { at, length: u64::from(length), min: self.min_offset(), end: self.end() };
        let end = at.0.checked_add(u64::from(length)).filter(|end| *end <= self.end().0 && at >= self.min_offset());
        let segment = end.and_then(|_| self.segments.containing(at.0)).ok_or_else(out_of_range)?;
        if at.0 - segment.base + u64::from(length) > segment.length {
            return Err(out_of_range());
        }
        let within = at.0 - segment.base;
        let bytes = match self.end().0.saturating_sub(at.0) <= self.hot_window_bytes {
            true => segment.file.slice(within, length as usize),
            false => {
                let mut bytes = vec![0; length as usize];
                segment.file.read_at(&mut bytes, within).map(|()| Bytes::from(bytes))
            }
        };
        bytes.map_err(|source| ReadError::Io { path: segment.path.clone(), source })
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    pub(crate) fn store_timestamp(&self) -> i64 {
        self.store_timestamp.load(Ordering::Acquire)
    }

    pub(crate) fn check_poison(&self) -> Result<(), AppendError> {
        if self.is_poisoned() { Err(AppendError::Poisoned) } else { Ok(()) }
    }

    /// From now on nothing is appended or flushed. Whatever failed is not retried: the kernel may have dropped the
    /// dirty pages and would report success.
    pub(crate) fn poison(&self, path: &Path, error: &io::Error) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            tracing::error!(path = %path.display(), %error, "commit log is poisoned, restart the broker once the disk is well");
        }
    }

    /// Writes whole batches at a position that only the writer knows yet.
    pub(crate) fn write(&self, segment: &Segment, position: u64, bytes: &[u8]) -> Result<(), AppendError> {
        self.check_poison()?;
        let within = position - segment.base;
        segment.zero_ahead.claim(within + bytes.len() as u64);
        self.metrics.write_bytes.record(bytes.len() as u64);
        self.metrics.written_bytes.add(bytes.len() as u64);
        segment.file.write_at(bytes, within).map_err(|source| {
            self.poison(&segment.path, &source);
            AppendError::Io { path: segment.path.clone(), source: Arc::new(source) }
        })
    }

    /// Lets readers see everything up to `end`. The time goes second: whoever reads the time first and the end
    /// after it never gets a time of bytes beyond that end.
    pub(crate) fn publish(&self, end: u64, store_timestamp: i64) {
        self.end.store(end, Ordering::Release);
        self.store_timestamp.fetch_max(store_timestamp, Ordering::AcqRel);
        if end >= self.wake_at.load(Ordering::Relaxed) {
            self.wake_at.store(u64::MAX, Ordering::Relaxed);
            self.wake.raise();
        }
    }

    /// The writer wakes the background work when the log reaches `end`.
    pub(crate) fn wake_at(&self, end: u64) {
        self.wake_at.store(end, Ordering::Relaxed);
    }

    /// Every record up to this store time is durable, but for some of that very millisecond.
    pub(crate) fn flushed_timestamp(&self) -> i64 {
        self.flushed_timestamp.load(Ordering::Acquire)
    }

    /// Makes everything written so far durable: one fdatasync per dirty segment, at most two after a roll.
    pub(crate) fn flush(&self) -> Result<PhysicalOffset, FlushError> {
        let _one_at_a_time = self.lock_flush();
        if self.is_poisoned() {
            return Err(FlushError::Poisoned);
        }
        let timestamp = self.store_timestamp();
        let (from, to) = (self.flushed.load(Ordering::Acquire), self.end.load(Ordering::Acquire));
        if from >= to {
            return Ok(PhysicalOffset(from));
        }
        let mut position = from;
        while position < to {
            let Some(segment) = self.segments.containing(position) else { break };
            self.sync(&segment)?;
            position = segment.end();
        }
        // Somebody else may have met the failed write-back of these very bytes meanwhile.
        if self.is_poisoned() {
            return Err(FlushError::Poisoned);
        }
        self.flushed_timestamp.fetch_max(timestamp, Ordering::AcqRel);
        self.flushed.store(to, Ordering::Release);
        Ok(PhysicalOffset(to))
    }

    fn sync(&self, segment: &Segment) -> Result<(), FlushError> {
        let start = self.clock.monotonic();
        let result = segment.file.sync_data();
        self.metrics.synced(self.clock.monotonic().saturating_sub(start));
        result.map_err(|error| {
            self.metrics.fsync_failures.add(1);
            self.poison(&segment.path, &error);
            FlushError::io(&segment.path)(error)
        })
    }

    pub(crate) fn lock_flush(&self) -> std::sync::MutexGuard<'_, ()> {
        self.flush_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the written and the flushed end back; the caller holds the flush lock.
    pub(crate) fn lower_end(&self, end: u64) {
        self.flushed.fetch_min(end, Ordering::AcqRel);
        self.end.store(end, Ordering::Release);
    }
}
