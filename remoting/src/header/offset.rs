//! Groups, clients and offsets: 14, 15, 29 to 32, 35, 38, 40.

use std::borrow::Cow;

use super::field::{header, plain_header};

header! {
    /// Request 14.
    QueryConsumerOffsetRequestHeader<'a> {
        consumer_group: Cow<'a, str> = b"consumerGroup",
        topic: Cow<'a, str> = b"topic",
        queue_id: i32 = b"queueId",
        /// 5.x clients: `false` asks for QUERY_NOT_FOUND in place of 0.
        set_zero_if_not_found: Option<bool> = b"setZeroIfNotFound",
    }
}

header! {
    /// Request 15.
    UpdateConsumerOffsetRequestHeader<'a> {
        consumer_group: Cow<'a, str> = b"consumerGroup",
        topic: Cow<'a, str> = b"topic",
        queue_id: i32 = b"queueId",
        commit_offset: i64 = b"commitOffset",
    }
}

header! {
    /// Requests 30, 31 and 32.
    QueueRequestHeader<'a> {
        topic: Cow<'a, str> = b"topic",
        queue_id: i32 = b"queueId",
    }
}

header! {
    /// Request 29.
    SearchOffsetRequestHeader<'a> {
        topic: Cow<'a, str> = b"topic",
        queue_id: i32 = b"queueId",
        /// Milliseconds since the Unix epoch.
        timestamp: i64 = b"timestamp",
        /// 5.x clients: `LOWER` or `UPPER`.
        boundary_type: Option<Cow<'a, str>> = b"boundaryType",
    }
}

plain_header! {
    /// Answer to 14, 29, 30 and 31.
    OffsetResponseHeader {
        offset: i64 = b"offset",
    }
}

plain_header! {
    /// Answer to 32.
    TimestampResponseHeader {
        /// Milliseconds since the Unix epoch, -1 if there is no message.
        timestamp: i64 = b"timestamp",
    }
}

header! {
    /// Request 35.
    UnregisterClientRequestHeader<'a> {
        client_id: Cow<'a, str> = b"clientID",
        producer_group: Option<Cow<'a, str>> = b"producerGroup",
        consumer_group: Option<Cow<'a, str>> = b"consumerGroup",
    }
}

header! {
    /// Requests 38, 40 and 203.
    ConsumerGroupRequestHeader<'a> {
        consumer_group: Cow<'a, str> = b"consumerGroup",
    }
}
