//! What follows from the keys: addresses, folders, peers.

use std::path::PathBuf;
use std::time::Duration;

use super::BrokerConfig;

/// One member named in `dLegerPeers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftPeer {
    /// `n2` is slot 2.
    pub slot: u16,
    /// `host:port` of its Raft listener.
    pub address: String,
}

impl BrokerConfig {
    /// The address that clients are told, `host:port`.
    pub fn broker_address(&self) -> String {
        format!("{}:{}", self.broker_ip1, self.listen_port)
    }

    /// The address that slaves are told: RocketMQ's HA port is the listen port plus one.
    pub fn ha_address(&self) -> String {
        format!("{}:{}", self.broker_ip2, u32::from(self.listen_port) + 1)
    }

    /// The name servers, each `host:port`.
    pub fn name_servers(&self) -> Vec<String> {
        let addresses = self.namesrv_addr.split([';', ',']).map(str::trim);
        addresses.filter(|address| !address.is_empty()).map(str::to_owned).collect()
    }

    /// Folder of the commitlog.
    pub fn commit_log_dir(&self) -> PathBuf {
        if self.store_commit_log.is_empty() {
            PathBuf::from(&self.store_root).join("commitlog")
        } else {
            PathBuf::from(&self.store_commit_log)
        }
    }

    /// Bytes of a consume queue file: whole units of 20.
    pub fn queue_file_bytes(&self) -> u64 {
        self.consume_queue_file_bytes.next_multiple_of(20)
    }

    /// Pause between registrations. A Raft group registers often, so that a name server that came back knows its
    /// leader soon.
    pub fn register_period(&self) -> Duration {
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(60));
        if self.raft_enable { least } else { self.register_name_server_period.clamp(least, most) }
    }

    /// The Raft group's name.
    pub fn raft_group_name(&self) -> &str {
        if self.raft_group.is_empty() { &self.broker_name } else { &self.raft_group }
    }

    /// The members of `dLegerPeers`, in the order of the file; the error names the malformed part.
    pub fn raft_peers(&self) -> Result<Vec<RaftPeer>, String> {
        let parts = self.raft_peers.split(';').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| peer(part).ok_or_else(|| format!("`{part}` is not like n0-host:port"))).collect()
    }

    /// The slot that `dLegerSelfId` names.
    pub fn raft_self_slot(&self) -> Result<u16, String> {
        slot(&self.raft_self_id).ok_or_else(|| format!("`{}` is not like n0", self.raft_self_id))
    }
}

fn peer(part: &str) -> Option<RaftPeer> {
    let (id, address) = part.split_once('-')?;
    is_address(address).then_some(())?;
    Some(RaftPeer { slot: slot(id)?, address: address.to_owned() })
}

fn slot(id: &str) -> Option<u16> {
    let digits = id.strip_prefix('n')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    digits.parse().ok()
}

/// Whether a text is `host:port` with a port from 1 to 65535.
pub(super) fn is_address(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => {
            !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_slots_and_addresses() {
        let mut config = BrokerConfig {
            raft_peers: "n0-127.0.0.1:40911;n1-host-b:40912; n10-[::1]:40913;".to_owned(),
            raft_self_id: "n10".to_owned(),
            ..BrokerConfig::default()
        };
        let peer = |slot, address: &str| RaftPeer { slot, address: address.to_owned() };
        assert_eq!(
            config.raft_peers(),
            Ok(vec![peer(0, "127.0.0.1:40911"), peer(1, "host-b:40912"), peer(10, "[::1]:40913")])
        );
        assert_eq!(config.raft_self_slot(), Ok(10));
        config.raft_peers = "n0-a:1;m1-b:2".to_owned();
        assert_eq!(config.raft_peers(), Err("`m1-b:2` is not like n0-host:port".to_owned()));
        config.raft_self_id = "1".to_owned();
        assert_eq!(config.raft_self_slot(), Err("`1` is not like n0".to_owned()));
    }

    #[test]
    fn the_commit_log_lies_in_the_root_unless_named() {
        let mut config = BrokerConfig { store_root: "/data/a".to_owned(), ..BrokerConfig::default() };
        assert_eq!(config.commit_log_dir(), PathBuf::from("/data/a/commitlog"));
        config.store_commit_log = "/log".to_owned();
        assert_eq!(config.commit_log_dir(), PathBuf::from("/log"));
    }

    #[test]
    fn the_register_period_is_clamped() {
        let mut config = BrokerConfig { register_name_server_period: Duration::from_secs(1), ..Default::default() };
        assert_eq!(config.register_period(), Duration::from_secs(10));
        config.register_name_server_period = Duration::from_secs(100);
        assert_eq!(config.register_period(), Duration::from_secs(60));
        config.raft_enable = true;
        assert_eq!(config.register_period(), Duration::from_secs(10));
    }
}
