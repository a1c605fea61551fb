//! The files in `conf/` that users start from, read as a broker reads them.

use std::path::Path;

use raftmq_sys::{Disk, RealDisk};

use super::{BrokerRole, InvalidConfig, load};

#[test]
fn every_file_parses_and_names_only_keys_that_are_read() {
    let disk = RealDisk::new();
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let mut checked = 0;
    for folder in [".", "2m-2s-sync", "2m-2s-async", "2m-noslave", "dledger"] {
        for entry in disk.list(&conf.join(folder)).unwrap() {
            if entry.is_dir || entry.name == "namesrv.conf" {
                continue;
            }
            let file = format!("{folder}/{}", entry.name);
            let content = disk.read(&conf.join(&file)).unwrap();
            let loaded = load(&file, &content).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(loaded.warnings, [""; 0]);
            let expected = match loaded.config.broker_role {
                BrokerRole::AsyncMaster => Ok(()),
                role => Err(InvalidConfig::NoReplication { role: role.name() }),
            };
            assert_eq!(loaded.config.validate(), expected, "{file}");
            if folder == "dledger" {
                loaded.config.to_raft_config().unwrap().validate().unwrap();
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 15);
}
