use std::time::Duration;

use raftmq_config::{config, rocketmq_keys};

fn in_home(path: &str) -> String {
    let home = std::env::var("HOME").ok().filter(|home| !home.is_empty());
    format!("{}/{path}", home.as_deref().unwrap_or("."))
}

config! {
    /// A name server's keys.
    pub struct NamesrvConfig accepts [
        rocketmq_keys::NAMESRV,
        rocketmq_keys::NETTY_SERVER,
        rocketmq_keys::NETTY_CLIENT,
    ] {
        /// TCP port for brokers and clients, 1 to 65535.
        "listenPort" => listen_port: u16 = 9876, [restart important] in 1..=65535;
        /// Address to listen at.
        "bindAddress" => bind_address: String = "0.0.0.0".to_owned(), [restart important];
        /// File of the key-value settings. Default: `$HOME/namesrv/kvConfig.json`.
        "kvConfigPath" => kv_config_path: String = in_home("namesrv/kvConfig.json"), [restart important];
        /// File that changes of this configuration are written to: the one given with `-c`, else
        /// `$HOME/namesrv/namesrv.properties`.
        "configStorePath" => config_store_path: String = in_home("namesrv/namesrv.properties"), [restart important];
        /// Keys that a running name server refuses to change, separated by `;`.
        "configBlackList" => config_black_list: String = "configBlackList;configStorePath;kvConfigPath".to_owned(),
            [restart];
        /// Whether routes tell the order of queues over all brokers (KV namespace ORDER_TOPIC_CONFIG).
        "orderMessageEnable" => order_message: bool = false, [hot];
        /// Whether brokers are told that order when they register.
        "returnOrderTopicConfigToBroker" => return_order_topic_config: bool = true, [hot];
        /// Milliseconds between looks for brokers that have become silent.
        "scanNotActiveBrokerInterval" => scan_interval: Duration = Duration::from_secs(5), [restart]
            in 10..=600_000;
        /// Seconds without a byte after which a connection is closed.
        "serverChannelMaxIdleTimeSeconds" => max_idle_seconds: u32 = 120, [restart] in 1..=86_400;
        /// Connections that brokers and clients may hold together; more are closed at once.
        "serverMaxConnections" => max_connections: usize = 20_000, [restart] in 1..=1_000_000;
        /// Bytes of answers that may wait for one slow reader; beyond, its connection is closed.
        "serverMaxOutboundBytes" => max_outbound_bytes: usize = 16 << 20, [restart] in 1..=17_179_869_184;
        /// Bytes of requests that have not come whole, over all connections; beyond, the connections that hold most
        /// are closed.
        "serverMaxInboundBytes" => max_inbound_bytes: usize = 512 << 20, [restart]
            in 16_777_216..=1_099_511_627_776;
    }
}

impl NamesrvConfig {
    /// Whether a running name server refuses to change this key.
    pub fn is_black_listed(&self, key: &str) -> bool {
        key == "rocketmqHome" || self.config_black_list.split(';').any(|listed| listed.trim() == key)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use raftmq_sys::{Disk, RealDisk};

    use super::*;

    #[test]
    fn the_file_that_users_start_from_parses_and_names_only_keys_that_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/namesrv.conf");
        let content = RealDisk::new().read(&path).unwrap();
        let loaded = raftmq_config::parse::<NamesrvConfig>("namesrv.conf", &content).unwrap();
        assert_eq!(loaded.warnings, [""; 0]);
        assert_eq!(loaded.config, NamesrvConfig::default());
    }

    #[test]
    fn the_black_list_names_keys() {
        let config = NamesrvConfig::default();
        assert!(config.is_black_listed("kvConfigPath") && config.is_black_listed("rocketmqHome"));
        assert!(!config.is_black_listed("orderMessageEnable"));
    }
}
