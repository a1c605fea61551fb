//! Topics and groups that a broker has from the start (RocketMQ `TopicConfigManager`, `SubscriptionGroupManager`).

use raftmq_model::permission::{INHERIT, READ, WRITE};
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_model::topic::{self, TopicConfig};

use super::command::Command;
use super::tables::Tables;

/// Subscription groups that exist without anybody creating them.
pub const PREDEFINED_GROUPS: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Groups with this prefix are created even if autoCreateSubscriptionGroup is off.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// What decides about the topics made at start, and the system topics; the names are broker.conf's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    pub broker_cluster_name: String,
    pub broker_name: String,
    pub auto_create_topic_enable: bool,
    pub default_topic_queue_nums: i32,
    pub cluster_topic_enable: bool,
    pub broker_topic_enable: bool,
    pub trace_topic_enable: bool,
    pub msg_trace_topic_name: String,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        TopicDefaults {
            broker_cluster_name: "DefaultCluster".to_owned(),
            broker_name: String::new(),
            auto_create_topic_enable: true,
            default_topic_queue_nums: 8,
            cluster_topic_enable: true,
            broker_topic_enable: true,
            trace_topic_enable: false,
            msg_trace_topic_name: topic::TRACE_TOPIC.to_owned(),
        }
    }
}

impl TopicDefaults {
    /// The topic that replies of request-reply producers go through.
    pub fn reply_topic(&self) -> String {
        format!("{}_REPLY_TOPIC", self.broker_cluster_name)
    }

    /// Whether requests 17 and 215 refuse this topic.
    pub fn is_system_topic(&self, name: &str) -> bool {
        topic::is_system_topic(name)
            || name == self.broker_cluster_name
            || name == self.broker_name
            || name == self.reply_topic()
    }

    /// All names that [`TopicDefaults::is_system_topic`] knows beyond the `rmq_sys_` prefix.
    pub fn system_topics(&self) -> Vec<String> {
        let fixed = [
            topic::AUTO_CREATE_TOPIC_KEY,
            topic::SCHEDULE_TOPIC,
            topic::BENCHMARK_TOPIC,
            topic::HALF_TOPIC,
            topic::TRACE_TOPIC,
            topic::OP_HALF_TOPIC,
            topic::CHECK_MAX_TIME_TOPIC,
            topic::SELF_TEST_TOPIC,
            topic::OFFSET_MOVED_EVENT,
        ];
        let ours = [self.broker_cluster_name.clone(), self.broker_name.clone(), self.reply_topic()];
        fixed.into_iter().map(str::to_owned).chain(ours).collect()
    }
}

/// The topics that a broker makes at start, in the order of RocketMQ's constructor. Where the cluster and the broker
/// have one name, the later one wins, as it does there.
pub fn bootstrap_topics(defaults: &TopicDefaults) -> Vec<TopicConfig> {
    let open = READ | WRITE;
    let named = |enabled| if enabled { open | INHERIT } else { INHERIT };
    let mut topics = vec![TopicConfig::new(topic::SELF_TEST_TOPIC, 1, open)];
    if defaults.auto_create_topic_enable {
        let queues = defaults.default_topic_queue_nums;
        topics.push(TopicConfig::new(topic::AUTO_CREATE_TOPIC_KEY, queues, open | INHERIT));
    }
    topics.push(TopicConfig::new(topic::BENCHMARK_TOPIC, 1024, open));
    topics.push(TopicConfig::new(&defaults.broker_cluster_name, 16, named(defaults.cluster_topic_enable)));
    topics.retain(|topic| topic.topic_name != defaults.broker_name);
    topics.push(TopicConfig::new(&defaults.broker_name, 1, named(defaults.broker_topic_enable)));
    topics.push(TopicConfig::new(topic::OFFSET_MOVED_EVENT, 1, open));
    topics.push(TopicConfig::new(topic::SCHEDULE_TOPIC, 18, open));
    if defaults.trace_topic_enable {
        topics.push(TopicConfig::new(&defaults.msg_trace_topic_name, 1, open));
    }
    topics.push(TopicConfig::new(&defaults.reply_topic(), 1, open));
    topics
}

/// Commands for the topics and groups of the start that the tables lack. In Raft mode the leader proposes them when
/// it is ready; existing ones stay as they are.
pub fn bootstrap_commands(tables: &Tables, defaults: &TopicDefaults, at_unix_ms: i64) -> Vec<Command> {
    let topics = bootstrap_topics(defaults).into_iter();
    let topics = topics.filter(|config| !tables.topics.contains(&config.topic_name));
    let topics = topics.map(|config| Command::PutTopic { config, from_auto_create: true, at_unix_ms });
    let groups = PREDEFINED_GROUPS.into_iter().filter(|group| !tables.groups.contains(group));
    let groups = groups.map(|group| Command::PutGroup {
        config: SubscriptionGroupConfig::new(group),
        from_auto_create: true,
        at_unix_ms,
    });
    topics.chain(groups).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::Changes;

    fn summary(defaults: &TopicDefaults) -> Vec<(String, i32, i32)> {
        let topics = bootstrap_topics(defaults).into_iter();
        topics.map(|config| (config.topic_name, config.write_queue_nums, config.perm)).collect()
    }

    #[test]
    fn topics_of_the_start_are_rocketmqs() {
        let mut defaults = TopicDefaults { broker_name: "broker-a".to_owned(), ..TopicDefaults::default() };
        let expected = [
            ("SELF_TEST_TOPIC", 1, 6),
            ("TBW102", 8, 7),
            ("BenchmarkTest", 1024, 6),
            ("DefaultCluster", 16, 7),
            ("broker-a", 1, 7),
            ("OFFSET_MOVED_EVENT", 1, 6),
            ("SCHEDULE_TOPIC_XXXX", 18, 6),
            ("DefaultCluster_REPLY_TOPIC", 1, 6),
        ];
        let found = summary(&defaults);
        let found: Vec<_> = found.iter().map(|(name, queues, perm)| (name.as_str(), *queues, *perm)).collect();
        assert_eq!(found, expected);
        defaults.auto_create_topic_enable = false;
        defaults.broker_topic_enable = false;
        defaults.trace_topic_enable = true;
        let found = summary(&defaults);
        assert!(!found.iter().any(|(name, ..)| name == "TBW102"));
        assert!(found.contains(&("broker-a".to_owned(), 1, 1)));
        assert!(found.contains(&("RMQ_SYS_TRACE_TOPIC".to_owned(), 1, 6)));
    }

    #[test]
    fn only_missing_ones_are_created() {
        let defaults = TopicDefaults { broker_name: "b".to_owned(), ..TopicDefaults::default() };
        let (tables, mut changes) = (Tables::default(), Changes::default());
        let first = bootstrap_commands(&tables, &defaults, 5);
        assert_eq!(first.len(), 8 + PREDEFINED_GROUPS.len());
        for command in &first {
            tables.apply(command, &mut changes);
        }
        assert_eq!(bootstrap_commands(&tables, &defaults, 6), []);
        assert!(defaults.system_topics().iter().all(|name| defaults.is_system_topic(name)));
        assert!(defaults.is_system_topic("rmq_sys_x") && !defaults.is_system_topic("T"));
    }
}
