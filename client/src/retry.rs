//! When a producer tries again (RocketMQ `DefaultMQProducerImpl.sendDefaultImpl`, `retryResponseCodes`).

use raftmq_remoting::response_code;

use crate::error::ClientError;

/// Codes after which RocketMQ's producer sends again, to another broker if there is one.
const RETRY_CODES: [i32; 6] = [
    response_code::TOPIC_NOT_EXIST,
    response_code::SERVICE_NOT_AVAILABLE,
    response_code::SYSTEM_ERROR,
    response_code::NO_PERMISSION,
    response_code::NO_BUYER_ID,
    response_code::NOT_IN_CURRENT_UNIT,
];

/// Whether an attempt that failed like this is repeated.
pub(crate) fn is_retried(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => RETRY_CODES.contains(code),
        ClientError::Connect { .. }
        | ClientError::NotSent { .. }
        | ClientError::Lost { .. }
        | ClientError::Timeout { .. }
        | ClientError::BadAnswer { .. }
        | ClientError::NoBroker { .. } => true,
        ClientError::NoNameServer
        | ClientError::NameServersUnreachable { .. }
        | ClientError::NoRoute { .. }
        | ClientError::Invalid(_) => false,
    }
}

/// Whether the failure says that our route is old: then it is fetched again before the next attempt.
pub(crate) fn suggests_new_route(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => matches!(
            *code,
            response_code::TOPIC_NOT_EXIST | response_code::SERVICE_NOT_AVAILABLE | response_code::NO_PERMISSION
        ),
        ClientError::Connect { .. }
        | ClientError::NotSent { .. }
        | ClientError::Lost { .. }
        | ClientError::NoBroker { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_rocketmq_are_retried_and_no_others() {
        let refused = |code| ClientError::Refused { address: "a:1".to_owned(), code, remark: String::new() };
        for code in [1, 14, 16, 17, 204, 205] {
            assert!(is_retried(&refused(code)), "{code}");
        }
        for code in [2, 13, 26, 3] {
            assert!(!is_retried(&refused(code)), "{code}");
        }
    }

    #[test]
    fn a_lost_connection_is_retried_on_a_new_route() {
        let lost = ClientError::Lost { address: "a:1".to_owned(), reason: "reset".to_owned() };
        assert!(is_retried(&lost) && suggests_new_route(&lost));
        let timeout = ClientError::Timeout { address: "a:1".to_owned(), timeout_ms: 3000 };
        assert!(is_retried(&timeout) && !suggests_new_route(&timeout));
    }
}
