use std::path::PathBuf;
use std::time::Duration;

use raftmq_model::message_codec::BLANK_BYTES;

use crate::error::OpenError;

/// Where a store lies and how it writes.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`; only segments lie in it.
    pub commit_log_dir: PathBuf,
    /// `mappedFileSizeCommitLog`. Fixed for the life of a store.
    pub segment_bytes: u64,
    /// `mappedFileSizeConsumeQueue`; a multiple of 20.
    pub queue_file_bytes: u64,
    /// `maxMessageSize`, the limit of a body.
    pub max_message_bytes: usize,
    /// What topic, properties and fields may add to a body: RocketMQ's 64 KiB.
    pub record_extra_bytes: usize,
    pub flush: FlushMode,
    /// `checkCRCOnRecover`: body CRCs of messages are compared during recovery. Raft frames always are.
    pub check_crc_on_recover: bool,
    /// How far ahead of the tail zeros are written in the background (SYNC only): an fsync into blocks that were
    /// written before is 35 to 50 % cheaper. 0 turns it off; at most 64 MiB.
    pub zero_ahead_bytes: u64,
    /// The newest bytes of the log, which are read through maps: without a copy, but a page that is not in memory
    /// stalls the reader, and one that cannot be read kills the process. Older ones are copied by `pread`. To be
    /// chosen so that the page cache holds it.
    pub hot_window_bytes: u64,
    /// How much of the log behind the flushed mark is verified again at a normal start. Older bytes are verified
    /// when they are read (Raft) or by the consumer queue's checks.
    pub verify_at_open_bytes: u64,
}

/// When appended bytes become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// Before the append is acknowledged.
    Sync,
    /// In the background: every `interval` if `least_pages` pages of 4 KiB are dirty, everything every
    /// `thorough_interval`.
    Async { interval: Duration, least_pages: u32, thorough_interval: Duration },
}

impl FlushMode {
    /// ASYNC_FLUSH with RocketMQ's times.
    pub const ASYNC_DEFAULT: FlushMode = FlushMode::Async {
        interval: Duration::from_millis(500),
        least_pages: 4,
        thorough_interval: Duration::from_secs(10),
    };
}

const MAX_ZERO_AHEAD_BYTES: u64 = 64 << 20;
/// Positions inside a segment are kept as `u32`.
const MAX_SEGMENT_BYTES: u64 = u32::MAX as u64;

impl StoreConfig {
    /// RocketMQ's defaults under `root`, in ASYNC_FLUSH.
    pub fn new(root: impl Into<PathBuf>) -> StoreConfig {
        let root = root.into();
        StoreConfig {
            commit_log_dir: root.join("commitlog"),
            root,
            segment_bytes: 1 << 30,
            queue_file_bytes: 300_000 * 20,
            max_message_bytes: 4 << 20,
            record_extra_bytes: 64 << 10,
            flush: FlushMode::ASYNC_DEFAULT,
            check_crc_on_recover: true,
            zero_ahead_bytes: 4 << 20,
            hot_window_bytes: 1 << 30,
            verify_at_open_bytes: 64 << 20,
        }
    }

    /// Largest run of message records that one append may take.
    pub fn max_record_bytes(&self) -> usize {
        let segment = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        (self.max_message_bytes + self.record_extra_bytes).min(segment.saturating_sub(BLANK_BYTES))
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        // The largest record, its frame header and the blank that closes a segment.
        let least = self.max_message_bytes as u64 + self.record_extra_bytes as u64 + 72;
        if self.segment_bytes < least {
            return Err(OpenError::Config {
                key: "mappedFileSizeCommitLog",
                value: self.segment_bytes,
                what: format!("must be at least {least} for maxMessageSize {}", self.max_message_bytes),
            });
        }
        self.check_sizes()
    }

    fn check_sizes(&self) -> Result<(), OpenError> {
        if self.segment_bytes > MAX_SEGMENT_BYTES {
            return Err(OpenError::Config {
                key: "mappedFileSizeCommitLog",
                value: self.segment_bytes,
                what: format!("must be at most {MAX_SEGMENT_BYTES}"),
            });
        }
        if self.queue_file_bytes == 0 || !self.queue_file_bytes.is_multiple_of(20) {
            return Err(OpenError::Config {
                key: "mappedFileSizeConsumeQueue",
                value: self.queue_file_bytes,
                what: "must be a multiple of 20".to_owned(),
            });
        }
        if self.zero_ahead_bytes > MAX_ZERO_AHEAD_BYTES {
            return Err(OpenError::Config {
                key: "zeroAheadBytes",
                value: self.zero_ahead_bytes,
                what: format!("must be at most {MAX_ZERO_AHEAD_BYTES}"),
            });
        }
        Ok(())
    }
}
