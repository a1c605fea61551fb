use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use raftmq_store::FrameId;

use super::tables::{TableEntry, TableId};

/// Keeps the tables between runs, so that a start need not apply the log since the last snapshot. Disposable: who
/// finds nothing rebuilds from snapshot and log.
///
/// What breaks if an implementation cheats: entries stored without the `applied` that goes with them make commands
/// apply twice or never, and replicas differ.
pub trait TableStore: Send + 'static {
    /// Everything that was stored, or `None` if nothing usable is there. Called once, first.
    fn load(&mut self) -> Option<Loaded>;
    /// Stores a batch, whole or not at all, after those before it. It may be later: a crash may lose the last ones.
    fn write(&mut self, batch: TableBatch);
    /// Returns when everything is stored.
    fn close(&mut self);
}

/// What a [`TableStore`] had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub entries: BTreeMap<TableId, Vec<TableEntry>>,
    /// The last entry of the log that `entries` contain.
    pub applied: FrameId,
}

/// Changes of stored entries up to and with `applied`.
#[derive(Clone, Debug)]
pub struct TableBatch {
    /// Everything stored before is dropped first: a snapshot was installed.
    pub replaces_all: bool,
    /// `None` removes the entry.
    pub changes: BTreeMap<(TableId, Vec<u8>), Option<Vec<u8>>>,
    pub applied: FrameId,
}

impl TableBatch {
    /// Makes one batch of two.
    pub(super) fn followed_by(mut self, next: TableBatch) -> TableBatch {
        if next.replaces_all {
            return next;
        }
        self.changes.extend(next.changes);
        TableBatch { applied: next.applied, ..self }
    }
}

/// A store that is lost with the process: for the simulator, where sled's own threads and files have no place, and
/// for tests. Clones share what they hold.
#[derive(Clone, Default)]
pub struct MemoryTableStore {
    held: Arc<Mutex<Option<Held>>>,
}

struct Held {
    entries: BTreeMap<(TableId, Vec<u8>), Vec<u8>>,
    applied: FrameId,
}

impl TableStore for MemoryTableStore {
    fn load(&mut self) -> Option<Loaded> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_ref()?;
        let mut entries: BTreeMap<TableId, Vec<TableEntry>> = BTreeMap::new();
        for ((table, key), value) in &held.entries {
            entries.entry(*table).or_default().push((key.clone(), value.clone()));
        }
        Some(Loaded { entries, applied: held.applied })
    }

    fn write(&mut self, batch: TableBatch) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_with(|| Held { entries: BTreeMap::new(), applied: batch.applied });
        if batch.replaces_all {
            held.entries.clear();
        }
        for (key, value) in batch.changes {
            match value {
                Some(value) => held.entries.insert(key, value),
                None => held.entries.remove(&key),
            };
        }
        held.applied = batch.applied;
    }

    fn close(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(index: u64, changes: &[(&str, Option<&str>)]) -> TableBatch {
        let changes = changes.iter().map(|(key, value)| {
            ((TableId::Topics, key.as_bytes().to_vec()), value.map(|value| value.as_bytes().to_vec()))
        });
        let applied = FrameId { term: 1, leader: 0, index };
        TableBatch { replaces_all: false, changes: changes.collect(), applied }
    }

    #[test]
    fn merged_batches_say_the_same_as_single_ones() {
        let first = batch(1, &[("a", Some("1")), ("b", Some("1"))]);
        let second = batch(2, &[("a", None), ("c", Some("2"))]);
        let third = TableBatch { replaces_all: true, ..batch(3, &[("d", Some("3"))]) };
        let (mut single, mut merged) = (MemoryTableStore::default(), MemoryTableStore::default());
        single.write(first.clone());
        single.write(second.clone());
        merged.write(first.followed_by(second.clone()));
        assert_eq!(single.load(), merged.load());
        single.write(third.clone());
        merged.write(second.followed_by(third));
        assert_eq!(single.load(), merged.load());
        assert_eq!(single.load().unwrap().applied.index, 3);
    }
}
