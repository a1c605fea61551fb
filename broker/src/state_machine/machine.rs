use std::sync::Arc;

use raftmq_model::message_codec::StoredMessage;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_store::{AppliedPoint, ConsumeQueues, DispatchError, FrameId, LogRecord, RecordError, records};
use raftmq_sys::in_place;

use super::command::{Command, DecodeError, OffsetCommit};
use super::snapshot::{self, SnapshotError};
use super::table_store::{TableBatch, TableStore};
use super::tables::{Changes, TableId, Tables};
use crate::pull_hold::Arrival;

/// Entries without a command after which the table store hears of the applied index anyway, so that a restart does
/// not read the log from the last command on.
const ENTRIES_PER_APPLIED: u64 = 4096;

/// Who wants to know what apply has made readable.
pub trait ApplySink: Send + 'static {
    /// Whether somebody waits for messages. Asked after each message became readable; who begins to wait later sees
    /// it for himself.
    fn has_waiters(&self) -> bool;
    /// Once after each run of entries, in log order.
    fn arrived(&mut self, arrivals: &[Arrival]);
    /// These topics were created, changed or deleted.
    fn topics_changed(&mut self, topics: &[Arc<str>]);
    /// These offsets are in the tables now.
    fn offsets_committed(&mut self, _commits: &[OffsetCommit]) {}
}

/// Why this replica cannot go on: it would differ from the others.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("command at physical offset {at}")]
    Command { at: PhysicalOffset, source: DecodeError },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("consume queues of the deleted topic {topic}")]
    DeleteTopic { topic: String, source: std::io::Error },
    #[error("entry body at physical offset {body}")]
    Record { body: PhysicalOffset, source: RecordError },
    #[error("message at physical offset {at} says that it lies at {says}")]
    Misplaced { at: PhysicalOffset, says: PhysicalOffset },
    #[error("dispatch of the message at physical offset {at}")]
    Dispatch { at: PhysicalOffset, source: DispatchError },
}

/// Applies the log of one broker group to its consume queues and tables. One owner; everybody else reads.
pub struct Machine {
    tables: Tables,
    queues: Arc<ConsumeQueues>,
    sink: Box<dyn ApplySink>,
    /// `None` in classic mode, whose tables are kept as RocketMQ's JSON files.
    store: Option<Box<dyn TableStore>>,
    changes: Changes,
    /// The last entry that the tables hold; commands up to it are skipped when the log is replayed.
    tables_applied: Option<FrameId>,
    /// The last entry that the consume queues held at open; messages up to it are skipped, and so
    /// are deletions of queues.
    queues_applied: Option<FrameId>,
    /// The last entry that the table store was told.
    stored: Option<FrameId>,
    arrivals: Vec<Arrival>,
    changed_topics: Vec<Arc<str>>,
}

impl Machine {
    /// A machine that starts from what `store` has kept, if anything.
    ///
    /// An entry of the store that does not decode counts as an empty store: it is a cache.
    pub fn open(
        tables: Tables,
        queues: Arc<ConsumeQueues>,
        sink: Box<dyn ApplySink>,
        mut store: Box<dyn TableStore>,
    ) -> Machine {
        let mut tables_applied = None;
        if let Some(loaded) = store.load() {
            let load = |table| tables.load(table, loaded.entries.get(&table).map_or(&[][..], Vec::as_slice));
            match TableId::ALL.into_iter().try_for_each(load) {
                Ok(()) => tables_applied = Some(loaded.applied),
                Err(error) => {
                    tracing::warn!(%error, "the table store is not usable, tables are rebuilt from the log");
                    clear(&tables);
                }
            }
        }
        let mut machine = Machine::without_store(tables, queues, sink);
        machine.begin_queues();
        machine.store = Some(store);
        machine.tables_applied = tables_applied;
        machine.stored = tables_applied;
        machine
    }

    /// Classic mode: the tables were filled from JSON files, and whoever owns the machine writes them there.
    pub fn without_store(tables: Tables, queues: Arc<ConsumeQueues>, sink: Box<dyn ApplySink>) -> Machine {
        let queues_applied = queues.applied().map(|point| point.id);
        Machine {
            tables,
            queues,
            sink,
            store: None,
            changes: Changes::default(),
            tables_applied: None,
            queues_applied,
            stored: None,
            arrivals: Vec::new(),
            changed_topics: Vec::new(),
        }
    }

    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The last entry that the tables hold; `None` if they are to be built from the first entry or a snapshot.
    pub fn applied(&self) -> Option<FrameId> {
        self.tables_applied
    }

