//! Subscription groups and subscriptions (RocketMQ `SubscriptionGroupConfig`, `SubscriptionData`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::tags;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub group_name: String,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig::new("")
    }
}

impl SubscriptionGroupConfig {
    pub fn new(group: &str) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            group_name: group.to_owned(),
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// What one consumer wants of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    pub class_filter_mode: bool,
    pub code_set: BTreeSet<i32>,
    pub expression_type: String,
    pub sub_string: String,
    pub sub_version: i64,
    pub tags_set: BTreeSet<String>,
    pub topic: String,
}

pub const SUBSCRIBE_ALL: &str = "*";
pub const EXPRESSION_TAG: &str = "TAG";

/// A tag expression such as `a || b` has no tag in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tag expression [{0}] names no tag")]
pub struct TagExpressionError(pub String);

impl SubscriptionData {
    /// Parses a tag expression as RocketMQ's `FilterAPI.buildSubscriptionData` does: empty or `*` means all, else
    /// tags separated by `||`.
    pub fn from_tags(topic: &str, expression: &str) -> Result<SubscriptionData, TagExpressionError> {
        let mut subscription = SubscriptionData {
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: expression.to_owned(),
            topic: topic.to_owned(),
            ..SubscriptionData::default()
        };
        if expression.is_empty() || expression == SUBSCRIBE_ALL {
            subscription.sub_string = SUBSCRIBE_ALL.to_owned();
            return Ok(subscription);
        }
        for tag in expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
            subscription.tags_set.insert(tag.to_owned());
            subscription.code_set.insert(tags::java_hash_code(tag));
        }
        if subscription.tags_set.is_empty() {
            return Err(TagExpressionError(expression.to_owned()));
        }
        Ok(subscription)
    }

    /// Whether the expression is tags (an absent type counts, as C++ clients send none).
    pub fn is_tag_type(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == EXPRESSION_TAG
    }

    /// The broker's test on a consume queue unit. Hash collisions pass; clients compare the tag itself.
    pub fn matches_tags_code(&self, tags_code: i64) -> bool {
        self.sub_string == SUBSCRIBE_ALL || self.sub_string.is_empty() || self.code_set.contains(&(tags_code as i32))
    }
}

/// Longest name of a group (RocketMQ's client `Validators`).
pub const MAX_GROUP_LENGTH: usize = 255;

/// Why the name of a group is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupNameError {
    #[error("the specified group is blank")]
    Blank,
    #[error("the specified group has {size_bytes} characters, more than {MAX_GROUP_LENGTH}")]
    TooLong { size_bytes: usize },
    #[error("the specified group contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacters,
}

/// Checks the name of a group as RocketMQ's clients do. RocketMQ's broker trusts them; but each group is kept, with its
/// retry topic, and goes to the name servers with every registration.
pub fn validate_group(name: &str) -> Result<(), GroupNameError> {
    if name.trim().is_empty() {
        return Err(GroupNameError::Blank);
    }
    if name.len() > MAX_GROUP_LENGTH {
        return Err(GroupNameError::TooLong { size_bytes: name.len() });
    }
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')) {
        true => Ok(()),
        false => Err(GroupNameError::IllegalCharacters),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_expressions_match_by_hash() {
        let subscription = SubscriptionData::from_tags("T", "TagA || TagB").unwrap();
        assert!(subscription.matches_tags_code(tags::tags_code(Some("TagB"))));
        assert!(!subscription.matches_tags_code(tags::tags_code(Some("TagC"))));
        assert!(SubscriptionData::from_tags("T", "").unwrap().matches_tags_code(7));
        assert!(SubscriptionData::from_tags("T", " || ").is_err());
    }

    #[test]
    fn group_names_are_those_that_clients_allow() {
        assert_eq!(validate_group("%RETRY%a|b_c-9"), Ok(()));
        assert_eq!(validate_group(&"g".repeat(255)), Ok(()));
        assert_eq!(validate_group(" "), Err(GroupNameError::Blank));
        assert_eq!(validate_group(&"g".repeat(256)), Err(GroupNameError::TooLong { size_bytes: 256 }));
        for illegal in ["a b", "a\u{1}", "\u{fc}", "a/b", "a.b"] {
            assert_eq!(validate_group(illegal), Err(GroupNameError::IllegalCharacters), "{illegal}");
        }
    }
}
