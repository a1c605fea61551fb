//! Protobuf shapes of stored values: in commands, in the table store and in snapshots (docs/commands.md).
//!
//! Tags are for ever. A field may be added only where readers that do not know it may leave it out of account;
//! anything else is a new version of the command or of the snapshot section.

use prost::Message;
use raftmq_model::route::DataVersion;
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_model::topic::{TopicConfig, TopicFilterType};

#[derive(Clone, PartialEq, Message)]
pub(super) struct TopicRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub read_queues: i32,
    #[prost(int32, tag = "3")]
    pub write_queues: i32,
    #[prost(int32, tag = "4")]
    pub perm: i32,
    /// 0 SINGLE_TAG, 1 MULTI_TAG.
    #[prost(uint32, tag = "5")]
    pub filter_type: u32,
    #[prost(int32, tag = "6")]
    pub sys_flag: i32,
    #[prost(bool, tag = "7")]
    pub order: bool,
}

impl From<&TopicConfig> for TopicRecord {
    fn from(config: &TopicConfig) -> TopicRecord {
        TopicRecord {
            name: config.topic_name.clone(),
            read_queues: config.read_queue_nums,
            write_queues: config.write_queue_nums,
            perm: config.perm,
            filter_type: match config.topic_filter_type {
                TopicFilterType::SingleTag => 0,
                TopicFilterType::MultiTag => 1,
            },
            sys_flag: config.topic_sys_flag,
            order: config.order,
        }
    }
}

impl From<TopicRecord> for TopicConfig {
    fn from(record: TopicRecord) -> TopicConfig {
        TopicConfig {
            order: record.order,
            perm: record.perm,
            read_queue_nums: record.read_queues,
            topic_filter_type: match record.filter_type {
                1 => TopicFilterType::MultiTag,
                _ => TopicFilterType::SingleTag,
            },
            topic_name: record.name,
            topic_sys_flag: record.sys_flag,
            write_queue_nums: record.write_queues,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GroupRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bool, tag = "2")]
    pub consume_enable: bool,
    #[prost(bool, tag = "3")]
    pub consume_from_min_enable: bool,
    #[prost(bool, tag = "4")]
    pub consume_broadcast_enable: bool,
    #[prost(bool, tag = "5")]
    pub notify_consumer_ids_changed_enable: bool,
    #[prost(int32, tag = "6")]
    pub retry_queues: i32,
    #[prost(int32, tag = "7")]
    pub retry_max_times: i32,
    #[prost(int64, tag = "8")]
    pub broker_id: i64,
    #[prost(int64, tag = "9")]
    pub which_broker_when_consume_slowly: i64,
}

impl From<&SubscriptionGroupConfig> for GroupRecord {
    fn from(config: &SubscriptionGroupConfig) -> GroupRecord {
        GroupRecord {
            name: config.group_name.clone(),
            consume_enable: config.consume_enable,
            consume_from_min_enable: config.consume_from_min_enable,
            consume_broadcast_enable: config.consume_broadcast_enable,
            notify_consumer_ids_changed_enable: config.notify_consumer_ids_changed_enable,
            retry_queues: config.retry_queue_nums,
            retry_max_times: config.retry_max_times,
            broker_id: config.broker_id,
            which_broker_when_consume_slowly: config.which_broker_when_consume_slowly,
        }
    }
}

impl From<GroupRecord> for SubscriptionGroupConfig {
    fn from(record: GroupRecord) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            broker_id: record.broker_id,
            consume_broadcast_enable: record.consume_broadcast_enable,
            consume_enable: record.consume_enable,
            consume_from_min_enable: record.consume_from_min_enable,
            group_name: record.name,
            notify_consumer_ids_changed_enable: record.notify_consumer_ids_changed_enable,
            retry_max_times: record.retry_max_times,
            retry_queue_nums: record.retry_queues,
            which_broker_when_consume_slowly: record.which_broker_when_consume_slowly,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DataVersionRecord {
    #[prost(int64, tag = "1")]
    pub counter: i64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

impl From<DataVersion> for DataVersionRecord {
    fn from(version: DataVersion) -> DataVersionRecord {
        DataVersionRecord { counter: version.counter, timestamp: version.timestamp }
    }
}

impl From<DataVersionRecord> for DataVersion {
    fn from(record: DataVersionRecord) -> DataVersion {
        DataVersion { counter: record.counter, state_version: 0, timestamp: record.timestamp }
    }
}

/// A queue and an offset in it.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct QueueOffsetRecord {
    #[prost(int32, tag = "1")]
    pub queue_id: i32,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
}

/// Offsets of the queues of one topic, ordered by queue.
#[derive(Clone, PartialEq, Message)]
pub(super) struct QueueOffsetsRecord {
    #[prost(message, repeated, tag = "1")]
    pub queues: Vec<QueueOffsetRecord>,
}
