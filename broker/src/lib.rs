//! The broker: one process serves one or more broker groups; each keeps its log locally or by Raft.

mod apply_sink;
mod background;
mod bootstrap;
mod broker;
pub mod client_registry;
pub mod config;
mod dispatcher;
mod forward_codec;
mod forward_service;
pub mod group;
pub mod json_config;
pub mod leader_hold;
pub mod metrics;
mod metrics_exporter;
pub mod offset_coalescer;
pub mod processor;
mod program;
pub mod proposer;
pub mod pull_hold;
pub mod registration;
pub mod replicator;
mod role_follower;
pub mod state_machine;
#[cfg(test)]
mod test_group;
pub mod topics_in_creation;

pub use broker::{Broker, Process, StartError};
pub use program::{Args, run};
