//! The names of this crate's metrics.

use std::time::Duration;

use raftmq_sys::metrics::{Counter, Gauge, Histogram, Registry};

/// Registered once per store; stores of one process are told apart by the `store` label (their folder).
#[derive(Clone)]
pub(crate) struct StoreMetrics {
    pub(crate) fsync: Histogram,
    pub(crate) fsync_failures: Counter,
    pub(crate) write_bytes: Histogram,
    pub(crate) written_bytes: Counter,
    pub(crate) zeroed_ahead_bytes: Counter,
    pub(crate) queue_written_bytes: Counter,
    pub(crate) queue_unwritten_bytes: Gauge,
    pub(crate) queue_files_open: Gauge,
    pub(crate) recovery_ms: Gauge,
    pub(crate) recovery_scanned_bytes: Gauge,
    pub(crate) recovery_cut_bytes: Gauge,
}

impl StoreMetrics {
    pub(crate) fn new(registry: &Registry, store: &str) -> StoreMetrics {
        let labels = &[("store", store)];
        StoreMetrics {
            fsync: registry.histogram("raftmq_store_fsync_seconds", "Commitlog fdatasync.", 1e-6, labels),
            fsync_failures: registry.counter(
                "raftmq_store_fsync_failures_total",
                "Failed syncs; the log is poisoned.",
                labels,
            ),
            write_bytes: registry.histogram("raftmq_store_write_bytes", "Bytes per commitlog write.", 1.0, labels),
            written_bytes: registry.counter("raftmq_store_written_bytes_total", "Commitlog bytes written.", labels),
            zeroed_ahead_bytes: registry.counter(
                "raftmq_store_zeroed_ahead_bytes_total",
                "Zeros written ahead of the commitlog tail.",
                labels,
            ),
            queue_written_bytes: registry.counter(
                "raftmq_store_queue_written_bytes_total",
                "Consume queue bytes written.",
                labels,
            ),
            queue_unwritten_bytes: registry.gauge(
                "raftmq_store_queue_unwritten_bytes",
                "Consume queue bytes that are only in memory.",
                labels,
            ),
            queue_files_open: registry.gauge("raftmq_store_queue_files_open", "Open consume queue files.", labels),
            recovery_ms: registry.gauge("raftmq_store_recovery_milliseconds", "How long the last start took.", labels),
            recovery_scanned_bytes: registry.gauge(
                "raftmq_store_recovery_scanned_bytes",
                "Commitlog bytes read by the last recovery.",
                labels,
            ),
            recovery_cut_bytes: registry.gauge(
                "raftmq_store_recovery_cut_bytes",
                "Torn bytes that the last recovery cut.",
                labels,
            ),
        }
    }

    pub(crate) fn synced(&self, took: Duration) {
        self.fsync.record(took.as_micros() as u64);
    }
}
