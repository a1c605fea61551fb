//! Whether a send to a topic goes on, creates it, or is refused (RocketMQ
//! `TopicConfigManager.createTopicInSendMessageMethod`).

use std::sync::Arc;

use raftmq_model::permission::{self, INHERIT, READ, WRITE};
use raftmq_model::topic::{AUTO_CREATE_TOPIC_KEY, RETRY_PREFIX, TopicConfig};
use raftmq_remoting::response_code;

use super::tables::{Topic, TopicTable};

/// The topic is of unit mode.
const FLAG_UNIT: i32 = 1;
/// Somebody subscribes to it in unit mode.
const FLAG_UNIT_SUBSCRIPTION: i32 = 1 << 1;

/// What a send says about a topic that may not exist yet.
#[derive(Clone, Copy, Debug)]
pub struct SendCreation<'a> {
    pub topic: &'a str,
    /// The template that the producer names, usually TBW102.
    pub default_topic: &'a str,
    /// How many queues the producer would like.
    pub default_topic_queue_nums: i32,
    pub unit_mode: bool,
    /// Key autoCreateTopicEnable: whether TBW102 may be a template.
    pub auto_create_topic_enable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutoCreate {
    Use(Arc<Topic>),
    /// To be proposed and applied before, or in one entry with, the message.
    Create(TopicConfig),
    Refuse {
        code: i32,
        remark: String,
    },
}

/// Decides for one send. The name has been validated.
pub fn decide_for_send(topics: &TopicTable, send: SendCreation<'_>) -> AutoCreate {
    if let Some(topic) = topics.get(send.topic) {
        return AutoCreate::Use(topic);
    }
    let template = topics.get(send.default_topic).filter(|template| {
        let switched_off = send.default_topic == AUTO_CREATE_TOPIC_KEY && !send.auto_create_topic_enable;
        permission::is_inherited(template.perm) && !switched_off
    });
    if let Some(template) = template {
        let queues = send.default_topic_queue_nums.min(template.write_queue_nums).max(0);
        let mut config = TopicConfig::new(send.topic, queues, template.perm & !INHERIT);
        config.topic_filter_type = template.topic_filter_type;
        config.topic_sys_flag = if send.unit_mode { FLAG_UNIT } else { 0 };
        return AutoCreate::Create(config);
    }
    if send.topic.starts_with(RETRY_PREFIX) {
        return AutoCreate::Create(retry_topic_config(send.topic, 1, send.unit_mode));
    }
    AutoCreate::Refuse {
        code: response_code::TOPIC_NOT_EXIST,
        remark: format!(
            "topic[{}] not exist, apply first please!\nSee http://rocketmq.apache.org/docs/faq/ for further details.",
            send.topic
        ),
    }
}

/// The retry topic of a group, made by its first heartbeat or by a message sent back.
pub fn retry_topic_config(topic: &str, queues: i32, unit_mode: bool) -> TopicConfig {
    let mut config = TopicConfig::new(topic, queues, READ | WRITE);
    config.topic_sys_flag = if unit_mode { FLAG_UNIT_SUBSCRIPTION } else { 0 };
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::Changes;
    use crate::state_machine::command::Command;
    use crate::state_machine::tables::Tables;

    const SEND: SendCreation<'_> = SendCreation {
        topic: "T",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        unit_mode: false,
        auto_create_topic_enable: true,
    };

    fn tables(topics: &[(&str, i32, i32)]) -> Tables {
        let (tables, mut changes) = (Tables::default(), Changes::default());
        for (name, queues, perm) in topics {
            let config = TopicConfig::new(name, *queues, *perm);
            tables.apply(&Command::PutTopic { config, from_auto_create: false, at_unix_ms: 1 }, &mut changes);
        }
        tables
    }

    fn refused(decision: AutoCreate) -> bool {
        matches!(decision, AutoCreate::Refuse { code: 17, remark } if remark.starts_with("topic[T] not exist, apply first please!"))
    }

    #[test]
    fn an_existing_topic_is_used() {
        let tables = tables(&[("T", 1, 6)]);
        assert_eq!(decide_for_send(&tables.topics, SEND), AutoCreate::Use(tables.topics.get("T").unwrap()));
    }

    #[test]
    fn a_template_with_the_inherit_bit_gives_queues_and_permission() {
        let tables = tables(&[("TBW102", 8, 7), ("DefaultCluster", 3, 7)]);
        assert_eq!(decide_for_send(&tables.topics, SEND), AutoCreate::Create(TopicConfig::new("T", 4, 6)));
        let of_cluster = SendCreation { default_topic: "DefaultCluster", auto_create_topic_enable: false, ..SEND };
        assert_eq!(decide_for_send(&tables.topics, of_cluster), AutoCreate::Create(TopicConfig::new("T", 3, 6)));
        let negative = SendCreation { default_topic_queue_nums: -1, unit_mode: true, ..SEND };
        let AutoCreate::Create(config) = decide_for_send(&tables.topics, negative) else { panic!() };
        assert_eq!((config.write_queue_nums, config.topic_sys_flag), (0, 1));
    }

    #[test]
    fn without_a_template_only_retry_topics_are_created() {
        let tables = tables(&[("TBW102", 8, 7), ("Plain", 8, 6)]);
        assert!(refused(decide_for_send(&tables.topics, SendCreation { auto_create_topic_enable: false, ..SEND })));
        assert!(refused(decide_for_send(&tables.topics, SendCreation { default_topic: "Plain", ..SEND })));
        assert!(refused(decide_for_send(&tables.topics, SendCreation { default_topic: "missing", ..SEND })));
        let retry = SendCreation { topic: "%RETRY%cg", default_topic: "missing", unit_mode: true, ..SEND };
        let AutoCreate::Create(config) = decide_for_send(&tables.topics, retry) else { panic!() };
        assert_eq!((config.write_queue_nums, config.perm, config.topic_sys_flag), (1, 6, 2));
    }
}
