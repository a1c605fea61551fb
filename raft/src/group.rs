use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftmq_store::{CommitLog, ConsumeQueues};
use raftmq_sys::Seams;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::RaftConfig;
use crate::error::{ForwardError, ProposeError, StartError};
use crate::forward::ForwardHandler;
use crate::proposal::{Committed, Proposal, ProposalDone};
use crate::role::{Role, Status};
use crate::state_machine::{OpenedStore, StateMachine};
use crate::transport::Transport;

/// What a group takes from its process.
#[derive(Clone)]
pub struct RaftEnvironment {
    pub seams: Seams,
    /// Runs Raft's tasks: a runtime of its own in production (2 workers named `raft`), so that client load cannot
    /// delay heartbeats. Made by the caller.
    pub runtime: Handle,
    /// Shared by all groups of the process: they may share listeners.
    pub transport: Arc<dyn Transport>,
}

/// One member of a Raft group whose log is the commitlog.
pub struct RaftGroup {}

impl RaftGroup {
    pub async fn start(
        config: RaftConfig,
        environment: RaftEnvironment,
        make_state_machine: impl FnOnce(&OpenedStore) -> Result<Box<dyn StateMachine>, String> + Send + 'static,
        forward: Arc<dyn ForwardHandler>,
    ) -> Result<RaftGroup, StartError>;

    /// Appends under the leadership `epoch` (see [`Role::epoch`]) or not at all. Calls are appended in their order;
    /// many may be in flight.
    pub fn submit(&self, epoch: i64, proposal: Proposal, done: ProposalDone);

    /// [`RaftGroup::submit`] under the present leadership; resolves after this leader applied the entry.
    pub fn propose(&self, proposal: Proposal) -> impl Future<Output = Result<Committed, ProposeError>> + Send + 'static;

    pub fn role(&self) -> watch::Receiver<Role>;
    /// ReadIndex: returns when everything committed before the call is applied here. Leader only.
    pub async fn read_barrier(&self) -> Result<(), ProposeError>;
    /// Sends a request to the present leader and waits for its answer.
    pub async fn forward(&self, payload: Bytes, timeout: Duration) -> Result<Bytes, ForwardError>;
    pub fn status(&self) -> Status;
    pub fn commit_log(&self) -> Arc<CommitLog>;
    pub fn queues(&self) -> Arc<ConsumeQueues>;
    /// Hands leadership over if it can (300 ms at most), flushes, takes a snapshot, closes.
    pub async fn shutdown(self);
}
