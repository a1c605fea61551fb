//! Opening a store: how much of what lies on disk is whole, and what is derived from it.
//!
//! A bad record at or behind the flushed mark is a torn tail: it is cut and reported. One below the mark is damage:
//! the store does not open and nothing is changed. What is kept is durable before anybody may acknowledge it; what
//! lies behind the mark is written again for that, for after a failed fsync the page cache looks whole and clean.

mod classic;
mod end;
mod queue_check;
mod raft;
mod reader;

use std::time::Duration;

use raftmq_model::offset::PhysicalOffset;

use crate::metrics::StoreMetrics;

pub(crate) use classic::open_classic;
pub(crate) use raft::open_raft;

/// What opening a store found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Commitlog bytes that were looked at.
    pub scanned_bytes: u64,
    /// Bytes behind the end that were not zero and are now: a torn tail.
    pub cut_bytes: u64,
    /// Where the cut was made; `None` if nothing was cut.
    pub cut_at: Option<PhysicalOffset>,
    /// Bytes that were not known to be durable and were written again.
    pub rewritten_bytes: u64,
    /// Records (classic) or Raft entries that were looked at or taken from an index file.
    pub entries: u64,
    /// Classic: messages entered into consume queues again.
    pub dispatched: u64,
    pub took: Duration,
}

impl RecoveryReport {
    fn note(&self, metrics: &StoreMetrics) {
        metrics.recovery_ms.set(self.took.as_millis() as i64);
        metrics.recovery_scanned_bytes.set(self.scanned_bytes as i64);
        metrics.recovery_cut_bytes.set(self.cut_bytes as i64);
        if let Some(cut_at) = self.cut_at {
            tracing::warn!(cut_bytes = self.cut_bytes, at = cut_at.0, "cut a torn tail off the commitlog");
        }
    }
}
