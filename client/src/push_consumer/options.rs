use std::time::Duration;

use raftmq_remoting::body::ConsumeFromWhere;

/// Settings of a [`PushConsumer`](crate::PushConsumer). Defaults are RocketMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOptions {
    pub group: String,
    pub topic: String,
    /// `*`, or tags separated by `||`.
    pub tags: String,
    /// Where a group starts that has never been in a queue.
    pub from: ConsumeFrom,
    /// How long a broker holds a pull while there is nothing new (15 s).
    pub hold: Duration,
    /// Messages per pull (32).
    pub max_messages: u32,
    /// Batches that wait for [`PushConsumer::next`](crate::PushConsumer::next), over all queues; past it nothing more
    /// is pulled (64).
    pub batches_in_memory: usize,
}

/// Where a new group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeFrom {
    First,
    /// Behind the last message. As in RocketMQ, a young queue is read from its start all the same.
    Last,
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
}

impl ConsumeFrom {
    pub(crate) fn for_heartbeat(self) -> ConsumeFromWhere {
        match self {
            ConsumeFrom::First => ConsumeFromWhere::ConsumeFromFirstOffset,
            ConsumeFrom::Last => ConsumeFromWhere::ConsumeFromLastOffset,
            ConsumeFrom::Timestamp(_) => ConsumeFromWhere::ConsumeFromTimestamp,
        }
    }
}

impl PushOptions {
    pub fn new(group: &str, topic: &str) -> PushOptions {
        PushOptions {
            group: group.to_owned(),
            topic: topic.to_owned(),
            tags: "*".to_owned(),
            from: ConsumeFrom::Last,
            hold: Duration::from_secs(15),
            max_messages: 32,
            batches_in_memory: 64,
        }
    }
}
