//! The facade: one member of one Raft group.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResult;
use raftmq_store::{CommitLog, ConsumeQueues};
use raftmq_sys::{Clock, Seams, Spawn};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::caller::CallError;
use crate::config::RaftConfig;
use crate::error::{ForwardError, ProposeError, StartError};
use crate::forward::ForwardHandler;
use crate::listeners::{RaftListeners, Registration};
use crate::log_storage::SharedWriter;
use crate::membership::BrokerNode;
use crate::metrics::RaftMetrics;
use crate::network::Callers;
use crate::proposal::{Committed, Proposal, ProposalDone};
use crate::role::{MemberStatus, Role, RoleKind, Status};
use crate::role_watch::publish;
use crate::server::{PeerServer, Raft};
use crate::start;
use crate::state_machine::{OpenedStore, StateMachine};
use crate::type_config::{Assigned, Completion, Leader, Proposed, TypeConfig};
use crate::wire::Body;

/// Largest body of one entry; a smaller segment lowers it further.
pub const MAX_ENTRY_BYTES: usize = 16 << 20;

/// Proposals that wait for the Raft core; more are turned away.
pub(crate) const QUEUED_PROPOSALS: u64 = 4096;

/// How long a leader that shuts down waits for its successor.
const TRANSFER_WAIT: Duration = Duration::from_millis(300);

/// What a group takes from its process.
#[derive(Clone)]
pub struct RaftEnvironment {
    pub seams: Seams,
    /// Runs Raft's tasks: a runtime of its own in production (2 workers named `raft`), so that client load cannot
    /// delay heartbeats. Made by the caller.
    pub runtime: Handle,
    /// Shared by all groups of the process.
    pub listeners: RaftListeners,
}

/// One member of a Raft group whose log is the commitlog. Dropping it without [`RaftGroup::shutdown`] is like a
/// crash: nothing acknowledged is lost, the next start has more to do.
pub struct RaftGroup {
    pub(crate) raft: Raft,
    pub(crate) own: BrokerNode,
    pub(crate) role: Arc<watch::Sender<Role>>,
    pub(crate) server: Arc<PeerServer>,
    pub(crate) forwards: Callers,
    pub(crate) log: Arc<CommitLog>,
    pub(crate) queues: Arc<ConsumeQueues>,
    pub(crate) writer: SharedWriter,
    pub(crate) max_entry_bytes: usize,
    pub(crate) runtime: Handle,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: RaftMetrics,
    /// Taken away at shutdown.
    pub(crate) registration: Mutex<Option<Registration>>,
    /// Set by the one call that shuts down.
    pub(crate) closed: OnceLock<()>,
}

impl RaftGroup {
    /// Opens the store, listens and takes part. Returns while the group is still being formed or electing; the role
    /// tells. `make_state_machine` is called once, off the runtime's threads, when the log is recovered.
    pub async fn start(
        config: RaftConfig,
        environment: RaftEnvironment,
        make_state_machine: impl FnOnce(&OpenedStore) -> Result<Box<dyn StateMachine>, String> + Send + 'static,
        forward: Arc<dyn ForwardHandler>,
    ) -> Result<RaftGroup, StartError> {
        let group = config.group.clone();
        let runtime = environment.runtime.clone();
        let starting = runtime.spawn(start::start(config, environment, make_state_machine, forward));
        match starting.await {
            Ok(result) => result,
            Err(error) => Err(StartError::Raft { group, reason: error.to_string() }),
        }
    }

