//! Names of the broker's own metrics.

use raftmq_sys::metrics::{Counter, Gauge, Histogram, Registry};

/// Of one group's proposer.
#[derive(Clone)]
pub struct ProposerMetrics {
    pub batch_bytes: Histogram,
    pub queued_bytes: Gauge,
    pub refused: Counter,
    pub unanswered: Counter,
}

impl ProposerMetrics {
    pub fn new(registry: &Registry, group: &str) -> ProposerMetrics {
        let labels = [("group", group)];
        ProposerMetrics {
            batch_bytes: registry.histogram("raftmq_broker_batch_bytes", "Bytes per proposed batch.", 1.0, &labels),
            queued_bytes: registry.gauge(
                "raftmq_broker_proposer_queue_bytes",
                "Bytes waiting to be proposed; bound: proposerQueueMaxBytes.",
                &labels,
            ),
            refused: registry.counter(
                "raftmq_broker_proposer_refused_total",
                "Pieces of work refused before append: queue full or waited too long.",
                &labels,
            ),
            unanswered: registry.counter(
                "raftmq_broker_proposer_unanswered_total",
                "Pieces of work answered with an unknown outcome after syncFlushTimeout.",
                &labels,
            ),
        }
    }
}

/// Of one group's messages; the names are RocketMQ 5's.
#[derive(Clone)]
pub struct MessageMetrics {
    pub messages_in: Counter,
    pub messages_out: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub held_pulls: Gauge,
    pub forwarded: Counter,
}

impl MessageMetrics {
    pub fn new(registry: &Registry, group: &str) -> MessageMetrics {
        let labels = [("node_id", group)];
        MessageMetrics {
            messages_in: registry.counter("rocketmq_messages_in_total", "Messages acknowledged.", &labels),
            messages_out: registry.counter("rocketmq_messages_out_total", "Messages given to pulls.", &labels),
            bytes_in: registry.counter("rocketmq_throughput_in_total", "Bytes of acknowledged messages.", &labels),
            bytes_out: registry.counter("rocketmq_throughput_out_total", "Bytes given to pulls.", &labels),
            held_pulls: registry.gauge("raftmq_broker_held_pulls", "Pulls that wait for a message.", &labels),
            forwarded: registry.counter(
                "raftmq_broker_forwarded_total",
                "Requests that this member passed on to the leader.",
                &labels,
            ),
        }
    }
}
