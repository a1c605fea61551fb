//! Programs that meet a cluster only over the wire: `produce`, `consume`, `demo` and the `mqadmin` commands; and
//! [`local_cluster`], which starts a group of real processes for `demo` and `dev`.

pub mod admin;
pub mod bench;
mod cluster_options;
pub mod consume;
pub mod demo;
mod error;
pub mod folders;
mod java_format;
mod latency;
mod live_line;
pub mod local_cluster;
pub mod produce;
pub mod runtime;

pub use error::{ToolError, exit_code};
