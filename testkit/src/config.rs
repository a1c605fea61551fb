//! The config files that the processes under test start from.

use std::path::Path;

/// Lines of `broker.conf`, in order; a later line of the same key replaces the earlier one.
#[derive(Clone, Debug, Default)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    pub fn set(&mut self, key: &str, value: impl ToString) -> &mut Properties {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.to_owned(), value.to_string()));
        self
    }

    /// Takes over every line of `other`.
    pub fn extend(&mut self, other: &Properties) {
        for (key, value) in &other.0 {
            self.set(key, value);
        }
    }

    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text: String = self.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        std::fs::write(path, text)
    }
}

/// What each broker of a test has in common, ours or Java's.
pub fn broker(name_server: &str, port: u16, store: &Path) -> Properties {
    let mut properties = Properties::default();
    properties
        .set("brokerClusterName", "DefaultCluster")
        .set("brokerName", "broker-a")
        .set("brokerIP1", "127.0.0.1")
        .set("listenPort", port)
        .set("namesrvAddr", name_server)
        .set("storePathRootDir", store.display())
        .set("storePathCommitLog", store.join("commitlog").display())
        .set("autoCreateTopicEnable", "true");
    properties
}

/// A classic broker that is its own master.
pub fn single(name_server: &str, port: u16, store: &Path) -> Properties {
    let mut properties = broker(name_server, port, store);
    properties.set("brokerId", 0).set("brokerRole", "ASYNC_MASTER");
    properties
}

/// Member `slot` of a Raft group; `raft_ports` has one port per member.
pub fn member(name_server: &str, port: u16, store: &Path, slot: usize, raft_ports: &[u16]) -> Properties {
    let peers: Vec<String> =
        raft_ports.iter().enumerate().map(|(slot, port)| format!("n{slot}-127.0.0.1:{port}")).collect();
    let mut properties = broker(name_server, port, store);
    properties
        .set("enableDLegerCommitLog", "true")
        .set("dLegerGroup", "broker-a")
        .set("dLegerPeers", peers.join(";"))
        .set("dLegerSelfId", format!("n{slot}"));
    properties
}

/// A name server that keeps its files in `directory`.
pub fn name_server(port: u16, directory: &Path) -> Properties {
    let mut properties = Properties::default();
    properties
        .set("listenPort", port)
        .set("kvConfigPath", directory.join("kvConfig.json").display())
        .set("configStorePath", directory.join("namesrv.properties").display());
    properties
}
