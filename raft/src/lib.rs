//! The openraft adapter: one Raft group whose log is the commitlog of crate `store`.
//!
//! Read in this order: `group` is what the broker uses and `start` puts it together; `log_storage`, `log_reader` and
//! `applier` connect openraft to the store; `network` (out) and `server` (in) carry its messages over the links of a
//! `transport`. No type of openraft leaves this crate, and no other crate names it.

mod applier;
mod bootstrap;
mod caller;
mod config;
mod durable;
mod error;
mod forward;
mod group;
mod grpc;
mod handshake;
mod hard_state;
mod listeners;
mod log_reader;
mod log_storage;
#[cfg(test)]
mod log_storage_tests;
mod membership;
mod metrics;
mod network;
mod proposal;
mod role;
mod role_watch;
mod server;
mod snapshot;
mod start;
mod state_machine;
mod transport;
mod type_config;
mod wire;

pub use config::{Peer, RaftConfig, SnapshotSchedule, Timers};
pub use error::{ForwardError, ProposeError, StartError};
pub use forward::{ForwardHandler, ForwardReply};
pub use group::{MAX_ENTRY_BYTES, RaftEnvironment, RaftGroup};
pub use grpc::GrpcTransport;
pub use listeners::RaftListeners;
pub use proposal::{Committed, Proposal, ProposalDone};
pub use role::{MemberStatus, Role, RoleKind, Status};
pub use state_machine::{AppliedEntry, OpenedStore, StateMachine};
pub use transport::{Acceptor, Incoming, LINK_QUEUE_MESSAGES, Link, LinkError, Listening, Message, Transport};
