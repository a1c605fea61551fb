use std::path::Path;

use raftmq_config::{ConfigErrors, Loaded};
use raftmq_sys::{Disk, RealDisk};
use tracing::warn;

use super::{BrokerConfig, FlushDiskType};

/// Reads a broker's file on top of the defaults; `file` is its name in messages. Pairs of values are checked by
/// [`BrokerConfig::validate`], after options of the command line have had their say.
pub fn load(file: &str, content: &[u8]) -> Result<Loaded<BrokerConfig>, ConfigErrors> {
    let mut loaded = raftmq_config::parse::<BrokerConfig>(file, content)?;
    let raft = loaded.config.raft_enable;
    // What a Raft group acknowledges survives a power cut unless the file gives that up by name.
    if raft && !loaded.is_given("flushDiskType") {
        loaded.config.flush_disk_type = FlushDiskType::SyncFlush;
    }
    if raft {
        for key in ["brokerRole", "brokerId"] {
            if loaded.is_given(key) {
                loaded.warnings.push(format!("{file}: {key} has no meaning with enableDLegerCommitLog=true"));
            }
        }
    }
    Ok(loaded)
}

/// Reads and checks the file of one member. `namesrv_addr` is the command line's and wins, as RocketMQ's
/// `BrokerStartup` lets it. An error is text for the operator, a line per mistake; warnings are logged.
pub fn load_file(path: &Path, namesrv_addr: Option<&str>) -> Result<BrokerConfig, String> {
    let content = RealDisk::new().read(path).map_err(|error| error.to_string())?;
    let file = path.display().to_string();
    let mut loaded = load(&file, &content).map_err(|errors| errors.to_string())?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Some(addresses) = namesrv_addr {
        loaded.config.namesrv_addr = addresses.to_owned();
    }
    loaded.config.validate().map_err(|error| format!("{file}: {error}"))?;
    Ok(loaded.config)
}

/// The configuration of a broker that was started without a file.
pub fn load_defaults(namesrv_addr: Option<&str>) -> Result<BrokerConfig, String> {
    let mut config = BrokerConfig::default();
    if let Some(addresses) = namesrv_addr {
        config.namesrv_addr = addresses.to_owned();
    }
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_groups_flush_before_they_acknowledge_unless_told_otherwise() {
        let flush = |text: &str| load("b.conf", text.as_bytes()).unwrap().config.flush_disk_type;
        assert_eq!(flush(""), FlushDiskType::AsyncFlush);
        assert_eq!(flush("enableDLegerCommitLog=true"), FlushDiskType::SyncFlush);
        assert_eq!(flush("flushDiskType=ASYNC_FLUSH\nenableDLedgerCommitLog=true"), FlushDiskType::AsyncFlush);
    }

    #[test]
    fn name_servers_of_the_command_line_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.conf");
        RealDisk::new().replace(&path, b"namesrvAddr=a:9876\n").unwrap();
        assert_eq!(load_file(&path, None).unwrap().namesrv_addr, "a:9876");
        assert_eq!(load_file(&path, Some("b:9876")).unwrap().namesrv_addr, "b:9876");
    }

    #[test]
    fn a_role_in_raft_mode_is_noticed() {
        let loaded = load("b.conf", b"enableDLegerCommitLog=true\nbrokerRole=SYNC_MASTER\n").unwrap();
        assert_eq!(loaded.warnings, ["b.conf: brokerRole has no meaning with enableDLegerCommitLog=true"]);
    }

    #[test]
    fn a_mistyped_key_names_file_line_and_the_nearest() {
        let errors = load("b.conf", b"\nbrokerNmae=a\nflushDiskType=SYNC\n").unwrap_err();
        assert_eq!(
            errors.to_string(),
            "b.conf:2:1: unknown key `brokerNmae`, nearest key is `brokerName`\n\
             b.conf:3: flushDiskType: `SYNC` is none of ASYNC_FLUSH, SYNC_FLUSH"
        );
    }
}
