use bytes::Bytes;
use raftmq_remoting::header::FieldError;
use raftmq_remoting::{FieldValue, ReplyBuffer, RequestMeta, response_code};

use crate::proposer::ProposeError;
use crate::replicator::ReplicateError;
use crate::state_machine::Command;

/// What a handler has decided.
#[derive(Debug)]
pub enum Handled {
    Reply(Reply),
    /// To be answered when the commands are in the log and applied; until then nothing was promised.
    Propose {
        commands: Vec<Command>,
        then: Reply,
    },
    /// To be proposed when nothing is under way, with the ends that the topic's queues have then; answered with 0.
    DeleteTopic {
        topic: String,
    },
    /// Nothing is answered, or somebody else does it later.
    Silent,
}

impl From<Reply> for Handled {
    fn from(reply: Reply) -> Handled {
        Handled::Reply(reply)
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub code: i32,
    pub remark: Option<String>,
    pub fields: Vec<(&'static str, FieldValue<'static>)>,
    pub body: Bytes,
}

impl Reply {
    pub fn ok() -> Reply {
        Reply { code: response_code::SUCCESS, remark: None, fields: Vec::new(), body: Bytes::new() }
    }

    pub fn error(code: i32, remark: impl Into<String>) -> Reply {
        Reply { code, remark: Some(remark.into()), ..Reply::ok() }
    }

    /// SYSTEM_ERROR, which RocketMQ answers to most requests that cannot be done.
    pub fn system_error(remark: impl std::fmt::Display) -> Reply {
        Reply::error(response_code::SYSTEM_ERROR, remark.to_string())
    }

    pub fn with_number(mut self, name: &'static str, value: i64) -> Reply {
        self.fields.push((name, FieldValue::Int(value)));
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Reply {
        self.body = body.into();
        self
    }

    pub fn push(&self, meta: RequestMeta, replies: &mut ReplyBuffer) {
        replies.push(meta, self.code, self.remark.as_deref(), &self.fields, &self.body);
    }
}

/// The answer to a request without its header fields.
impl From<FieldError> for Reply {
    fn from(error: FieldError) -> Reply {
        Reply::system_error(error)
    }
}

/// The answer to a request whose commands did not get into the log, or may not have.
impl From<&ProposeError> for Reply {
    fn from(error: &ProposeError) -> Reply {
        let code = match error {
            ProposeError::Busy { .. } => response_code::SYSTEM_BUSY,
            ProposeError::Expired(_) => response_code::SERVICE_NOT_AVAILABLE,
            ProposeError::Replicate(ReplicateError::NotAppended(_) | ReplicateError::Stopped(_)) => {
                response_code::SERVICE_NOT_AVAILABLE
            }
            ProposeError::Replicate(ReplicateError::Illegal(_) | ReplicateError::Unknown(_)) => {
                response_code::SYSTEM_ERROR
            }
        };
        Reply::error(code, error.to_string())
    }
}
