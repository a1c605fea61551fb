//! The classic store: RocketMQ's files, byte for byte.

use std::sync::Arc;

use raftmq_model::offset::PhysicalOffset;
use raftmq_sys::{Clock, Seams};

use crate::background::Background;
use crate::batch::{Appended, EncodedMessages, QueueOffsets};
use crate::commit_log::CommitLog;
use crate::config::StoreConfig;
use crate::consume_queue::ConsumeQueues;
use crate::error::{AppendError, FlushError, OpenError};
use crate::flush::Flusher;
use crate::placement::Placement;
use crate::raft_log::{assign, check_messages};
use crate::recovery::{self, RecoveryReport};

/// A store in RocketMQ's format.
pub struct ClassicStore {
    pub writer: ClassicWriter,
    pub log: Arc<CommitLog>,
    pub queues: Arc<ConsumeQueues>,
    pub report: RecoveryReport,
}

impl ClassicStore {
    /// Opens or creates the store; one that RocketMQ wrote opens too. Everything kept is durable, and consume
    /// queues are complete, when this returns.
    pub fn open(config: StoreConfig, seams: Seams) -> Result<ClassicStore, OpenError> {
        recovery::open_classic(config, &seams)
    }
}

/// The one writer of a classic commitlog.
///
/// Dropping it without [`close`](ClassicWriter::close) is like killing the process.
pub struct ClassicWriter {
    log: Arc<CommitLog>,
    queues: Arc<ConsumeQueues>,
    background: Background,
    clock: Arc<dyn Clock>,
    limit_bytes: usize,
    placement: Placement,
    offsets: QueueOffsets,
    store_timestamp: i64,
    /// ASYNC_FLUSH: flushes by interval.
    flusher: Option<Flusher>,
}

impl ClassicWriter {
    pub(crate) fn new(
        log: Arc<CommitLog>,
        queues: Arc<ConsumeQueues>,
        background: Background,
        flusher: Option<Flusher>,
        clock: Arc<dyn Clock>,
        limit_bytes: usize,
    ) -> ClassicWriter {
        ClassicWriter {
            placement: Placement::new(&log),
            store_timestamp: log.store_timestamp(),
            offsets: QueueOffsets::default(),
            log,
            queues,
            background,
            clock,
            limit_bytes,
            flusher,
        }
    }

    /// Appends a batch: fills offsets and store time in place, writes once per contiguous run, and pushes one
    /// [`Appended`] for each element. Readers see all of it when this returns; it is durable after the next
    /// [`flush`](ClassicWriter::flush).
    ///
    /// Sizes and space are looked at before anything is written: after [`AppendError::MessageTooLarge`] and
    /// [`AppendError::NoSpace`] the next append may succeed.
    pub fn append(&mut self, batch: &mut [EncodedMessages], appended: &mut Vec<Appended>) -> Result<(), AppendError> {
        self.log.check_poison()?;
        for messages in batch.iter() {
            let size_bytes = messages.bytes.len();
            if size_bytes > self.limit_bytes {
                return Err(AppendError::MessageTooLarge { size_bytes, limit_bytes: self.limit_bytes });
            }
            check_messages(messages)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.make_room(batch)?;
        self.store_timestamp = self.store_timestamp.max(self.clock.unix_ms());
        for messages in batch {
            let position =
                self.placement.place(&self.log, messages.bytes.len()).inspect_err(|error| self.give_up(error))?;
            appended.push(assign(messages, position, self.store_timestamp, &mut self.offsets, &self.queues));
            self.placement.push(&messages.bytes);
        }
        self.placement.write(&self.log)?;
        self.log.publish(self.placement.position(), self.store_timestamp);
        Ok(())
    }

    /// Makes every segment that a batch takes before anything of it has changed, so that a full disk refuses the
    /// batch and leaves the store usable. Consume queues that cannot be written count too: what is appended has to be
    /// held in memory until they can.
    fn make_room(&self, batch: &[EncodedMessages]) -> Result<(), AppendError> {
        self.queues.check_space()?;
        let segments = self.log.segments();
        match self.placement.rolls(&self.log, batch.iter().map(|messages| messages.bytes.len())) {
            0 => Ok(()),
            rolls => segments.prepare(rolls).map_err(|source| AppendError::making(segments.directory(), source)),
        }
    }

    /// A batch failed in the middle: numbers were given to messages that are not written.
    fn give_up(&self, error: &AppendError) {
        self.log.poison(self.log.segments().directory(), &std::io::Error::other(error.to_string()));
    }

    /// Makes everything appended durable; blocks. SYNC_FLUSH calls it before answering.
    pub fn flush(&mut self) -> Result<(), FlushError> {
        self.log.flush().map(|_| ())
    }

    /// Behind the last byte.
    pub fn end(&self) -> PhysicalOffset {
        self.log.end()
    }

    /// A topic was deleted: its queues are numbered from what the consume queues say again.
    pub fn forget_queue_offsets(&mut self) {
        self.offsets.clear();
    }

    /// Flushes the log, makes queues, mark and checkpoint durable, removes `abort` and gives the folder free.
    pub fn close(mut self) -> Result<(), FlushError> {
        drop(self.flusher.take());
        self.background.close()
    }
}
