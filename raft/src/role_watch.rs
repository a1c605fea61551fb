//! Turns openraft's metrics into our role, for whoever watches it.

use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;

use tokio::sync::watch;

use crate::metrics::RaftMetrics;
use crate::role::{Role, RoleKind, epoch};
use crate::server::Raft;
use crate::type_config::{Leader, TypeConfig};

pub(crate) const JOINING: Role = Role { kind: RoleKind::Joining, term: 0, leader_slot: None, epoch: 0 };

/// Publishes each change until the group stops. Begins once the Raft core runs.
pub(crate) async fn watch_role(raft: Raft, node: u64, role: &watch::Sender<Role>, shown: &RaftMetrics) {
    let mut metrics = raft.metrics();
    let mut leader = None;
    loop {
        let now = role_of(&metrics.borrow_watched(), node);
        let stopped = now.is_stopped();
        shown.term.set(now.term as i64);
        shown.leads.set(i64::from(now.is_ready_leader()));
        if now.leader_slot.is_some() && now.leader_slot != leader {
            leader = now.leader_slot;
            shown.leader_changes.add(1);
            tracing::info!(term = now.term, leader, "leader");
        }
        publish(role, now);
        if stopped {
            return;
        }
        if metrics.changed().await.is_err() {
            let reason = Some(Arc::from("the raft core has gone"));
            publish(role, Role { kind: RoleKind::Stopped { reason }, ..JOINING });
            return;
        }
    }
}

/// The first stop is the last word.
pub(crate) fn publish(role: &watch::Sender<Role>, now: Role) {
    role.send_if_modified(|published| {
        if *published == now || published.is_stopped() {
            return false;
        }
        tracing::debug!(role = ?now, "role");
        *published = now;
        true
    });
}

fn role_of(metrics: &openraft::RaftMetrics<TypeConfig>, node: u64) -> Role {
    let term = metrics.current_term;
    let slot_of = |id: u64| metrics.membership_config.get_node(&id).map(|member| member.slot);
    let leader_slot = metrics.current_leader.and_then(slot_of);
    let kind = match (&metrics.running_state, metrics.state) {
        (Err(fatal), _) => RoleKind::Stopped { reason: Some(Arc::from(fatal.to_string())) },
        (Ok(()), ServerState::Leader) => {
            // The first entry of the term is applied: so are all before it, whoever proposed them.
            let own = Leader { term, node_id: node };
            let ready = metrics.last_applied.as_ref().is_some_and(|applied| applied.leader_id == own);
            RoleKind::Leader { ready: ready && leader_slot.is_some() }
        }
        (Ok(()), ServerState::Follower) => RoleKind::Follower,
        (Ok(()), ServerState::Candidate) => RoleKind::Candidate,
        (Ok(()), ServerState::Learner) => RoleKind::Learner,
        (Ok(()), ServerState::Shutdown) => RoleKind::Stopped { reason: None },
    };
    Role { kind, term, leader_slot, epoch: leader_slot.map_or(0, |slot| epoch(term, slot)) }
}
