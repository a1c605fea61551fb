//! The broker: one process serves one or more broker groups; each keeps its log locally or by Raft.

pub mod client_registry;
pub mod config;
pub mod json_config;
pub mod metrics;
pub mod offset_coalescer;
pub mod processor;
pub mod proposer;
pub mod pull_hold;
pub mod replicator;
pub mod state_machine;