    /// Appends under the leadership `epoch` (see [`Role::epoch`]) or not at all. Calls are appended in their order,
    /// and many may be in flight. Never waits; may be called from any thread.
    pub fn submit(&self, epoch: i64, proposal: Proposal, done: ProposalDone) {
        let term = match self.leading(epoch) {
            Ok(term) => term,
            Err(error) => return done(Err(error)),
        };
        let size_bytes = proposal.records.iter().map(|record| record.bytes().len()).sum();
        if size_bytes > self.max_entry_bytes {
            return done(Err(ProposeError::TooLarge { size_bytes, limit_bytes: self.max_entry_bytes }));
        }
        self.metrics.proposal_bytes.record(size_bytes as u64);
        let (metrics, clock) = (self.metrics.clone(), Arc::clone(&self.clock));
        let begun = clock.monotonic();
        let assigned = Assigned::default();
        let proposed = Proposed { records: proposal.records, assigned: Arc::clone(&assigned) };
        let done = Arc::new(Mutex::new(Some(done)));
        let take = |done: &Mutex<Option<ProposalDone>>| done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let completed = Arc::clone(&done);
        let completion = Completion::new(move |result| {
            if let Some(done) = take(&completed) {
                let outcome = outcome(result, &assigned);
                metrics.commit.record(clock.monotonic().saturating_sub(begun).as_micros() as u64);
                if let Err(ProposeError::Unknown(_)) = outcome {
                    metrics.unknown.add(1);
                }
                done(outcome);
            }
        });
        let leader = Leader { term, node_id: u64::from(self.own.slot) };
        let mut write = self.raft.write(proposed).responder(completion).with_leader(leader).into_future();
        // It waits only for room in the core's queue. Unconstrained: tokio's budget of the calling task must not look
        // like a full queue.
        let handed_over = tokio::task::unconstrained(&mut write).now_or_never();
        if handed_over.is_none()
            && let Some(done) = take(&done)
        {
            self.metrics.full.add(1);
            done(Err(ProposeError::Full { limit: QUEUED_PROPOSALS }));
        }
    }

    /// [`RaftGroup::submit`] under the present leadership; resolves after this leader applied the entry. The proposal
    /// is handed over by the call itself, not by the first poll.
    pub fn propose(
        &self,
        proposal: Proposal,
    ) -> impl Future<Output = Result<Committed, ProposeError>> + Send + 'static {
        let (done, committed) = oneshot::channel();
        let epoch = self.role.borrow().epoch;
        self.submit(
            epoch,
            proposal,
            Box::new(move |result| {
                // The caller may have given up.
                let _ = done.send(result);
            }),
        );
        async move {
            committed.await.unwrap_or_else(|_| Err(ProposeError::Unknown("the raft core dropped the proposal".into())))
        }
    }

    /// The term of the leadership `epoch`, if it is this member's and ready.
    fn leading(&self, epoch: i64) -> Result<u64, ProposeError> {
        let role = self.role.borrow();
        match role.kind {
            RoleKind::Stopped { .. } => Err(ProposeError::Stopped),
            RoleKind::Leader { ready: true } if role.epoch == epoch => Ok(role.term),
            _ => Err(ProposeError::NotLeader { leader: role.leader_slot }),
        }
    }

    /// Who leads, as this member knows it. A new leader is `ready` when it takes proposals.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// ReadIndex: returns when everything that was committed before the call is applied here. Leader only.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => Err(not_appended(&forward)),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ProposeError::LeaseExpired),
            Err(RaftError::Fatal(_)) => Err(ProposeError::Stopped),
        }
    }

    /// Sends a request to the present leader and waits for its answer.
    pub async fn forward(&self, payload: Bytes, timeout: Duration) -> Result<Bytes, ForwardError> {
        let leader = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let node = metrics.current_leader.and_then(|id| metrics.membership_config.get_node(&id).cloned());
            node.ok_or(ForwardError::NoLeader)?
        };
        let slot = leader.slot;
        if slot == self.own.slot {
            return Err(ForwardError::SelfLeads);
        }
        let unknown = |reason: String| ForwardError::Unknown { slot, reason };
        match self.forwards.caller(&leader).call(Body::Forward(payload), timeout).await {
            Ok(Body::Forwarded(answer)) => Ok(answer),
            Ok(_) => Err(unknown("not the answer to a forwarded request".to_owned())),
            Err(error @ (CallError::NotSent(_) | CallError::Full { .. })) => {
                Err(ForwardError::NotSent { slot, reason: error.to_string() })
            }
            Err(error) => Err(unknown(error.to_string())),
        }
    }

    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let matched = |id: &u64| {
            let replication = metrics.replication.as_ref()?;
            replication.get(id)?.as_ref().map(|matched| matched.index)
        };
        let members = metrics.membership_config.nodes().map(|(id, node)| MemberStatus {
            slot: node.slot,
            address: node.address.clone(),
            voter: voters.contains(id),
            matched_index: matched(id),
        });
        Status {
            role: self.role.borrow().clone(),
            last_index: metrics.last_log_index,
            committed_index: metrics.local_committed.as_ref().map(|id| id.index),
            applied_index: metrics.last_applied.as_ref().map(|id| id.index),
            snapshot_index: metrics.snapshot.as_ref().map(|id| id.index),
            members: members.collect(),
        }
    }

    pub fn commit_log(&self) -> Arc<CommitLog> {
        Arc::clone(&self.log)
    }

    pub fn queues(&self) -> Arc<ConsumeQueues> {
        Arc::clone(&self.queues)
    }

    /// Hands leadership over if another member has the whole log, takes a snapshot, makes everything durable and
    /// closes. A second call waits for nothing.
    pub async fn shutdown(&self) {
        if self.closed.set(()).is_err() {
            return;
        }
        self.hand_over().await;
        self.close_tables().await;
        self.stop_serving();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft core at close");
        }
        self.close_store().await;
        publish(&self.role, Role { kind: RoleKind::Stopped { reason: None }, ..crate::role_watch::JOINING });
    }

    /// Only to a voter that has everything: until a successor leads, nobody can write.
    async fn hand_over(&self) {
        let status = self.status();
        if !matches!(status.role.kind, RoleKind::Leader { .. }) {
            return;
        }
        let others = status.members.iter().filter(|member| member.voter && member.slot != self.own.slot);
        let Some(best) = others.max_by_key(|member| member.matched_index) else { return };
        if best.matched_index != status.last_index {
            tracing::info!("leadership is not handed over: no other member has the whole log");
            return;
        }
        if self.raft.trigger().transfer_leader(u64::from(best.slot)).await.is_err() {
            return;
        }
        let mut role = self.role.subscribe();
        let gone = role.wait_for(|role| !matches!(role.kind, RoleKind::Leader { .. }));
        if tokio::time::timeout(TRANSFER_WAIT, gone).await.is_err() {
            tracing::info!(to = best.slot, "no successor took over in time");
        }
    }

    async fn close_tables(&self) {
        // Before the first entry there is nothing to keep, and perhaps no running core to ask.
        if self.raft.metrics().borrow_watched().last_applied.is_none() {
            return;
        }
        match self.raft.with_state_machine(|applier| Box::pin(applier.close())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "snapshot at close"),
            Err(error) => tracing::error!(%error, "snapshot at close"),
        }
    }

    fn stop_serving(&self) {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.server.stopping.send_replace(true);
    }

    async fn close_store(&self) {
        let (done, closed) = oneshot::channel();
        let writer = Arc::clone(&self.writer);
        let close = move || {
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Err(error)) = writer.map(|writer| writer.close()) {
                tracing::error!(%error, "commitlog at close");
            }
            // The caller of shutdown may have given up.
            let _ = done.send(());
        };
        let spawn = Arc::clone(&self.spawn);
        self.runtime.spawn(async move { spawn.blocking("raft-close", Box::new(close)) });
        // An error means that the job was dropped with its runtime: nothing left to close.
        let _ = closed.await;
    }
}

