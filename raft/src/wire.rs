//! The messages of `proto/peer.proto`, and the way between them and openraft's.

use bytes::Bytes;

use crate::type_config::{self, Leader, TypeConfig};

#[expect(clippy::doc_markdown, clippy::derive_partial_eq_without_eq, unreachable_pub, reason = "generated code")]
mod generated {
    tonic::include_proto!("raftmq.raft.v1");
}

pub(crate) use generated::append_response::Outcome;
pub(crate) use generated::peer_message::Body;
pub(crate) use generated::*;

/// Version of the messages and of what they carry; members of another one are refused.
pub(crate) const FORMAT: u32 = 1;

/// A message that a member of this version would not send.
#[derive(Debug, thiserror::Error)]
#[error("malformed peer message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn incarnation_bytes(incarnation: u128) -> Bytes {
    Bytes::copy_from_slice(&incarnation.to_be_bytes())
}

pub(crate) fn incarnation(bytes: &[u8]) -> Option<u128> {
    bytes.try_into().ok().map(u128::from_be_bytes)
}

pub(crate) fn log_id(id: &type_config::LogId) -> LogId {
    LogId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn vote(vote: &type_config::Vote) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

impl LogId {
    pub(crate) fn to_raft(self) -> type_config::LogId {
        type_config::LogId::new(Leader { term: self.term, node_id: self.leader }, self.index)
    }
}

impl Vote {
    pub(crate) fn to_raft(self) -> type_config::Vote {
        type_config::Vote { leader_id: Leader { term: self.term, node_id: self.node }, committed: self.committed }
    }
}

fn required_vote(vote: Option<Vote>) -> Result<type_config::Vote, Malformed> {
    vote.map(Vote::to_raft).ok_or(Malformed("no vote"))
}

impl VoteRequest {
    pub(crate) fn from_raft(request: &openraft::raft::VoteRequest<TypeConfig>, pre_vote: bool) -> VoteRequest {
        VoteRequest {
            vote: Some(vote(&request.vote)),
            last: request.last_log_id.as_ref().map(log_id),
            leadership_transfer: request.leadership_transfer,
            pre_vote,
        }
    }

    pub(crate) fn to_raft(self) -> Result<openraft::raft::VoteRequest<TypeConfig>, Malformed> {
        Ok(openraft::raft::VoteRequest {
            vote: required_vote(self.vote)?,
            last_log_id: self.last.map(LogId::to_raft),
            leadership_transfer: self.leadership_transfer,
        })
    }
}

impl VoteResponse {
    pub(crate) fn from_raft(response: &openraft::raft::VoteResponse<TypeConfig>) -> VoteResponse {
        VoteResponse {
            vote: Some(vote(&response.vote)),
            last: response.last_log_id.as_ref().map(log_id),
            granted: response.vote_granted,
        }
    }

    pub(crate) fn to_raft(self) -> Result<openraft::raft::VoteResponse<TypeConfig>, Malformed> {
        Ok(openraft::raft::VoteResponse {
            vote: required_vote(self.vote)?,
            vote_granted: self.granted,
            last_log_id: self.last.map(LogId::to_raft),
        })
    }
}

impl AppendResponse {
    pub(crate) fn from_raft(result: &openraft::raft::StreamAppendResult<TypeConfig>) -> AppendResponse {
        use openraft::raft::StreamAppendError;
        let (outcome, id, higher) = match result {
            Ok(matched) => (Outcome::Matched, matched.as_ref(), None),
            Err(StreamAppendError::Conflict(id)) => (Outcome::Conflict, Some(id), None),
            Err(StreamAppendError::HigherVote(higher)) => (Outcome::HigherVote, None, Some(higher)),
        };
        AppendResponse { outcome: outcome.into(), log_id: id.map(log_id), vote: higher.map(vote) }
    }

    pub(crate) fn to_raft(self) -> Result<openraft::raft::StreamAppendResult<TypeConfig>, Malformed> {
        use openraft::raft::StreamAppendError;
        let id = self.log_id.map(LogId::to_raft);
        match Outcome::try_from(self.outcome) {
            Ok(Outcome::Matched) => Ok(Ok(id)),
            Ok(Outcome::Conflict) => Ok(Err(StreamAppendError::Conflict(id.ok_or(Malformed("no log id"))?))),
            Ok(Outcome::HigherVote) => Ok(Err(StreamAppendError::HigherVote(required_vote(self.vote)?))),
            Err(_) => Err(Malformed("unknown append outcome")),
        }
    }
}

impl TransferRequest {
    pub(crate) fn from_raft(request: &openraft::raft::TransferLeaderRequest<TypeConfig>) -> TransferRequest {
        TransferRequest {
            from: Some(vote(request.from_leader())),
            to: *request.to_node_id(),
            last: request.last_log_id().map(log_id),
        }
    }

    pub(crate) fn to_raft(self) -> Result<openraft::raft::TransferLeaderRequest<TypeConfig>, Malformed> {
        let last = self.last.map(LogId::to_raft);
        Ok(openraft::raft::TransferLeaderRequest::new(required_vote(self.from)?, self.to, last))
    }
}
