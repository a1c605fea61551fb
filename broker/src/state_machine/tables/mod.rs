//! The tables that commands change. Apply is the one writer; readers share each table by `Arc`.

pub(super) mod consumer_offsets;
mod groups;
mod topics;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use consumer_offsets::ConsumerOffsetTable;
pub use groups::GroupTable;
pub use topics::{Topic, TopicTable};

use super::command::Command;

/// Names a table in the table store and in snapshots. Numbers are for ever (docs/commands.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableId {
    Topics = 1,
    Groups = 2,
    ConsumerOffsets = 3,
    QueueLocks = 4,
    DelayProgress = 5,
    Transactions = 6,
    Pop = 7,
}

impl TableId {
    /// All tables, those still empty too, by number.
    pub const ALL: [TableId; 7] = [
        TableId::Topics,
        TableId::Groups,
        TableId::ConsumerOffsets,
        TableId::QueueLocks,
        TableId::DelayProgress,
        TableId::Transactions,
        TableId::Pop,
    ];

    pub fn number(self) -> u16 {
        self as u16
    }

    pub fn from_number(number: u16) -> Option<TableId> {
        TableId::ALL.into_iter().find(|table| table.number() == number)
    }
}

/// A stored entry of a table: key and value, both opaque outside it.
pub type TableEntry = (Vec<u8>, Vec<u8>);

/// A stored entry that does not make sense.
#[derive(Debug, thiserror::Error)]
#[error("entry of {key_bytes} key bytes and {value_bytes} value bytes in table {table:?} does not decode")]
pub struct LoadError {
    pub table: TableId,
    pub key_bytes: usize,
    pub value_bytes: usize,
}

impl LoadError {
    fn new(table: TableId, (key, value): &TableEntry) -> LoadError {
        LoadError { table, key_bytes: key.len(), value_bytes: value.len() }
    }
}

/// Which stored entries commands have changed since somebody last asked.
#[derive(Clone, Debug, Default)]
pub struct Changes(BTreeSet<(TableId, Vec<u8>)>);

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn touches(&self, table: TableId) -> bool {
        self.0.iter().any(|(touched, _)| *touched == table)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TableId, &[u8])> {
        self.0.iter().map(|(table, key)| (*table, key.as_slice()))
    }

    fn add(&mut self, table: TableId, key: Vec<u8>) {
        self.0.insert((table, key));
    }
}

/// All tables of one broker group.
#[derive(Clone, Default)]
pub struct Tables {
    pub topics: Arc<TopicTable>,
    pub groups: Arc<GroupTable>,
    pub consumer_offsets: Arc<ConsumerOffsetTable>,
}

impl Tables {
    /// Applies one command. It cannot fail: what a command asks for was checked before it was proposed, and what
    /// does not fit any more by now changes nothing.
    pub(crate) fn apply(&self, command: &Command, changes: &mut Changes) {
        match command {
            Command::PutTopic { config, from_auto_create, at_unix_ms } => {
                self.topics.put(config, *from_auto_create, *at_unix_ms, changes);
            }
            Command::DeleteTopic { topic, ends, at_unix_ms } => {
                self.topics.delete(topic, ends, *at_unix_ms, changes);
                self.consumer_offsets.remove_topic(topic, changes);
            }
            Command::PutGroup { config, from_auto_create, at_unix_ms } => {
                self.groups.put(config, *from_auto_create, *at_unix_ms, changes);
            }
            Command::DeleteGroup { group, remove_offsets, at_unix_ms } => {
                self.groups.delete(group, *at_unix_ms, changes);
                if *remove_offsets {
                    self.consumer_offsets.remove_group(group, changes);
                }
            }
            Command::CommitOffsets { commits } => self.consumer_offsets.commit(commits, changes),
        }
    }

    /// The stored form of a table, ordered by key.
    pub(super) fn entries(&self, table: TableId) -> Vec<TableEntry> {
        match table {
            TableId::Topics => self.topics.entries(),
            TableId::Groups => self.groups.entries(),
            TableId::ConsumerOffsets => self.consumer_offsets.entries(),
            TableId::QueueLocks | TableId::DelayProgress | TableId::Transactions | TableId::Pop => Vec::new(),
        }
    }

    /// The stored value under a key; `None` if it is gone.
    pub(super) fn value(&self, table: TableId, key: &[u8]) -> Option<Vec<u8>> {
        match table {
            TableId::Topics => self.topics.value(key),
            TableId::Groups => self.groups.value(key),
            TableId::ConsumerOffsets => self.consumer_offsets.value(key),
            TableId::QueueLocks | TableId::DelayProgress | TableId::Transactions | TableId::Pop => None,
        }
    }

    /// Replaces a table by its stored form; on an error it stays as it was.
    pub(super) fn load(&self, table: TableId, entries: &[TableEntry]) -> Result<(), LoadError> {
        match table {
            TableId::Topics => self.topics.load(entries),
            TableId::Groups => self.groups.load(entries),
            TableId::ConsumerOffsets => self.consumer_offsets.load(entries),
            TableId::QueueLocks | TableId::DelayProgress | TableId::Transactions | TableId::Pop => {
                entries.first().map_or(Ok(()), |entry| Err(LoadError::new(table, entry)))
            }
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Key of the entry that holds a table's data version.
const VERSION_KEY: &[u8] = b"v";

/// Key of an entry about one name.
fn name_key(kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key
}

/// Reads a key made by [`name_key`].
fn split_name_key(key: &[u8]) -> Option<(u8, &str)> {
    let (kind, name) = key.split_first()?;
    Some((*kind, std::str::from_utf8(name).ok()?))
}
