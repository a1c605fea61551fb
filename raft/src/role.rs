use std::sync::Arc;

/// What a member is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// Not part of a group yet: waits until all configured peers agree that this is the first boot.
    Joining,
    /// `ready`: the first entry of its term is applied, so the consume queues are complete and proposals are taken.
    Leader {
        ready: bool,
    },
    Follower,
    Candidate,
    Learner,
    /// For good; the process should end. The reason is `None` after an orderly shutdown.
    Stopped {
        reason: Option<Arc<str>>,
    },
}

/// A member's view of who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub kind: RoleKind,
    pub term: u64,
    pub leader_slot: Option<u16>,
    /// Orders leaderships: `term << 16 | slot` of the leader, 0 while nobody is known to lead `term`.
    pub epoch: i64,
}

impl Role {
    pub fn is_ready_leader(&self) -> bool {
        self.kind == RoleKind::Leader { ready: true }
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.kind, RoleKind::Stopped { .. })
    }
}

/// Orders the leaderships of a group; 48 bits of term, 16 of slot.
pub(crate) fn epoch(term: u64, slot: u16) -> i64 {
    ((term << 16) | u64::from(slot)) as i64
}

/// A member's numbers for operators. Indexes are Raft log indexes; `None` means "nothing yet".
#[derive(Clone, Debug)]
pub struct Status {
    pub role: Role,
    pub last_index: Option<u64>,
    pub committed_index: Option<u64>,
    pub applied_index: Option<u64>,
    pub snapshot_index: Option<u64>,
    /// All members by slot.
    pub members: Vec<MemberStatus>,
}

/// One member as the membership in the log and, on the leader, replication know it.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    pub slot: u16,
    pub address: String,
    pub voter: bool,
    /// Only known on the leader: the last index that it has in common with the leader and that is durable there.
    pub matched_index: Option<u64>,
}
