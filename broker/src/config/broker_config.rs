use std::time::Duration;

use raftmq_config::{config, config_choice, rocketmq_keys};
use raftmq_model::{permission, topic};
use raftmq_sys::host;

config_choice! {
    /// What a member of a classic group is (RocketMQ `BrokerRole`). Without meaning in Raft mode.
    pub enum BrokerRole {
        AsyncMaster = "ASYNC_MASTER",
        SyncMaster = "SYNC_MASTER",
        Slave = "SLAVE",
    }
}

config_choice! {
    /// Whether a message is on disk when it is acknowledged (RocketMQ `FlushDiskType`).
    pub enum FlushDiskType {
        /// Soon after: survives kill -9, not a power cut.
        AsyncFlush = "ASYNC_FLUSH",
        /// Yes; in Raft mode on a majority.
        SyncFlush = "SYNC_FLUSH",
    }
}

config_choice! {
    /// How metrics leave the process (RocketMQ `MetricsExporterType`).
    pub enum MetricsExporterType {
        Disable = "DISABLE",
        /// A Prometheus endpoint on a port of its own.
        Prom = "PROM",
    }
}

fn home() -> String {
    std::env::var("HOME").ok().filter(|home| !home.is_empty()).unwrap_or_else(|| ".".to_owned())
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

config! {
    /// One broker group member's keys. Sizes are bytes, times milliseconds, unless the doc says otherwise.
    pub struct BrokerConfig accepts [
        rocketmq_keys::BROKER,
        rocketmq_keys::STORE,
        rocketmq_keys::NETTY_SERVER,
        rocketmq_keys::NETTY_CLIENT,
    ] {
        // Who this is.

        /// Cluster; also the name of a template topic.
        "brokerClusterName" => cluster: String = "DefaultCluster".to_owned(), [restart important];
        /// Broker group; also the name of a template topic. Default: the host name.
        "brokerName" => broker_name: String = host::host_name(), [restart important];
        /// 0 is the master, others are slaves. In Raft mode the role decides it.
        "brokerId" => broker_id: i64 = 0, [restart important] in 0..=i32::MAX as i128;
        /// Name servers, `host:port` separated by `;`. Default: the environment's NAMESRV_ADDR.
        "namesrvAddr" => namesrv_addr: String = std::env::var("NAMESRV_ADDR").unwrap_or_default(),
            [restart important];
        /// Address that clients are told and that stored messages carry. Default: the one of the outward route.
        "brokerIP1" => broker_ip1: String = host::outward_ipv4().to_string(), [restart important];
        /// Address that slaves are told.
        "brokerIP2" => broker_ip2: String = host::outward_ipv4().to_string(), [restart];
        /// TCP port for clients, 1 to 65535; port - 2 serves the same requests.
        "listenPort" => listen_port: u16 = 10911, [restart important] in 1..=65535;
        /// Address to listen at.
        "bindAddress" => bind_address: String = "0.0.0.0".to_owned(), [restart];
        /// Region that messages are marked with.
        "regionId" => region_id: String = "DefaultRegion".to_owned(), [restart];
        /// Role in a classic group.
        "brokerRole" => broker_role: BrokerRole = BrokerRole::AsyncMaster, [restart important];

        // Topics, groups, permissions.

        /// Permission of the whole broker: 2 write, 4 read, 6 both.
        "brokerPermission" => broker_permission: i32 = permission::READ | permission::WRITE, [hot] in 0..=15;
        /// Queues of an automatically created topic.
        "defaultTopicQueueNums" => default_topic_queue_nums: i32 = 8, [restart] in 1..=65535;
        /// Whether sending to an unknown topic creates it.
        "autoCreateTopicEnable" => auto_create_topic: bool = true, [hot important];
        /// Whether an unknown consumer group is created.
        "autoCreateSubscriptionGroup" => auto_create_subscription_group: bool = true, [hot important];
        /// Whether the topic named like the cluster may be used.
        "clusterTopicEnable" => cluster_topic: bool = true, [restart];
        /// Whether the topic named like the broker group may be used.
        "brokerTopicEnable" => broker_topic: bool = true, [restart];
        /// Topic of message traces.
        "msgTraceTopicName" => trace_topic: String = topic::TRACE_TOPIC.to_owned(), [restart important];
        /// Whether the trace topic is created here.
        "traceTopicEnable" => trace_topic_enable: bool = false, [restart important];
        /// Whether clients are told that tracing is on.
        "traceOn" => trace_on: bool = true, [hot];
        /// Whether members of a consumer group are told when it changes.
        "notifyConsumerIdsChangedEnable" => notify_consumer_ids_changed: bool = true, [hot];

        // Requests.

        /// Whether a pull that finds nothing waits on the broker.
        "longPollingEnable" => long_polling: bool = true, [hot];
        /// How long such a pull waits when long polling is off.
        "shortPollingTimeMills" => short_polling_time: Duration = millis(1000), [hot] in 1..=60_000;
        /// Longest that one pull waits, whatever it asks for.
        "pullHoldMaxTimeMillis" => pull_hold_max_time: Duration = millis(30_000), [hot] in 1..=300_000;
        /// Pulls that may wait at the same time; more are answered at once.
        "pullHoldMaxRequests" => pull_hold_max_requests: usize = 100_000, [hot] in 1..=10_000_000;
        /// Bytes that a pull gets at most.
        "maxTransferBytesOnMessageInMemory" => max_transfer_bytes_in_memory: u32 = 256 << 10, [hot important]
            in 1..=i32::MAX as i128;
        /// Messages that a pull gets at most.
        "maxTransferCountOnMessageInMemory" => max_transfer_count_in_memory: u32 = 32, [hot important]
            in 1..=100_000;
        /// The newest part of the log that counts as hot, in percent of the machine's memory.
        "accessMessageInMemoryMaxRatio" => access_message_in_memory_max_ratio: u32 = 40, [hot important] in 1..=95;
        /// Sends are refused before this time, milliseconds since 1970.
        "startAcceptSendRequestTimeStamp" => start_accept_send_timestamp: i64 = 0, [hot]
            in 0..=i64::MAX as i128;
        /// Bytes of messages that may wait to be proposed; more sends are answered with SYSTEM_BUSY.
        "proposerQueueMaxBytes" => proposer_queue_max_bytes: usize = 64 << 20, [restart] in 1..=17_179_869_184;
        /// Bytes at which one proposed batch ends.
        "proposerBatchMaxBytes" => proposer_batch_max_bytes: usize = 1 << 20, [restart] in 1..=67_108_864;
        /// A request that waited longer is not proposed any more.
        "proposerMaxWaitMillis" => proposer_max_wait: Duration = millis(2000), [restart] in 1..=60_000;
        /// Seconds without a byte after which a connection is closed.
        "serverChannelMaxIdleTimeSeconds" => server_max_idle_seconds: u32 = 120, [restart] in 1..=86_400;
        /// Connections that clients may hold together; more are closed at once.
        "serverMaxConnections" => server_max_connections: usize = 20_000, [restart] in 1..=1_000_000;
        /// Bytes of answers that may wait for one slow reader; beyond, its connection is closed.
        "serverMaxOutboundBytes" => server_max_outbound_bytes: usize = 64 << 20, [restart] in 1..=17_179_869_184;
        /// Bytes of requests that have not come whole, over all connections of a port; beyond, the connections that
        /// hold most are closed.
        "serverMaxInboundBytes" => server_max_inbound_bytes: usize = 512 << 20, [restart]
            in 16_777_216..=1_099_511_627_776;

        // Store.

        /// Folder of everything that the broker stores. Default: `$HOME/store`.
        "storePathRootDir" => store_root: String = format!("{}/store", home()), [restart important];
        /// Folder of the commitlog. Empty: `commitlog` in the root folder.
        "storePathCommitLog" => store_commit_log: String = String::new(), [restart important];
        /// Bytes of a commitlog file.
        "mappedFileSizeCommitLog" | "mapedFileSizeCommitLog" => commit_log_file_bytes: u64 = 1 << 30, [restart]
            in 65_536..=i32::MAX as i128;
        /// Bytes of a consume queue file, rounded up to a multiple of 20.
        "mappedFileSizeConsumeQueue" | "mapedFileSizeConsumeQueue" => consume_queue_file_bytes: u64 = 6_000_000,
            [restart] in 20..=i32::MAX as i128;
        /// Bytes of the largest message body.
        "maxMessageSize" => max_message_bytes: usize = 4 << 20, [restart] in 1..=1_073_741_824;
        /// Default: ASYNC_FLUSH in classic mode, SYNC_FLUSH in Raft mode.
        "flushDiskType" => flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, [restart important];
        /// How long a send that was proposed may take; then its outcome is answered as unknown.
        "syncFlushTimeout" => sync_flush_timeout: Duration = millis(5000), [hot] in 1..=600_000;
        /// Pause between flushes of ASYNC_FLUSH.
        "flushIntervalCommitLog" => flush_interval: Duration = millis(500), [restart important] in 1..=600_000;
        /// Pages of 4 KiB that must wait before ASYNC_FLUSH flushes.
        "flushCommitLogLeastPages" => flush_least_pages: u32 = 4, [restart] in 0..=1_000_000;
        /// ASYNC_FLUSH flushes after this time however little waits.
        "flushCommitLogThoroughInterval" => flush_thorough_interval: Duration = millis(10_000), [restart]
            in 1..=3_600_000;
        /// Whether recovery checks the CRC of message bodies.
        "checkCRCOnRecover" => check_crc_on_recover: bool = true, [restart];
        /// Pause between writes of the consumer offsets to their file in classic mode.
        "flushConsumerOffsetInterval" => flush_consumer_offset_interval: Duration = millis(5000), [restart]
            in 100..=600_000;

        // Name servers.

        /// Pause between registrations, clamped to 10,000 to 60,000; 10,000 in Raft mode.
        "registerNameServerPeriod" => register_name_server_period: Duration = millis(30_000), [restart]
            in 1..=3_600_000;
        /// How long a registration may take.
        "registerBrokerTimeoutMills" => register_broker_timeout: Duration = millis(6000), [restart] in 1..=600_000;
        /// Whether every period registers, also when nothing has changed.
        "forceRegister" => force_register: bool = true, [restart];
        /// Whether registrations are compressed.
        "compressedRegister" => compressed_register: bool = false, [restart];

        // Raft.

        /// Whether this group replicates its log by Raft.
        "enableDLegerCommitLog" | "enableDLedgerCommitLog" => raft_enable: bool = false, [restart important];
        /// Raft group. Empty: the broker name.
        "dLegerGroup" | "dLedgerGroup" => raft_group: String = String::new(), [restart important];
        /// Members at the first start: `n0-host:port;n1-host:port;n2-host:port`.
        "dLegerPeers" | "dLedgerPeers" => raft_peers: String = String::new(), [restart important];
        /// Which of the members this is: `n0`.
        "dLegerSelfId" | "dLedgerSelfId" => raft_self_id: String = String::new(), [restart important];
        /// How long a member without a known leader holds a request before it answers SERVICE_NOT_AVAILABLE.
        "raftHoldTimeMillis" => raft_hold_time: Duration = millis(1000), [hot] in 0..=60_000;
        /// Pause between heartbeats of the leader.
        "raftHeartbeatMillis" => raft_heartbeat: Duration = millis(60), [restart] in 5..=10_000;
        /// Shortest silence after which a follower asks for votes.
        "raftElectionMinMillis" => raft_election_min: Duration = millis(180), [restart] in 10..=60_000;
        /// Longest silence after which a follower asks for votes.
        "raftElectionMaxMillis" => raft_election_max: Duration = millis(300), [restart] in 10..=60_000;

        // Metrics.

        /// Whether metrics are served.
        "metricsExporterType" => metrics_exporter: MetricsExporterType = MetricsExporterType::Disable, [restart];
        /// Address of the Prometheus endpoint. Empty: all.
        "metricsPromExporterHost" => metrics_host: String = String::new(), [restart];
        /// Port of the Prometheus endpoint, 1 to 65535.
        "metricsPromExporterPort" => metrics_port: u16 = 5557, [restart] in 1..=65535;
    }
}
