//! Processes killed at every I/O call, power cut afterwards: what was acknowledged in SYNC_FLUSH is there.

mod classic;
mod expected_queues;
mod points;
mod raft;
#[path = "../support/mod.rs"]
mod support;
