//! Whole members in this process, driven over the wire.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod requests;
mod single_member;
mod three_members;
