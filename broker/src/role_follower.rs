//! What a member does when who leads changes: tell the name servers, and as a new leader make what must exist.

use std::sync::Arc;
use std::time::Duration;

use raftmq_raft::{RaftGroup, Role};
use raftmq_store::ProposalRecord;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::broker::stop_reason;
use crate::group::Group;
use crate::proposer::{ProposeError, Work};
use crate::registration::{MemberState, Registration};
use crate::state_machine::{Tables, bootstrap_commands};

/// A quorum that does not answer must not keep a leader from being known.
const BOOTSTRAP_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct RoleFollower {
    group: Arc<Group>,
    raft: Arc<RaftGroup>,
    registration: Registration,
    slot: u16,
    stop: watch::Sender<Option<String>>,
}

impl RoleFollower {
    pub(crate) fn new(
        group: Arc<Group>,
        raft: Arc<RaftGroup>,
        registration: Registration,
        slot: u16,
        stop: watch::Sender<Option<String>>,
    ) -> RoleFollower {
        RoleFollower { group, raft, registration, slot, stop }
    }

    /// Runs until the group has stopped.
    pub(crate) async fn run(self) {
        let mut roles = self.raft.role();
        let mut leads = None;
        loop {
            let role = roles.borrow_and_update().clone();
            if let Some(reason) = stop_reason(&role.kind) {
                self.stop.send_replace(Some(reason));
                return;
            }
            self.follow(&role, &mut leads).await;
            if roles.changed().await.is_err() {
                self.stop.send_replace(Some("the Raft group has stopped".to_owned()));
                return;
            }
        }
    }

    /// `leads` is the epoch under which this member has made itself known as the leader.
    async fn follow(&self, role: &Role, leads: &mut Option<i64>) {
        tracing::info!(slot = self.slot, term = role.term, leader = ?role.leader_slot, kind = ?role.kind, "role");
        if role.is_ready_leader() {
            if *leads == Some(role.epoch) {
                return;
            }
            *leads = Some(role.epoch);
            // First, so that the first route of a new group lets clients create topics. Later there is nothing to do.
            self.bootstrap().await;
            let told = self.registration.register_now(MemberState::leader(role.epoch)).await;
            tracing::info!(epoch = role.epoch, name_servers = told, "registered as the leader");
        } else {
            *leads = None;
            self.registration.register_now(MemberState::follower(self.slot, role.epoch)).await;
        }
    }

    /// Topics and groups that every broker has. Existing ones stay as they are, so a second proposal is harmless.
    async fn bootstrap(&self) {
        let tables = Tables {
            topics: self.group.topics.clone(),
            groups: self.group.groups.clone(),
            consumer_offsets: self.group.consumer_offsets.clone(),
        };
        let at_unix_ms = self.group.seams.clock.unix_ms();
        let commands = bootstrap_commands(&tables, &self.group.topic_defaults, at_unix_ms);
        if commands.is_empty() {
            return;
        }
        let records = commands.iter().map(|command| ProposalRecord::Command(command.to_record())).collect();
        let (applied, wait) = oneshot::channel();
        let done = Box::new(move |result: Result<&[_], ProposeError>| {
            if let Err(error) = result {
                tracing::warn!(%error, "the topics of the start were not created; the next leader does it");
            }
            // Nobody waits any more after the limit below.
            let _ = applied.send(());
        });
        let epoch = self.group.replicator.leadership().epoch();
        self.group.proposer.submit(Work::new(epoch, records, done));
        let _ = timeout(BOOTSTRAP_LIMIT, wait).await;
    }
}
