//! A broker group member's configuration: RocketMQ's keys, our defaults, and what follows from them.

mod broker_config;
mod derived;
mod for_crates;
mod load;
mod validate;

pub use broker_config::{BrokerConfig, BrokerRole, FlushDiskType, MetricsExporterType};
pub use derived::RaftPeer;
pub use load::{load, load_defaults, load_file};
pub use validate::InvalidConfig;

#[cfg(test)]
mod conf_files;
