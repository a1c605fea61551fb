//! The name server: routes built from broker registrations, their expiry, and a few settings in one small file.
//!
//! Several run side by side and never talk to each other; brokers register with all of them.

mod config;
pub mod kv_config;
mod processor;
mod program;
pub mod route_json;
pub mod route_table;
mod server;

pub use config::NamesrvConfig;
pub use program::{Args, run};
pub use server::{Running, StartError, start};
