//! openraft's log storage over the commitlog: the Raft log is the commitlog.
//!
//! Invariants that openraft cannot check and data depends on:
//! - an entry can be read when `append` returns, and its callback runs when it is durable (SYNC_FLUSH), in order;
//! - when `save_vote` returns, every append before it is durable: openraft takes the later of the two as proof of
//!   the earlier (trap T1);
//! - offsets are assigned here, under the leader's term, and nowhere else.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use raftmq_store::{AppendEntry, AppendError, Appended, Flusher, RaftEntries, RaftWriter};
use raftmq_sys::{Spawn, in_place};
use tokio::sync::oneshot;

use crate::durable::{Durable, stored_vote};
use crate::log_reader::LogReader;
use crate::membership;
use crate::type_config::{Entry, Leader, LogId, Payload, TypeConfig, Vote, frame_id, log_id};

/// Shared with whoever closes the store at the end.
pub(crate) type SharedWriter = Arc<Mutex<Option<RaftWriter>>>;

pub(crate) struct LogStorage {
    writer: SharedWriter,
    reader: LogReader,
    flusher: Arc<Flusher>,
    spawn: Arc<dyn Spawn>,
    /// In memory only: after a restart openraft learns it again from the group.
    committed: Option<LogId>,
    /// The leadership for which the writer's table of next queue offsets is right.
    numbered_for: Option<Leader>,
}

impl LogStorage {
    pub(crate) fn new(
        writer: SharedWriter,
        entries: Arc<RaftEntries>,
        flusher: Arc<Flusher>,
        durable: Arc<Durable>,
        spawn: Arc<dyn Spawn>,
    ) -> LogStorage {
        let reader = LogReader { entries, durable };
        LogStorage { writer, reader, flusher, spawn, committed: None, numbered_for: None }
    }

    /// Returns when everything appended before is durable.
    async fn barrier(&self) -> io::Result<()> {
        let (done, flushed) = oneshot::channel();
        self.flusher.barrier(Box::new(move |result| {
            // Nobody waits any more only when the group stops.
            let _ = done.send(result);
        }));
        match flushed.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(io::Error::other("the flusher stopped")),
        }
    }

    /// Appends one entry to the writer's buffer.
    fn buffer(&mut self, writer: &mut RaftWriter, entry: Entry) -> Result<(), AppendError> {
        let id = frame_id(&entry.id);
        let mut appended: Vec<Appended> = Vec::new();
        match entry.payload {
            Payload::Blank => writer.append(AppendEntry::Blank(id), &mut appended),
            Payload::Membership(membership) => {
                let bytes = membership::encode(&membership);
                writer.append(AppendEntry::Membership(id, &bytes), &mut appended)
            }
            Payload::Frame { frame, .. } => writer.append(AppendEntry::Frame(&frame.bytes), &mut appended),
            Payload::Proposal(mut proposed) => {
                // The group takes proposals only after the first entry of its term is applied: the consume queues
                // are complete by now, and the next offsets come from them.
                if self.numbered_for != Some(entry.id.leader_id) {
                    writer.reset_queue_offsets();
                    self.numbered_for = Some(entry.id.leader_id);
                }
                writer.append(AppendEntry::Proposal(id, &mut proposed.records), &mut appended)?;
                proposed.assign(appended);
                Ok(())
            }
        }
    }

    fn with_writer<T>(
        &mut self,
        work: impl FnOnce(&mut LogStorage, &mut RaftWriter) -> Result<T, AppendError>,
    ) -> io::Result<T> {
        let shared = Arc::clone(&self.writer);
        let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = guard.as_mut().ok_or_else(|| io::Error::other("the store is closed"))?;
        work(self, writer).map_err(io::Error::other)
    }
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let purged = self.reader.durable.purged().map(log_id);
        let last = self.reader.entries.last().map(log_id);
        Ok(LogState { last_log_id: last.max(purged), last_purged_log_id: purged })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.barrier().await?;
        let vote = stored_vote(vote);
        self.reader.durable.update_on(&*self.spawn, move |state| state.vote = Some(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let end = self.with_writer(|storage, writer| {
            for entry in entries {
                storage.buffer(writer, entry)?;
            }
            writer.write()
        })?;
        self.flusher.flush_to(end, Box::new(move |result| callback.io_completed(result.map_err(io::Error::other))));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.barrier().await?;
        let first = self.reader.entries.first_index();
        let last_kept = last.map(|id| id.index).filter(|index| first.is_some_and(|first| *index >= first));
        // It syncs several files; heartbeats run on the same threads.
        in_place(|| self.with_writer(|_, writer| writer.truncate_after(last_kept)))
    }

    /// Moves the logical begin of the log; only retention unlinks segments.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let purged = frame_id(&upto);
        self.reader.durable.update_on(&*self.spawn, move |state| state.purged = Some(purged)).await
    }
}
