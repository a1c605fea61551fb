//! The openraft adapter: one Raft group whose log is the commitlog of crate `store`.
//!
//! Read in this order: [`group`] is what the broker uses; `log_storage` and `state_machine` connect openraft to the
//! store; `network` carries its messages. No type of openraft leaves this crate, and no other crate names it.

mod config;
mod error;
mod forward;
mod group;
mod proposal;
mod role;
mod state_machine;

pub use config::{Peer, RaftConfig, SnapshotSchedule, Timers};
pub use error::{ForwardError, ProposeError, StartError};
pub use forward::{ForwardHandler, ForwardReply};
pub use group::{RaftEnvironment, RaftGroup};
pub use proposal::{Committed, Proposal, ProposalDone};
pub use role::{MemberStatus, Role, RoleKind, Status};
pub use state_machine::{AppliedEntry, OpenedStore, StateMachine};
