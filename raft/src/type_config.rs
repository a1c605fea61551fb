//! openraft's types, filled in with ours, and the way between the two.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::RaftTypeConfig;
use openraft::entry::{RaftEntry, RaftPayload};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::responder::Responder;
use raftmq_store::{Appended, Frame, FrameId, FrameKind, ProposalRecord};

use crate::membership::{self, BrokerNode};

/// The one type configuration of RaftMQ. (openraft's macro for it does not take a responder.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposed;
    type R = ();
    type NodeId = u64;
    type Node = BrokerNode;
    type Term = u64;
    type LeaderId = Leader;
    type Vote = openraft::impls::Vote<Leader>;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = Completion<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Leader = LeaderId<u64, u64>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, BrokerNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

pub(crate) fn log_id(id: FrameId) -> LogId {
    LogId::new(Leader { term: id.term, node_id: id.leader }, id.index)
}

pub(crate) fn frame_id(id: &LogId) -> FrameId {
    FrameId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

/// What `append` gave to the messages of a proposal, seen by whoever proposed them.
pub(crate) type Assigned = Arc<Mutex<Vec<Appended>>>;

/// A proposal on its way to the log of this leader; openraft's `AppData`.
pub(crate) struct Proposed {
    pub(crate) records: Vec<ProposalRecord>,
    pub(crate) assigned: Assigned,
}

impl Proposed {
    /// Tells the proposer; openraft drops the proposal right after it was appended.
    pub(crate) fn assign(&self, appended: Vec<Appended>) {
        *self.assigned.lock().unwrap_or_else(PoisonError::into_inner) = appended;
    }
}

impl fmt::Debug for Proposed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Proposed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} records", self.records.len())
    }
}

/// What an entry carries. The leader appends `Proposal`; whoever reads the log back gets `Frame`.
pub(crate) enum Payload {
    Blank,
    Membership(Membership),
    Proposal(Proposed),
    Frame { frame: Frame, membership: Option<Membership> },
}

impl RaftPayload for Payload {
    type D = Proposed;
    type NodeId = u64;
    type Node = BrokerNode;

    fn blank() -> Payload {
        Payload::Blank
    }

    fn with_normal(self, data: Proposed) -> Payload {
        Payload::Proposal(data)
    }

    fn with_membership(self, membership: Membership) -> Payload {
        Payload::Membership(membership)
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Payload::Membership(membership) => Some(membership.clone()),
            Payload::Frame { membership, .. } => membership.clone(),
            Payload::Blank | Payload::Proposal(_) => None,
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Blank => formatter.write_str("blank"),
            Payload::Membership(membership) => write!(formatter, "membership {membership}"),
            Payload::Proposal(proposed) => proposed.fmt(formatter),
            Payload::Frame { frame, .. } => write!(formatter, "frame of {} bytes", frame.bytes.len()),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A log entry.
pub(crate) struct Entry {
    pub(crate) id: LogId,
    pub(crate) payload: Payload,
}

impl Entry {
    /// An entry of the log as it lies in the commitlog; fails on a membership that cannot be read.
    pub(crate) fn of_frame(frame: Frame) -> Result<Entry, membership::DecodeError> {
        let membership = match frame.header.kind {
            FrameKind::Membership => Some(membership::decode(&frame.body())?),
            FrameKind::Blank | FrameKind::Data => None,
        };
        Ok(Entry { id: log_id(frame.header.id), payload: Payload::Frame { frame, membership } })
    }
}

impl RaftEntry for Entry {
    type CommittedLeaderId = Leader;
    type Payload = Payload;

    fn new(id: LogId, payload: Payload) -> Entry {
        Entry { id, payload }
    }

    fn log_id_parts(&self) -> (&Leader, u64) {
        (&self.id.leader_id, self.id.index)
    }

    fn set_log_id(&mut self, id: LogId) {
        self.id = id;
    }

    fn get_membership(&self) -> Option<Membership> {
        self.payload.get_membership()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.id, self.payload)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Called once with openraft's answer, or with `None` when openraft dropped the request without one.
pub(crate) struct Completion<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Completion<T> {
    pub(crate) fn new(done: impl FnOnce(Option<T>) + Send + 'static) -> Completion<T> {
        Completion(Some(Box::new(done)))
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Completion<T> {
    fn on_complete(mut self, result: T) {
        if let Some(done) = self.0.take() {
            done(Some(result));
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(None);
        }
    }
}
