use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use raftmq_remoting::response_code;

use crate::error::ClientError;

/// What a broker says of a message that it has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    pub status: SendStatus,
    /// UNIQ_KEY; of a batch, those of all its messages with commas between.
    pub msg_id: String,
    /// Store host and physical offset; of a batch, those of all its messages with commas between.
    pub offset_msg_id: String,
    pub queue: MessageQueue,
    /// Of a batch, that of its first message.
    pub queue_offset: QueueOffset,
}

/// How safely a stored message is stored. In Raft mode always [`SendStatus::Ok`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    Ok,
    FlushDiskTimeout,
    SlaveNotAvailable,
    FlushSlaveTimeout,
}

impl SendStatus {
    pub(crate) fn from_code(code: i32) -> Option<SendStatus> {
        match code {
            response_code::SUCCESS => Some(SendStatus::Ok),
            response_code::FLUSH_DISK_TIMEOUT => Some(SendStatus::FlushDiskTimeout),
            response_code::SLAVE_NOT_AVAILABLE => Some(SendStatus::SlaveNotAvailable),
            response_code::FLUSH_SLAVE_TIMEOUT => Some(SendStatus::FlushSlaveTimeout),
            _ => None,
        }
    }

    /// RocketMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            SendStatus::Ok => "SEND_OK",
            SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
            SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        }
    }
}

/// A send without a [`SendResult`]. The two cases differ in what a checker may conclude.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// No attempt can have stored the message.
    #[error("not stored: {cause} ({attempts} attempt(s))")]
    Refused { attempts: u32, cause: ClientError },
    /// At least one attempt may have stored it, or still may.
    #[error("outcome unknown: {cause} ({attempts} attempt(s))")]
    Unknown { attempts: u32, cause: ClientError },
}

impl SendError {
    /// `unknown_before`: an earlier attempt of this send ended with its effect open.
    pub(crate) fn new(attempts: u32, unknown_before: bool, cause: ClientError) -> SendError {
        if unknown_before || cause.effect_is_unknown() {
            SendError::Unknown { attempts, cause }
        } else {
            SendError::Refused { attempts, cause }
        }
    }

    /// The failure of the last attempt.
    pub fn cause(&self) -> &ClientError {
        match self {
            SendError::Refused { cause, .. } | SendError::Unknown { cause, .. } => cause,
        }
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, SendError::Unknown { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_after_an_open_attempt_stays_open() {
        let refused = ClientError::Connect { address: "a:1".to_owned(), reason: "refused".to_owned() };
        assert!(!SendError::new(1, false, refused.clone()).is_unknown());
        assert!(SendError::new(2, true, refused).is_unknown());
        let timeout = ClientError::Timeout { address: "a:1".to_owned(), timeout_ms: 3000 };
        assert!(SendError::new(1, false, timeout).is_unknown());
    }
}
