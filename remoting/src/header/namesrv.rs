//! Requests to name servers: 100 to 105, 205, 216, 219, 224, 322, 327.

use std::borrow::Cow;

use super::field::{header, plain_header};

header! {
    /// Request 105.
    GetRouteInfoRequestHeader<'a> {
        topic: Cow<'a, str> = b"topic",
        accept_standard_json_only: bool = b"acceptStandardJsonOnly",
    }
}

header! {
    /// Request 103.
    RegisterBrokerRequestHeader<'a> {
        broker_name: Cow<'a, str> = b"brokerName",
        broker_addr: Cow<'a, str> = b"brokerAddr",
        cluster_name: Cow<'a, str> = b"clusterName",
        ha_server_addr: Cow<'a, str> = b"haServerAddr",
        /// 0 is the master or leader.
        broker_id: i64 = b"brokerId",
        compressed: bool = b"compressed",
        /// 0 and absent: not to be checked.
        body_crc32: Option<i32> = b"bodyCrc32",
        heartbeat_timeout_millis: Option<i64> = b"heartbeatTimeoutMillis",
    }
}

header! {
    /// Answer to 103, for slaves whose master lives.
    RegisterBrokerResponseHeader<'a> {
        ha_server_addr: Option<Cow<'a, str>> = b"haServerAddr",
        master_addr: Option<Cow<'a, str>> = b"masterAddr",
    }
}

header! {
    /// Requests 104 and 322.
    BrokerRequestHeader<'a> {
        broker_name: Cow<'a, str> = b"brokerName",
        broker_addr: Cow<'a, str> = b"brokerAddr",
        cluster_name: Cow<'a, str> = b"clusterName",
        broker_id: i64 = b"brokerId",
    }
}

plain_header! {
    /// Answer to 322.
    QueryDataVersionResponseHeader {
        changed: bool = b"changed",
    }
}

header! {
    /// Request 216.
    DeleteTopicFromNamesrvRequestHeader<'a> {
        topic: Cow<'a, str> = b"topic",
        cluster_name: Option<Cow<'a, str>> = b"clusterName",
    }
}

header! {
    /// Requests 205 and 327.
    BrokerNameRequestHeader<'a> {
        broker_name: Cow<'a, str> = b"brokerName",
    }
}

plain_header! {
    /// Answer to 205.
    WipeWritePermResponseHeader {
        wipe_topic_count: i32 = b"wipeTopicCount",
    }
}

plain_header! {
    /// Answer to 327.
    AddWritePermResponseHeader {
        add_topic_count: i32 = b"addTopicCount",
    }
}

header! {
    /// Request 224.
    ClusterRequestHeader<'a> {
        cluster: Cow<'a, str> = b"cluster",
    }
}

header! {
    /// Request 100.
    PutKvConfigRequestHeader<'a> {
        namespace: Cow<'a, str> = b"namespace",
        key: Cow<'a, str> = b"key",
        value: Cow<'a, str> = b"value",
    }
}

header! {
    /// Requests 101 and 102.
    KvConfigRequestHeader<'a> {
        namespace: Cow<'a, str> = b"namespace",
        key: Cow<'a, str> = b"key",
    }
}

header! {
    /// Answer to 101.
    GetKvConfigResponseHeader<'a> {
        value: Option<Cow<'a, str>> = b"value",
    }
}

header! {
    /// Request 219.
    NamespaceRequestHeader<'a> {
        namespace: Cow<'a, str> = b"namespace",
    }
}
