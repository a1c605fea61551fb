//! Real processes under test: starts, kills, pauses and restarts `raftmq` (and Apache's own servers) in a temporary
//! directory on ports of its own, and reads the files that they leave. For tests and `jepsen` only.
//!
//! It knows the wire and the files by the documents alone and uses no crate of the product, so that a mistake there
//! cannot hide here.
#![expect(
    clippy::disallowed_methods,
    reason = "a test harness works on the real machine; nothing here decides what is stored"
)]

pub mod cluster;
pub mod commit_log;
pub mod config;
pub mod consume_queue;
pub mod java;
pub mod ports;
pub mod process;
pub mod record;
pub mod remoting;
pub mod route;
pub mod solo;
pub mod wait;

pub use cluster::{Cluster, Group};
pub use process::{Process, ProcessError};
pub use wait::{TimedOut, until};

use std::path::{Path, PathBuf};

/// The checkout that this was built from: where `interop/` lies.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
