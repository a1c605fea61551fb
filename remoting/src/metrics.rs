//! What connections count. Names start with `raftmq_remoting_`.

use std::sync::OnceLock;

use raftmq_sys::metrics::{Counter, Gauge, Histogram, Registry};

use crate::command::RemotingCommand;
use crate::reply::Answered;
use crate::request_code;

pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: Counter,
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
    pub(crate) read_bytes: Counter,
    pub(crate) batch_requests: Histogram,
    /// One per known code, made when it first occurs; the last is for all other codes.
    by_code: Vec<OnceLock<ByCode>>,
}

struct ByCode {
    requests: Counter,
    bytes: Counter,
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Metrics {
        Metrics {
            registry: registry.clone(),
            connections: registry.gauge("raftmq_remoting_connections", "Open connections.", &[]),
            refused_connections: registry.counter(
                "raftmq_remoting_refused_connections_total",
                "Connections closed at once because there were too many.",
                &[],
            ),
            reads: registry.counter("raftmq_remoting_reads_total", "Reads from sockets that brought bytes.", &[]),
            writes: registry.counter("raftmq_remoting_writes_total", "Calls that wrote to sockets.", &[]),
            read_bytes: registry.counter("raftmq_remoting_read_bytes_total", "Bytes read from sockets.", &[]),
            batch_requests: registry.histogram(
                "raftmq_remoting_batch_requests",
                "Requests that one read brought.",
                1.0,
                &[],
            ),
            by_code: request_code::ALL.iter().map(|_| OnceLock::new()).chain([OnceLock::new()]).collect(),
        }
    }

    pub(crate) fn received(&self, request: &RemotingCommand) {
        let counters = self.of(request.code);
        counters.requests.add(1);
        counters.bytes.add(request.body.len() as u64);
    }

    /// Records how long each request has waited for its answer.
    pub(crate) fn answered(&self, answered: &[Answered], now_us: u64) {
        for answer in answered.iter().filter(|answer| answer.received_us != 0) {
            self.of(answer.code).seconds.record(now_us.saturating_sub(answer.received_us));
        }
    }

    fn of(&self, code: i32) -> &ByCode {
        let known = request_code::ALL.binary_search(&code).ok();
        let slot = &self.by_code[known.unwrap_or(request_code::ALL.len())];
        slot.get_or_init(|| {
            let text = known.map_or_else(|| "other".to_owned(), |_| code.to_string());
            let labels = [("code", text.as_str())];
            ByCode {
                requests: self.registry.counter("raftmq_remoting_requests_total", "Requests by code.", &labels),
                bytes: self.registry.counter(
                    "raftmq_remoting_request_body_bytes_total",
                    "Bytes of request bodies by code.",
                    &labels,
                ),
                seconds: self.registry.histogram(
                    "raftmq_remoting_request_seconds",
                    "From the read of a request to the write of its answer, by code.",
                    1e-6,
                    &labels,
                ),
            }
        })
    }
}
