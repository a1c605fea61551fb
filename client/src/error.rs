use raftmq_remoting::response_code;

/// Why a request to the cluster failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no name server given; set one with -n HOST:PORT or the environment variable NAMESRV_ADDR")]
    NoNameServer,
    #[error("no name server answers at {addresses}: {last}")]
    NameServersUnreachable { addresses: String, last: String },
    #[error("no route for topic {topic}: {remark}")]
    NoRoute { topic: String, remark: String },
    /// The route has no living member for the group.
    #[error("broker group {broker_name} has no member in the route of topic {topic}")]
    NoBroker { broker_name: String, topic: String },
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: String },
    #[error("{address} answered {code} {}: {remark}", code_name(*code))]
    Refused { address: String, code: i32, remark: String },
    #[error("nothing was sent to {address}: {reason}")]
    NotSent { address: String, reason: String },
    #[error("no answer from {address} within {timeout_ms} ms")]
    Timeout { address: String, timeout_ms: u64 },
    #[error("connection to {address} was lost before the answer came: {reason}")]
    Lost { address: String, reason: String },
    #[error("answer of {address} is not understood: {reason}")]
    BadAnswer { address: String, reason: String },
    #[error("{0}")]
    Invalid(String),
}

impl ClientError {
    /// Whether the request may have had its effect although it failed.
    pub fn effect_is_unknown(&self) -> bool {
        match self {
            ClientError::NoNameServer
            | ClientError::NameServersUnreachable { .. }
            | ClientError::NoRoute { .. }
            | ClientError::NoBroker { .. }
            | ClientError::Connect { .. }
            | ClientError::NotSent { .. }
            | ClientError::Invalid(_) => false,
            ClientError::Refused { code, .. } => !is_definite_refusal(*code),
            ClientError::Timeout { .. } | ClientError::Lost { .. } | ClientError::BadAnswer { .. } => true,
        }
    }

    /// The code a broker or name server answered with.
    pub fn code(&self) -> Option<i32> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn bad_answer(address: &str, reason: impl ToString) -> ClientError {
        ClientError::BadAnswer { address: address.to_owned(), reason: reason.to_string() }
    }
}

/// Codes after which the request certainly did nothing. SYSTEM_ERROR is not one: brokers answer it, too, when they
/// do not know the outcome (DESIGN section 5).
fn is_definite_refusal(code: i32) -> bool {
    matches!(
        code,
        response_code::SYSTEM_BUSY
            | response_code::REQUEST_CODE_NOT_SUPPORTED
            | response_code::MESSAGE_ILLEGAL
            | response_code::SERVICE_NOT_AVAILABLE
            | response_code::NO_PERMISSION
            | response_code::TOPIC_NOT_EXIST
            | response_code::SUBSCRIPTION_GROUP_NOT_EXIST
    )
}

fn code_name(code: i32) -> &'static str {
    match code {
        response_code::SYSTEM_ERROR => "SYSTEM_ERROR",
        response_code::SYSTEM_BUSY => "SYSTEM_BUSY",
        response_code::REQUEST_CODE_NOT_SUPPORTED => "REQUEST_CODE_NOT_SUPPORTED",
        response_code::MESSAGE_ILLEGAL => "MESSAGE_ILLEGAL",
        response_code::SERVICE_NOT_AVAILABLE => "SERVICE_NOT_AVAILABLE",
        response_code::NO_PERMISSION => "NO_PERMISSION",
        response_code::TOPIC_NOT_EXIST => "TOPIC_NOT_EXIST",
        response_code::SUBSCRIPTION_GROUP_NOT_EXIST => "SUBSCRIPTION_GROUP_NOT_EXIST",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_leaves_the_outcome_open_and_service_not_available_does_not() {
        let refused = |code| ClientError::Refused { address: "a:1".to_owned(), code, remark: String::new() };
        assert!(refused(response_code::SYSTEM_ERROR).effect_is_unknown());
        assert!(!refused(response_code::SERVICE_NOT_AVAILABLE).effect_is_unknown());
        assert!(refused(9999).effect_is_unknown());
    }
}
