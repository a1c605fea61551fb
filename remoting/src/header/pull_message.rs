//! Pulls: 11 and 361 (RocketMQ `PullMessageRequestHeader`).

use std::borrow::Cow;

use super::field::{header, plain_header};

header! {
    PullMessageRequestHeader<'a> {
        consumer_group: Cow<'a, str> = b"consumerGroup",
        topic: Cow<'a, str> = b"topic",
        queue_id: i32 = b"queueId",
        queue_offset: i64 = b"queueOffset",
        max_msg_nums: i32 = b"maxMsgNums",
        /// Bit 0: `commit_offset` counts. Bit 1: may be held. Bit 2: `subscription` counts.
        sys_flag: i32 = b"sysFlag",
        commit_offset: i64 = b"commitOffset",
        suspend_timeout_millis: i64 = b"suspendTimeoutMillis",
        subscription: Option<Cow<'a, str>> = b"subscription",
        sub_version: i64 = b"subVersion",
        /// `TAG` if absent.
        expression_type: Option<Cow<'a, str>> = b"expressionType",
        max_msg_bytes: Option<i32> = b"maxMsgBytes",
    }
}

plain_header! {
    /// Java clients fail on answers 0, 19, 20 and 21 that lack one of these.
    PullMessageResponseHeader {
        suggest_which_broker_id: i64 = b"suggestWhichBrokerId",
        next_begin_offset: i64 = b"nextBeginOffset",
        min_offset: i64 = b"minOffset",
        max_offset: i64 = b"maxOffset",
    }
}
