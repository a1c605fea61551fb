//! What may go wrong, one enum per operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_model::offset::PhysicalOffset;

/// Why a store does not open. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{key}={value} {what}")]
    Config { key: &'static str, value: u64, what: String },
    #[error("store {path} is in use by another process")]
    Locked { path: PathBuf },
    #[error("store {path} holds {found}, this broker is configured for {wanted}")]
    WrongKind { path: PathBuf, found: String, wanted: String },
    #[error("{path}: file of {found_bytes} bytes, expected {expected_bytes}")]
    FileSize { path: PathBuf, found_bytes: u64, expected_bytes: u64 },
    #[error("{path}: not the name of a segment that follows {expected}")]
    SegmentName { path: PathBuf, expected: String },
    /// Below the flushed mark: bytes that were durable have changed. Never cut in silence.
    #[error("{file} is damaged at byte {position} (log position {offset}): {what}")]
    Damaged { file: PathBuf, position: u64, offset: PhysicalOffset, what: String },
    #[error("{what} {path}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io { what, path, source }
    }
}

/// Why an append did not happen.
///
/// After `Poisoned` and `Io` the outcome is unknown and nothing may be acknowledged; the other errors come before
/// anything was written, and the writer can be used again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    #[error("message of {size_bytes} bytes exceeds the limit of {limit_bytes}")]
    MessageTooLarge { size_bytes: usize, limit_bytes: usize },
    #[error("not whole records: {what}")]
    Malformed { what: String },
    /// The caller's Raft index does not follow the last one.
    #[error("entry {found} does not follow entry {last}")]
    NotConsecutive { last: u64, found: u64 },
    /// A frame from the leader does not fit behind our log: the replicas differ.
    #[error("frame {index} from the leader diverges: {what} is {found}, expected {expected}")]
    Diverged { index: u64, what: &'static str, expected: u64, found: u64 },
    /// The disk is full. Nothing was written; it may be tried again when there is space.
    #[error("no space for {path}")]
    NoSpace { path: PathBuf, source: Arc<io::Error> },
    /// An earlier write or fsync failed: what is on disk is unknown until the process restarts.
    #[error("commit log is poisoned by an earlier I/O failure")]
    Poisoned,
    #[error("write {path}")]
    Io { path: PathBuf, source: Arc<io::Error> },
}

impl AppendError {
    /// A file that is needed ahead of an append could not be made.
    pub(crate) fn making(path: &Path, source: io::Error) -> AppendError {
        let (path, is_full, source) = (path.to_owned(), is_full(&source), Arc::new(source));
        if is_full { AppendError::NoSpace { path, source } } else { AppendError::Io { path, source } }
    }
}

/// Whether the disk, or the quota on it, is full: space may come back, unlike after other errors.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why bytes are not durable. The log is poisoned from then on; a failed fsync is never retried.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FlushError {
    #[error("commit log is poisoned by an earlier I/O failure")]
    Poisoned,
    /// The store was closed or dropped before the flush.
    #[error("store is closed")]
    Closed,
    #[error("flush {path}")]
    Io { path: PathBuf, source: Arc<io::Error> },
}

impl FlushError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> FlushError {
        let path = path.to_owned();
        move |source| FlushError::Io { path, source: Arc::new(source) }
    }
}

/// Why bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{length} bytes at {at} are not within the log from {min} to {end}")]
    OutOfRange { at: PhysicalOffset, length: u64, min: PhysicalOffset, end: PhysicalOffset },
    #[error("entries {from}..{to} are not within the log from {first:?} to {last:?}")]
    NoSuchEntry { from: u64, to: u64, first: Option<u64>, last: Option<u64> },
    #[error("damaged at log position {at}: {what}")]
    Damaged { at: PhysicalOffset, what: String },
    #[error("read {path}")]
    Io { path: PathBuf, source: io::Error },
}