impl Drop for RaftGroup {
    fn drop(&mut self) {
        self.stop_serving();
        if self.closed.set(()).is_ok() {
            let raft = self.raft.clone();
            self.runtime.spawn(async move {
                // A core that has gone already is what we want.
                let _ = raft.shutdown().await;
            });
        }
    }
}

fn not_appended(forward: &ForwardToLeader<TypeConfig>) -> ProposeError {
    match forward.reason {
        ForwardReason::LeaseExpired => ProposeError::LeaseExpired,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
            ProposeError::NotLeader { leader: forward.leader_node.as_ref().map(|node| node.slot) }
        }
    }
}

/// openraft's answer to a proposal, as the proposer understands it.
fn outcome(result: Option<ClientWriteResult<TypeConfig>>, assigned: &Assigned) -> Result<Committed, ProposeError> {
    match result {
        Some(Ok(response)) => Ok(Committed {
            appended: std::mem::take(&mut *assigned.lock().unwrap_or_else(PoisonError::into_inner)),
            index: response.log_id.index,
            term: response.log_id.leader_id.term,
        }),
        Some(Err(ClientWriteError::ForwardToLeader(forward))) => Err(not_appended(&forward)),
        Some(Err(error)) => Err(ProposeError::Unknown(error.to_string())),
        None => Err(ProposeError::Unknown("the raft core stopped".to_owned())),
    }
}
