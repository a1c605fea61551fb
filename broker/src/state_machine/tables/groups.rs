use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use prost::Message;
use raftmq_model::route::DataVersion;
use raftmq_model::subscription::SubscriptionGroupConfig;

use super::{Changes, LoadError, TableEntry, TableId, VERSION_KEY, name_key, read, split_name_key, write};
use crate::state_machine::wire::{DataVersionRecord, GroupRecord};

const CONFIG: u8 = b'c';

/// The subscription groups of one broker group.
#[doc(alias = "SubscriptionGroupManager")]
#[derive(Default)]
pub struct GroupTable {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<Arc<str>, Arc<SubscriptionGroupConfig>>,
    version: DataVersion,
}

impl State {
    fn changed(&mut self, at_unix_ms: i64, changes: &mut Changes) {
        self.version.counter += 1;
        self.version.timestamp = at_unix_ms;
        changes.add(TableId::Groups, VERSION_KEY.to_vec());
    }
}

impl GroupTable {
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        read(&self.state).groups.get(group).cloned()
    }

    pub fn contains(&self, group: &str) -> bool {
        read(&self.state).groups.contains_key(group)
    }

    /// Counts changes; the time is that of the last one.
    pub fn data_version(&self) -> DataVersion {
        read(&self.state).version
    }

    /// All groups by name, and the version that goes with them.
    pub fn all(&self) -> (DataVersion, Vec<Arc<SubscriptionGroupConfig>>) {
        let state = read(&self.state);
        (state.version, state.groups.values().cloned().collect())
    }

    pub(super) fn put(
        &self,
        config: &SubscriptionGroupConfig,
        only_if_absent: bool,
        at_unix_ms: i64,
        changes: &mut Changes,
    ) {
        let mut state = write(&self.state);
        if only_if_absent && state.groups.contains_key(config.group_name.as_str()) {
            return;
        }
        changes.add(TableId::Groups, name_key(CONFIG, &config.group_name));
        state.groups.insert(config.group_name.as_str().into(), Arc::new(config.clone()));
        state.changed(at_unix_ms, changes);
    }

    pub(super) fn delete(&self, group: &str, at_unix_ms: i64, changes: &mut Changes) {
        let mut state = write(&self.state);
        if state.groups.remove(group).is_some() {
            changes.add(TableId::Groups, name_key(CONFIG, group));
            state.changed(at_unix_ms, changes);
        }
    }

    /// Replaces all groups: what classic mode reads from subscriptionGroup.json at start.
    pub(crate) fn replace(&self, version: DataVersion, configs: impl IntoIterator<Item = SubscriptionGroupConfig>) {
        let mut state = write(&self.state);
        state.groups =
            configs.into_iter().map(|config| (config.group_name.as_str().into(), Arc::new(config))).collect();
        state.version = version;
    }

    pub(super) fn entries(&self) -> Vec<TableEntry> {
        let state = read(&self.state);
        let configs = state.groups.iter().map(|(name, config)| (name_key(CONFIG, name), config_value(config)));
        let version = (VERSION_KEY.to_vec(), DataVersionRecord::from(state.version).encode_to_vec());
        configs.chain([version]).collect()
    }

    pub(super) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let state = read(&self.state);
        if key == VERSION_KEY {
            return Some(DataVersionRecord::from(state.version).encode_to_vec());
        }
        match split_name_key(key)? {
            (CONFIG, name) => state.groups.get(name).map(|config| config_value(config)),
            _ => None,
        }
    }

    pub(super) fn load(&self, entries: &[TableEntry]) -> Result<(), LoadError> {
        let mut loaded = State::default();
        for entry in entries {
            loaded.load(entry).ok_or_else(|| LoadError::new(TableId::Groups, entry))?;
        }
        *write(&self.state) = loaded;
        Ok(())
    }
}

impl State {
    fn load(&mut self, (key, value): &TableEntry) -> Option<()> {
        if key == VERSION_KEY {
            self.version = DataVersionRecord::decode(value.as_slice()).ok()?.into();
            return Some(());
        }
        let (CONFIG, name) = split_name_key(key)? else { return None };
        let config = GroupRecord::decode(value.as_slice()).ok()?.into();
        self.groups.insert(name.into(), Arc::new(config));
        Some(())
    }
}

fn config_value(config: &SubscriptionGroupConfig) -> Vec<u8> {
    GroupRecord::from(config).encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_go_and_load_back() {
        let (table, mut changes) = (GroupTable::default(), Changes::default());
        let mut config = SubscriptionGroupConfig::new("cg");
        config.retry_max_times = 3;
        table.put(&config, true, 10, &mut changes);
        table.put(&SubscriptionGroupConfig::new("cg"), true, 20, &mut changes);
        assert_eq!(table.get("cg").unwrap().retry_max_times, 3);
        table.put(&SubscriptionGroupConfig::new("other"), false, 30, &mut changes);
        table.delete("other", 40, &mut changes);
        table.delete("never", 50, &mut changes);
        assert_eq!(table.data_version(), DataVersion { counter: 3, state_version: 0, timestamp: 40 });
        let copy = GroupTable::default();
        copy.load(&table.entries()).unwrap();
        assert_eq!(copy.entries(), table.entries());
        assert_eq!(*copy.get("cg").unwrap(), config);
        assert!(copy.load(&[(b"x".to_vec(), Vec::new())]).is_err());
    }
}
