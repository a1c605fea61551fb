//! One file per request family. Handlers decide; the dispatcher proposes, answers and forwards.

pub mod admin_group;
pub mod admin_topic;
pub(crate) mod batch_body;
pub mod client_manage;
pub mod consumer_manage;
mod handled;
pub mod pull_message;
pub mod send_message;

pub use handled::{Handled, Reply};
