use raftmq_store::{Appended, ProposalRecord};

use crate::error::ProposeError;

/// What becomes the body of one Raft entry: messages and commands, all or none of them.
#[derive(Default)]
pub struct Proposal {
    pub records: Vec<ProposalRecord>,
}

/// A proposal that is committed and, on this leader, applied.
#[derive(Debug)]
pub struct Committed {
    /// One per `Messages` record, in their order.
    pub appended: Vec<Appended>,
    pub index: u64,
    pub term: u64,
}

/// Told the outcome of one proposal, once, on the thread that applied it: must not block.
pub type ProposalDone = Box<dyn FnOnce(Result<Committed, ProposeError>) + Send>;
