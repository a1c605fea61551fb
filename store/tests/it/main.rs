//! The store on real files.

mod classic;
mod model;
mod queues;
mod raft;
mod support;
