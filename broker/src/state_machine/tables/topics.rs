use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, RwLock};

use prost::Message;
use raftmq_model::offset::QueueOffset;
use raftmq_model::route::DataVersion;
use raftmq_model::topic::TopicConfig;

use super::{Changes, LoadError, TableEntry, TableId, VERSION_KEY, name_key, read, split_name_key, write};
use crate::state_machine::wire::{DataVersionRecord, QueueOffsetRecord, QueueOffsetsRecord, TopicRecord};

const CONFIG: u8 = b'c';
const ENDS: u8 = b'e';

/// A topic and its shared name.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    pub config: TopicConfig,
}

impl Deref for Topic {
    type Target = TopicConfig;

    fn deref(&self) -> &TopicConfig {
        &self.config
    }
}

/// The topics of one broker group.
#[doc(alias = "TopicConfigManager")]
#[derive(Default)]
pub struct TopicTable {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    /// Where the queues of deleted topics ended; kept after re-creation, so that a rebuild knows it too.
    ends: BTreeMap<Arc<str>, BTreeMap<i32, QueueOffset>>,
    version: DataVersion,
}

impl State {
    fn changed(&mut self, at_unix_ms: i64, changes: &mut Changes) {
        self.version.counter += 1;
        self.version.timestamp = at_unix_ms;
        changes.add(TableId::Topics, VERSION_KEY.to_vec());
    }
}

impl TopicTable {
    /// Allocates nothing: it is on the send path.
    pub fn get(&self, topic: &str) -> Option<Arc<Topic>> {
        read(&self.state).topics.get(topic).cloned()
    }

    pub fn contains(&self, topic: &str) -> bool {
        read(&self.state).topics.contains_key(topic)
    }

    pub fn len(&self) -> usize {
        read(&self.state).topics.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts changes; the time is that of the last one.
    pub fn data_version(&self) -> DataVersion {
        read(&self.state).version
    }

    /// All topics by name, and the version that goes with them.
    pub fn all(&self) -> (DataVersion, Vec<Arc<Topic>>) {
        let state = read(&self.state);
        (state.version, state.topics.values().cloned().collect())
    }

    /// The first offset that a queue may use: where an earlier topic of the same name ended, else 0.
    pub fn first_offset(&self, topic: &str, queue_id: i32) -> QueueOffset {
        let state = read(&self.state);
        state.ends.get(topic).and_then(|ends| ends.get(&queue_id)).copied().unwrap_or_default()
    }

    /// Calls `each` with topic, queue id and offset for all that [`TopicTable::first_offset`] knows.
    pub(crate) fn for_each_first_offset(&self, mut each: impl FnMut(&str, i32, QueueOffset)) {
        for (topic, ends) in &read(&self.state).ends {
            for (queue_id, end) in ends {
                each(topic, *queue_id, *end);
            }
        }
    }

    pub(super) fn put(&self, config: &TopicConfig, only_if_absent: bool, at_unix_ms: i64, changes: &mut Changes) {
        let mut state = write(&self.state);
        let name: Arc<str> = match state.topics.get(config.topic_name.as_str()) {
            Some(_) if only_if_absent => return,
            Some(topic) => topic.name.clone(),
            None => config.topic_name.as_str().into(),
        };
        changes.add(TableId::Topics, name_key(CONFIG, &name));
        let topic = Arc::new(Topic { name: name.clone(), config: config.clone() });
        state.topics.insert(name, topic);
        state.changed(at_unix_ms, changes);
    }

    pub(super) fn delete(&self, topic: &str, ends: &[(i32, QueueOffset)], at_unix_ms: i64, changes: &mut Changes) {
        let mut state = write(&self.state);
        let Some(removed) = state.topics.remove(topic) else { return };
        changes.add(TableId::Topics, name_key(CONFIG, topic));
        if !ends.is_empty() {
            let kept = state.ends.entry(removed.name.clone()).or_default();
            for (queue_id, end) in ends {
                let known = kept.entry(*queue_id).or_default();
                *known = (*known).max(*end);
            }
            changes.add(TableId::Topics, name_key(ENDS, topic));
        }
        state.changed(at_unix_ms, changes);
    }

    /// Replaces all topics: what classic mode reads from topics.json at start.
    pub(crate) fn replace(&self, version: DataVersion, configs: impl IntoIterator<Item = TopicConfig>) {
        let mut state = write(&self.state);
        state.topics = configs
            .into_iter()
            .map(|config| {
                let name: Arc<str> = config.topic_name.as_str().into();
                (name.clone(), Arc::new(Topic { name, config }))
            })
            .collect();
        state.version = version;
    }

    pub(super) fn entries(&self) -> Vec<TableEntry> {
        let state = read(&self.state);
        let configs = state.topics.iter().map(|(name, topic)| (name_key(CONFIG, name), config_value(topic)));
        let ends = state.ends.iter().map(|(name, ends)| (name_key(ENDS, name), ends_value(ends)));
        let version = (VERSION_KEY.to_vec(), DataVersionRecord::from(state.version).encode_to_vec());
        configs.chain(ends).chain([version]).collect()
    }

    pub(super) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let state = read(&self.state);
        if key == VERSION_KEY {
            return Some(DataVersionRecord::from(state.version).encode_to_vec());
        }
        match split_name_key(key)? {
            (CONFIG, name) => state.topics.get(name).map(|topic| config_value(topic)),
            (ENDS, name) => state.ends.get(name).map(ends_value),
            _ => None,
        }
    }

