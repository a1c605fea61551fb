//! The names of this crate's metrics.

use raftmq_sys::metrics::{Counter, Gauge, Histogram, Registry};

/// Registered once per group.
#[derive(Clone)]
pub(crate) struct RaftMetrics {
    /// From the hand-over of a proposal to its end on this leader, applied or not.
    pub(crate) commit: Histogram,
    pub(crate) proposal_bytes: Histogram,
    /// Bound [`crate::group::QUEUED_PROPOSALS`] was hit.
    pub(crate) full: Counter,
    pub(crate) unknown: Counter,
    pub(crate) term: Gauge,
    /// 1 while this member leads and takes proposals.
    pub(crate) leads: Gauge,
    pub(crate) leader_changes: Counter,
    pub(crate) snapshots_failed: Counter,
    /// Bound [`crate::caller::UNANSWERED_CALLS`] or [`crate::caller::UNANSWERED_BYTES`] was hit.
    pub(crate) calls_turned_away: Counter,
}

impl RaftMetrics {
    pub(crate) fn new(registry: &Registry, group: &str) -> RaftMetrics {
        let labels = &[("group", group)];
        RaftMetrics {
            commit: registry.histogram(
                "raftmq_raft_commit_seconds",
                "From a proposal to its entry applied on the leader.",
                1e-6,
                labels,
            ),
            proposal_bytes: registry.histogram("raftmq_raft_proposal_bytes", "Bytes per proposal.", 1.0, labels),
            full: registry.counter(
                "raftmq_raft_proposals_turned_away_total",
                "Proposals refused because too many waited for the Raft core.",
                labels,
            ),
            unknown: registry.counter(
                "raftmq_raft_proposals_unknown_total",
                "Proposals whose outcome is unknown.",
                labels,
            ),
            term: registry.gauge("raftmq_raft_term", "Raft term.", labels),
            leads: registry.gauge("raftmq_raft_leads", "1 while this member leads and takes proposals.", labels),
            leader_changes: registry.counter(
                "raftmq_raft_leader_changes_total",
                "How often this member saw another leader.",
                labels,
            ),
            snapshots_failed: registry.counter(
                "raftmq_raft_snapshots_failed_total",
                "Snapshots that could not be written; the one before stays.",
                labels,
            ),
            calls_turned_away: registry.counter(
                "raftmq_raft_calls_turned_away_total",
                "Calls to another member refused because too many, or too many bytes, were not answered yet.",
                labels,
            ),
        }
    }
}
