//! What a member does when who leads changes: tell the name servers, and as a new leader make what must exist.

use std::sync::Arc;
use std::time::Duration;

use raftmq_raft::{RaftGroup, Role};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::bootstrap::{self, Proposed};
use crate::broker::stop_reason;
use crate::group::Group;
use crate::registration::{MemberState, Registration};

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
            let began = self.follow(&role, &mut leads).await;
            let is_leader = leads.is_some();
            let changed = tokio::select! {
                changed = roles.changed() => changed,
                // Ends only with the role.
                () = bootstrap::finish(&self.group, began), if is_leader => roles.changed().await,
            };
            if changed.is_err() {
                self.stop.send_replace(Some("the Raft group has stopped".to_owned()));
                return;
            }
        }
    }

    /// `leads` is the epoch under which this member has made itself known as the leader. Returns a proposal of the
    /// topics of the start that has not ended yet.
    async fn follow(&self, role: &Role, leads: &mut Option<i64>) -> Option<Proposed> {
        tracing::info!(slot = self.slot, term = role.term, leader = ?role.leader_slot, kind = ?role.kind, "role");
        if role.is_ready_leader() {
            if *leads == Some(role.epoch) {
                return None;
            }
            *leads = Some(role.epoch);
            // First, so that the first route of a new group lets clients create topics. Later there is nothing to do.
            let mut began = bootstrap::propose(&self.group);
            if let Some(proposed) = &mut began
                && timeout(BOOTSTRAP_LIMIT, proposed).await.is_ok()
            {
                began = None;
            }
            let told = self.registration.register_now(MemberState::leader(role.epoch)).await;
            self.group.replicator.announced(role.epoch);
            tracing::info!(epoch = role.epoch, name_servers = told, "registered as the leader");
            began
        } else {
            *leads = None;
            // Not waited for: it may be on its way to lead, and a name server that hangs must not count twice.
            self.registration.register_later(MemberState::follower(self.slot, role.epoch));
            None
        }
    }
}
