//! Bytes that change at rest: a torn tail is cut, damage below the flushed mark is reported and nothing is touched,
//! derived files come back equal.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod cases;
mod classic;
mod queues;
mod raft;
mod slots;
#[path = "../support/mod.rs"]
mod support;