    /// Applies the records of one entry, or of one classic append: messages to the consume queues, commands to the
    /// tables. `body_offset` is where `body` lies in the commitlog; `id` is `None` in classic mode.
    ///
    /// After an error the entry is applied in part and the replica must stop; nothing of that entry reaches the table
    /// store.
    pub fn apply(&mut self, id: Option<FrameId>, body_offset: PhysicalOffset, body: &[u8]) -> Result<(), ApplyError> {
        let applied = self.apply_records(id, body_offset, body);
        if applied.is_err() {
            self.store = None;
            return applied;
        }
        let end = body_offset.after(body.len() as u64);
        self.queues.set_dispatched(end, id.map(|id| AppliedPoint { id, end }));
        if let Some(id) = id
            && !is_at_or_before(id, self.tables_applied)
        {
            self.tables_applied = Some(id);
        }
        Ok(())
    }

    fn apply_records(
        &mut self,
        id: Option<FrameId>,
        body_offset: PhysicalOffset,
        body: &[u8],
    ) -> Result<(), ApplyError> {
        let in_queues = id.is_some_and(|id| is_at_or_before(id, self.queues_applied));
        for record in records(body) {
            let (relative, record) = record.map_err(|source| ApplyError::Record { body: body_offset, source })?;
            let at = body_offset.after(u64::from(relative));
            match record {
                // Entered before this start; or its topic was deleted since, and it must not come back.
                LogRecord::Message(message) if in_queues => check_place(at, &message)?,
                LogRecord::Message(message) => self.apply_message(at, &message)?,
                LogRecord::Command(record) => {
                    let command = Command::decode(&record).map_err(|source| ApplyError::Command { at, source })?;
                    self.apply_command(id, &command)?;
                }
            }
        }
        Ok(())
    }

    fn apply_message(&mut self, at: PhysicalOffset, message: &StoredMessage<'_>) -> Result<(), ApplyError> {
        check_place(at, message)?;
        let is_new = self.queues.dispatch(message).map_err(|source| ApplyError::Dispatch { at, source })?;
        if is_new && self.sink.has_waiters() {
            let topic = match self.tables.topics.get(message.topic) {
                Some(topic) => topic.name.clone(),
                None => message.topic.into(),
            };
            self.arrivals.push(Arrival {
                topic,
                queue_id: message.queue_id,
                queue_offset: message.queue_offset,
                tags_code: message.tags_code(),
            });
        }
        Ok(())
    }

    /// Applies a command of the entry `id`; `None` in classic mode, where commands never enter the commitlog.
    pub fn apply_command(&mut self, id: Option<FrameId>, command: &Command) -> Result<(), ApplyError> {
        if let Command::DeleteTopic { topic, ends, .. } = command {
            if !id.is_some_and(|id| is_at_or_before(id, self.queues_applied)) {
                let failed = |source| ApplyError::DeleteTopic { topic: topic.clone(), source };
                // It removes files, and may wait for a sync of the queues; heartbeats run on the same threads.
                in_place(|| self.queues.delete_topic(topic)).map_err(failed)?;
            }
            // That a queue goes on here is known by memory only; one that went on already stays as it is.
            for (queue_id, end) in ends {
                self.queues.begin_at(topic, *queue_id, *end);
            }
        }
        if id.is_some_and(|id| is_at_or_before(id, self.tables_applied)) {
            return Ok(());
        }
        self.tables.apply(command, &mut self.changes);
        match command {
            Command::PutTopic { config, .. } => self.changed_topics.push(config.topic_name.as_str().into()),
            Command::DeleteTopic { topic, .. } => self.changed_topics.push(topic.as_str().into()),
            Command::CommitOffsets { commits } => self.sink.offsets_committed(commits),
            Command::PutGroup { .. } | Command::DeleteGroup { .. } => {}
        }
        Ok(())
    }

