//! Members of a group in one process, each on a runtime of its own, over real loopback connections.
#![expect(clippy::disallowed_methods, reason = "the tests decide nothing that is stored; they wait for real time")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bootstrap;
mod cable;
mod cluster;
mod forwarding;
mod replication;
mod tables;
