use std::collections::BTreeMap;
use std::sync::RwLock;

use prost::Message;
use raftmq_model::offset::QueueOffset;

use super::{Changes, LoadError, TableEntry, TableId, read, write};
use crate::state_machine::command::OffsetCommit;
use crate::state_machine::wire::{QueueOffsetRecord, QueueOffsetsRecord};

/// Offsets by queue id.
pub type QueueOffsets = BTreeMap<i32, QueueOffset>;

/// The next message that each group wants of each queue.
#[doc(alias = "ConsumerOffsetManager")]
#[derive(Default)]
pub struct ConsumerOffsetTable {
    groups: RwLock<Groups>,
}

type Groups = BTreeMap<String, BTreeMap<String, QueueOffsets>>;

impl ConsumerOffsetTable {
    /// `None` if the group never committed an offset of that queue.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<QueueOffset> {
        read(&self.groups).get(group)?.get(topic)?.get(&queue_id).copied()
    }

    /// Topics of which a group has committed offsets.
    pub fn topics_of(&self, group: &str) -> Vec<String> {
        read(&self.groups).get(group).map(|topics| topics.keys().cloned().collect()).unwrap_or_default()
    }

    /// Calls `each` with group, topic and offsets, ordered by group and topic.
    pub fn for_each(&self, mut each: impl FnMut(&str, &str, &QueueOffsets)) {
        for (group, topics) in read(&self.groups).iter() {
            for (topic, offsets) in topics {
                each(group, topic, offsets);
            }
        }
    }

    pub(super) fn commit(&self, commits: &[OffsetCommit], changes: &mut Changes) {
        let mut groups = write(&self.groups);
        for commit in commits {
            let topics = match groups.get_mut(&commit.group) {
                Some(topics) => topics,
                None => groups.entry(commit.group.clone()).or_default(),
            };
            let offsets = match topics.get_mut(&commit.topic) {
                Some(offsets) => offsets,
                None => topics.entry(commit.topic.clone()).or_default(),
            };
            if offsets.insert(commit.queue_id, commit.offset) != Some(commit.offset) {
                changes.add(TableId::ConsumerOffsets, key(&commit.group, &commit.topic));
            }
        }
    }

    pub(super) fn remove_group(&self, group: &str, changes: &mut Changes) {
        for topic in write(&self.groups).remove(group).into_iter().flat_map(BTreeMap::into_keys) {
            changes.add(TableId::ConsumerOffsets, key(group, &topic));
        }
    }

    pub(super) fn remove_topic(&self, topic: &str, changes: &mut Changes) {
        write(&self.groups).retain(|group, topics| {
            if topics.remove(topic).is_some() {
                changes.add(TableId::ConsumerOffsets, key(group, topic));
            }
            !topics.is_empty()
        });
    }

    /// Replaces all offsets: what classic mode reads from consumerOffset.json at start.
    pub(crate) fn replace(&self, entries: impl IntoIterator<Item = (String, String, QueueOffsets)>) {
        let mut groups = Groups::new();
        for (group, topic, offsets) in entries {
            groups.entry(group).or_default().insert(topic, offsets);
        }
        *write(&self.groups) = groups;
    }

    pub(super) fn entries(&self) -> Vec<TableEntry> {
        let mut entries = Vec::new();
        self.for_each(|group, topic, offsets| entries.push((key(group, topic), value(offsets))));
        entries.sort();
        entries
    }

    pub(super) fn value(&self, stored_key: &[u8]) -> Option<Vec<u8>> {
        let (group, topic) = split_key(stored_key)?;
        read(&self.groups).get(group)?.get(topic).map(value)
    }

    pub(super) fn load(&self, entries: &[TableEntry]) -> Result<(), LoadError> {
        let mut loaded = Groups::new();
        for entry in entries {
            let error = || LoadError::new(TableId::ConsumerOffsets, entry);
            let (group, topic) = split_key(&entry.0).ok_or_else(error)?;
            let record = QueueOffsetsRecord::decode(entry.1.as_slice()).map_err(|_| error())?;
            let offsets = record.queues.iter().map(|queue| (queue.queue_id, QueueOffset(queue.offset)));
            loaded.entry(group.to_owned()).or_default().insert(topic.to_owned(), offsets.collect());
        }
        *write(&self.groups) = loaded;
        Ok(())
    }
}

/// Group and topic with the group's length before them: neither is checked for separators when it is committed.
fn key(group: &str, topic: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + group.len() + topic.len());
    key.extend_from_slice(&(group.len() as u32).to_be_bytes());
    key.extend_from_slice(group.as_bytes());
    key.extend_from_slice(topic.as_bytes());
    key
}

fn split_key(key: &[u8]) -> Option<(&str, &str)> {
    let (length, names) = key.split_first_chunk::<4>()?;
    let (group, topic) = names.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((std::str::from_utf8(group).ok()?, std::str::from_utf8(topic).ok()?))
}

fn value(offsets: &QueueOffsets) -> Vec<u8> {
    let queues = offsets.iter().map(|(queue_id, offset)| QueueOffsetRecord { queue_id: *queue_id, offset: offset.0 });
    QueueOffsetsRecord { queues: queues.collect() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(group: &str, topic: &str, queue_id: i32, offset: u64) -> OffsetCommit {
        OffsetCommit { group: group.to_owned(), topic: topic.to_owned(), queue_id, offset: QueueOffset(offset) }
    }

    #[test]
    fn the_last_commit_wins_even_backwards() {
        let (table, mut changes) = (ConsumerOffsetTable::default(), Changes::default());
        table.commit(&[commit("g", "T", 0, 5), commit("g", "T", 0, 3)], &mut changes);
        assert_eq!(table.get("g", "T", 0), Some(QueueOffset(3)));
        assert_eq!(table.get("g", "T", 1), None);
        let mut none = Changes::default();
        table.commit(&[commit("g", "T", 0, 3)], &mut none);
        assert!(none.is_empty(), "an unchanged offset is not written again");
    }

    #[test]
    fn groups_and_topics_are_removed_whole() {
        let (table, mut changes) = (ConsumerOffsetTable::default(), Changes::default());
        table.commit(&[commit("g", "T", 0, 5), commit("g", "U", 0, 6), commit("h", "T", 0, 7)], &mut changes);
        table.remove_topic("T", &mut changes);
        assert_eq!(table.topics_of("g"), ["U"]);
        assert_eq!(table.get("h", "T", 0), None);
        table.remove_group("g", &mut changes);
        assert!(table.entries().is_empty());
    }

    #[test]
    fn names_with_separators_load_back() {
        let (table, mut changes) = (ConsumerOffsetTable::default(), Changes::default());
        table.commit(&[commit("a@b", "", 0, 5), commit("", "a@b", 70_000, u64::MAX)], &mut changes);
        let copy = ConsumerOffsetTable::default();
        copy.load(&table.entries()).unwrap();
        assert_eq!(copy.get("", "a@b", 70_000), Some(QueueOffset(u64::MAX)));
        assert_eq!(copy.entries(), table.entries());
        assert!(copy.load(&[(b"\0\0\0\x09ab".to_vec(), Vec::new())]).is_err());
    }
}