    /// Applies one whole command record, as a proposal carries it.
    pub fn apply_command_record(&mut self, record: &[u8]) -> Result<(), ApplyError> {
        self.apply_command(None, &Command::from_record(record)?)
    }

    /// After each run of entries: tells the sink, and the table store what has changed.
    pub fn apply_done(&mut self) {
        if !self.arrivals.is_empty() {
            self.sink.arrived(&self.arrivals);
            self.arrivals.clear();
        }
        if !self.changed_topics.is_empty() {
            self.sink.topics_changed(&self.changed_topics);
            self.changed_topics.clear();
        }
        let behind = match (self.tables_applied, self.stored) {
            (Some(applied), Some(stored)) => applied.index.saturating_sub(stored.index) >= ENTRIES_PER_APPLIED,
            (applied, _) => applied.is_some(),
        };
        if self.store.is_some() && (!self.changes.is_empty() || behind) {
            self.store_changes();
        }
    }

    /// What commands have changed since the last call; how classic mode knows which JSON files to write.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// All tables as bytes; equal on every replica that has applied the same entries.
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&self.tables)
    }

    /// Replaces the tables by those of a snapshot that holds every entry up to `applied`. Does nothing if the tables
    /// are further on: at start openraft hands us our own snapshot again.
    pub fn install(&mut self, applied: FrameId, snapshot: &[u8]) -> Result<(), SnapshotError> {
        if is_at_or_before(applied, self.tables_applied) {
            return Ok(());
        }
        snapshot::install(&self.tables, snapshot)?;
        self.begin_queues();
        self.changes = Changes::default();
        self.tables_applied = Some(applied);
        self.stored = Some(applied);
        if let Some(store) = &mut self.store {
            let mut changes = std::collections::BTreeMap::new();
            for table in TableId::ALL {
                let entries = self.tables.entries(table).into_iter();
                changes.extend(entries.map(|(key, value)| ((table, key), Some(value))));
            }
            store.write(TableBatch { replaces_all: true, changes, applied });
        }
        let topics = self.tables.topics.all().1.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
        self.sink.topics_changed(&topics);
        Ok(())
    }

    /// Stores what is not stored yet and closes the table store.
    pub fn close(&mut self) {
        if self.store.is_some() && self.tables_applied != self.stored {
            self.store_changes();
        }
        if let Some(mut store) = self.store.take() {
            store.close();
        }
    }

    /// Lets queues of deleted topics that are not there go on where they ended.
    fn begin_queues(&self) {
        self.tables.topics.for_each_first_offset(|topic, queue_id, first| self.queues.begin_at(topic, queue_id, first));
    }

    fn store_changes(&mut self) {
        let (Some(store), Some(applied)) = (&mut self.store, self.tables_applied) else { return };
        let changes = std::mem::take(&mut self.changes);
        let changes = changes.iter().map(|(table, key)| ((table, key.to_vec()), self.tables.value(table, key)));
        store.write(TableBatch { replaces_all: false, changes: changes.collect(), applied });
        self.stored = Some(applied);
    }
}

/// Shutdown drops the machine; a table store that is not closed counts as unclean.
impl Drop for Machine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where the queues of a topic end now: what a command that deletes it carries.
pub fn queue_ends(queues: &ConsumeQueues, topic: &str) -> Vec<(i32, QueueOffset)> {
    let ids = queues.topics().into_iter().find(|(name, _)| **name == *topic).map(|(_, ids)| ids).unwrap_or_default();
    let end = |queue_id| Some((queue_id, queues.queue(topic, queue_id)?.max_offset()));
    ids.into_iter().filter_map(end).collect()
}

fn check_place(at: PhysicalOffset, message: &StoredMessage<'_>) -> Result<(), ApplyError> {
    match message.physical_offset == at {
        true => Ok(()),
        false => Err(ApplyError::Misplaced { at, says: message.physical_offset }),
    }
}

fn clear(tables: &Tables) {
    for table in TableId::ALL {
        // No entries, so nothing that could fail to decode.
        let _ = tables.load(table, &[]);
    }
}

fn is_at_or_before(id: FrameId, mark: Option<FrameId>) -> bool {
    mark.is_some_and(|mark| id.index <= mark.index)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
