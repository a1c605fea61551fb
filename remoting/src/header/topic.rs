//! Topics and subscription groups: 17, 202, 207, 215.

use std::borrow::Cow;

use super::field::header;

header! {
    /// Request 17. `order` is honoured, which Java's 4.9 broker forgets.
    CreateTopicRequestHeader<'a> {
        topic: Cow<'a, str> = b"topic",
        default_topic: Option<Cow<'a, str>> = b"defaultTopic",
        read_queue_nums: i32 = b"readQueueNums",
        write_queue_nums: i32 = b"writeQueueNums",
        perm: i32 = b"perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: Option<Cow<'a, str>> = b"topicFilterType",
        topic_sys_flag: Option<i32> = b"topicSysFlag",
        order: bool = b"order",
        /// 5.x tools.
        attributes: Option<Cow<'a, str>> = b"attributes",
    }
}

header! {
    /// Requests 105, 202 and 215.
    TopicRequestHeader<'a> {
        topic: Cow<'a, str> = b"topic",
    }
}

header! {
    /// Request 207; 4.9 tools say `removeOffset`, 5.x ones `cleanOffset`.
    DeleteSubscriptionGroupRequestHeader<'a> {
        group_name: Cow<'a, str> = b"groupName",
        remove_offset: bool = b"removeOffset",
        clean_offset: bool = b"cleanOffset",
    }
}