    pub(super) fn load(&self, entries: &[TableEntry]) -> Result<(), LoadError> {
        let mut loaded = State::default();
        for entry in entries {
            loaded.load(entry).ok_or_else(|| LoadError::new(TableId::Topics, entry))?;
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
        let (kind, name) = split_name_key(key)?;
        let name: Arc<str> = name.into();
        match kind {
            CONFIG => {
                let config = TopicRecord::decode(value.as_slice()).ok()?.into();
                self.topics.insert(name.clone(), Arc::new(Topic { name, config }));
            }
            ENDS => {
                let ends = QueueOffsetsRecord::decode(value.as_slice()).ok()?;
                let ends = ends.queues.iter().map(|end| (end.queue_id, QueueOffset(end.offset)));
                self.ends.insert(name, ends.collect());
            }
            _ => return None,
        }
        Some(())
    }
}

fn config_value(topic: &Topic) -> Vec<u8> {
    TopicRecord::from(&topic.config).encode_to_vec()
}

fn ends_value(ends: &BTreeMap<i32, QueueOffset>) -> Vec<u8> {
    let queues = ends.iter().map(|(queue_id, end)| QueueOffsetRecord { queue_id: *queue_id, offset: end.0 });
    QueueOffsetsRecord { queues: queues.collect() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_creation_never_replaces() {
        let (table, mut changes) = (TopicTable::default(), Changes::default());
        table.put(&TopicConfig::new("T", 4, 6), false, 10, &mut changes);
        table.put(&TopicConfig::new("T", 8, 6), true, 20, &mut changes);
        assert_eq!(table.get("T").unwrap().read_queue_nums, 4);
        assert_eq!(table.data_version(), DataVersion { counter: 1, state_version: 0, timestamp: 10 });
        table.put(&TopicConfig::new("T", 8, 6), false, 30, &mut changes);
        assert_eq!(table.get("T").unwrap().read_queue_nums, 8);
        assert_eq!(table.data_version(), DataVersion { counter: 2, state_version: 0, timestamp: 30 });
    }

    #[test]
    fn a_deleted_topic_leaves_its_ends_behind() {
        let (table, mut changes) = (TopicTable::default(), Changes::default());
        table.put(&TopicConfig::new("T", 2, 6), false, 10, &mut changes);
        table.delete("T", &[(0, QueueOffset(7)), (1, QueueOffset(9))], 20, &mut changes);
        assert!(table.get("T").is_none());
        table.put(&TopicConfig::new("T", 2, 6), false, 30, &mut changes);
        assert_eq!(table.first_offset("T", 1), QueueOffset(9));
        table.delete("T", &[(0, QueueOffset(8))], 40, &mut changes);
        let mut ends = Vec::new();
        table.for_each_first_offset(|topic, queue_id, end| ends.push((topic.to_owned(), queue_id, end.0)));
        assert_eq!(ends, [("T".to_owned(), 0, 8), ("T".to_owned(), 1, 9)]);
        table.delete("missing", &[(0, QueueOffset(1))], 50, &mut changes);
        assert_eq!(table.first_offset("missing", 0), QueueOffset(0));
        assert_eq!(table.data_version().counter, 4);
    }

    #[test]
    fn entries_load_back() {
        let (table, mut changes) = (TopicTable::default(), Changes::default());
        table.put(&TopicConfig::new("T", 2, 6), false, 10, &mut changes);
        table.put(&TopicConfig::new("U", 2, 6), false, 11, &mut changes);
        table.delete("U", &[(0, QueueOffset(7))], 20, &mut changes);
        let copy = TopicTable::default();
        copy.load(&table.entries()).unwrap();
        assert_eq!(copy.entries(), table.entries());
        assert_eq!(copy.first_offset("U", 0), QueueOffset(7));
        for (key, value) in table.entries() {
            assert_eq!(copy.value(&key), Some(value));
        }
        assert_eq!(copy.value(&name_key(CONFIG, "U")), None);
        assert!(copy.load(&[(b"c\xff".to_vec(), Vec::new())]).is_err());
        assert_eq!(copy.len(), 1);
    }
}
