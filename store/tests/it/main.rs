//! The store on real files.
#![expect(clippy::unwrap_used, reason = "helpers of tests; a failure is a failed test")]

mod classic;
mod disturbed;
mod hook_disk;
mod model;
mod queues;
mod raft;
mod support;
