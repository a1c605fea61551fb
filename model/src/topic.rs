//! Topic configurations, names and their rules (RocketMQ `TopicConfig`, `TopicValidator`).

use serde::{Deserialize, Serialize};

use crate::permission;

pub const AUTO_CREATE_TOPIC_KEY: &str = "TBW102";
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub const CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DLQ_PREFIX: &str = "%DLQ%";
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Longest topic that RocketMQ 4.x stores: its length is one signed byte.
pub const MAX_LENGTH: usize = 127;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    pub order: bool,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicFilterType {
    #[default]
    #[serde(rename = "SINGLE_TAG")]
    SingleTag,
    #[serde(rename = "MULTI_TAG")]
    MultiTag,
}

impl TopicFilterType {
    pub fn name(self) -> &'static str {
        match self {
            TopicFilterType::SingleTag => "SINGLE_TAG",
            TopicFilterType::MultiTag => "MULTI_TAG",
        }
    }

    pub fn parse(name: &str) -> Option<TopicFilterType> {
        match name {
            "SINGLE_TAG" => Some(TopicFilterType::SingleTag),
            "MULTI_TAG" => Some(TopicFilterType::MultiTag),
            _ => None,
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig::new("", 16, permission::READ | permission::WRITE)
    }
}

impl TopicConfig {
    /// A topic with the same number of read and write queues.
    pub fn new(name: &str, queues: i32, perm: i32) -> TopicConfig {
        TopicConfig {
            order: false,
            perm,
            read_queue_nums: queues,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: name.to_owned(),
            topic_sys_flag: 0,
            write_queue_nums: queues,
        }
    }
}

/// Why a topic name is refused; the texts are RocketMQ's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    #[error("The specified topic is blank.")]
    Blank,
    #[error("The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacters,
    #[error("The specified topic is longer than topic max length.")]
    TooLong,
}

/// Checks a topic name as RocketMQ's `TopicValidator.validateTopic` does.
pub fn validate_name(name: &str) -> Result<(), TopicNameError> {
    if name.trim().is_empty() {
        return Err(TopicNameError::Blank);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')) {
        return Err(TopicNameError::IllegalCharacters);
    }
    if name.len() > MAX_LENGTH {
        return Err(TopicNameError::TooLong);
    }
    Ok(())
}

/// Topics that RocketMQ itself uses and that cannot be created or deleted by request. Names derived from the
/// cluster and the broker group come on top.
pub fn is_system_topic(name: &str) -> bool {
    matches!(
        name,
        AUTO_CREATE_TOPIC_KEY
            | SCHEDULE_TOPIC
            | BENCHMARK_TOPIC
            | HALF_TOPIC
            | TRACE_TOPIC
            | OP_HALF_TOPIC
            | CHECK_MAX_TIME_TOPIC
            | SELF_TEST_TOPIC
            | OFFSET_MOVED_EVENT
    ) || name.starts_with(SYSTEM_PREFIX)
}

/// Topics that clients may not send to.
pub fn is_send_forbidden(name: &str) -> bool {
    matches!(
        name,
        SCHEDULE_TOPIC | HALF_TOPIC | OP_HALF_TOPIC | CHECK_MAX_TIME_TOPIC | SELF_TEST_TOPIC | OFFSET_MOVED_EVENT
    )
}

/// The retry topic of a consumer group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_validator() {
        assert_eq!(validate_name("%RETRY%a_b-c|9"), Ok(()));
        assert_eq!(validate_name(" "), Err(TopicNameError::Blank));
        assert_eq!(validate_name("a.b"), Err(TopicNameError::IllegalCharacters));
        assert_eq!(validate_name(&"a".repeat(128)), Err(TopicNameError::TooLong));
    }
}
