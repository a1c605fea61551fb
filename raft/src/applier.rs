//! openraft's state machine over ours: reads committed entries back from the log and hands them on, once each.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use raftmq_store::{AppliedPoint, ConsumeQueues, Flusher, Frame, FrameId, FrameKind, RaftEntries};
use raftmq_sys::Spawn;
use tokio::sync::oneshot;

use crate::durable::Durable;
use crate::membership;
use crate::metrics::RaftMetrics;
use crate::snapshot::{Snapshot, SnapshotError, SnapshotFile};
use crate::state_machine::{AppliedEntry, StateMachine};
use crate::type_config::{
    Entry, LogId, Membership, Payload, SnapshotMeta, StoredMembership, TypeConfig, frame_id, log_id,
};

/// After so many entries the run is finished and other tasks get a turn.
const RUN_ENTRIES: usize = 64;

type RaftSnapshot = openraft::alias::SnapshotOf<TypeConfig, Bytes>;

pub(crate) struct Applier {
    /// Only to be `Sync`, which openraft demands: never locked.
    machine: Mutex<Box<dyn StateMachine>>,
    store: AppliedStore,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// The parts of the store that the applier tells how far it is.
#[derive(Clone)]
pub(crate) struct AppliedStore {
    pub(crate) entries: Arc<RaftEntries>,
    pub(crate) queues: Arc<ConsumeQueues>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) durable: Arc<Durable>,
    pub(crate) snapshots: SnapshotFile,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) metrics: RaftMetrics,
}

impl Applier {
    /// Brings the tables as far as the newest snapshot if they are empty, and finds where to go on: after the older
    /// of tables and consume queues, never past the recovered log (traps T4, T5).
    pub(crate) fn open(mut machine: Box<dyn StateMachine>, store: AppliedStore) -> Result<Applier, String> {
        let last = store.entries.last();
        let mut tables = machine.applied();
        if tables.is_none()
            && let Some(snapshot) = store.load().map_err(|error| error.to_string())?
        {
            check_not_past(snapshot.last, last, "the snapshot")?;
            machine.install(snapshot.last, &snapshot.tables)?;
            tables = Some(snapshot.last);
        }
        if let Some(tables) = tables {
            check_not_past(tables, last, "the tables")?;
        }
        let queues = store.queues.applied().map(|point| point.id);
        let applied = tables.map(log_id).min(queues.map(log_id));
        let membership = match store.durable.state().membership {
            Some((id, bytes)) => {
                let membership = membership::decode(&bytes).map_err(|error| error.to_string())?;
                StoredMembership::new(Some(log_id(id)), membership)
            }
            None => StoredMembership::default(),
        };
        Ok(Applier { machine: Mutex::new(machine), store, applied, membership })
    }

    fn machine(&mut self) -> &mut Box<dyn StateMachine> {
        self.machine.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply_entry(&mut self, entry: &Entry) -> io::Result<()> {
        match &entry.payload {
            Payload::Frame { frame, membership: None } if frame.header.kind == FrameKind::Data => {
                self.apply_data(&entry.id, frame)?;
            }
            Payload::Frame { membership: Some(membership), .. } | Payload::Membership(membership) => {
                self.apply_membership(&entry.id, membership).await?;
            }
            Payload::Frame { .. } | Payload::Blank => {}
            Payload::Proposal(_) => return Err(io::Error::other("a proposal came back from the log as it went in")),
        }
        assert!(
            self.applied.as_ref().is_none_or(|applied| applied.index < entry.id.index),
            "entry {} is applied after {:?}",
            entry.id,
            self.applied
        );
        self.applied = Some(entry.id);
        Ok(())
    }

    fn apply_data(&mut self, id: &LogId, frame: &Frame) -> io::Result<()> {
        let applied = self.machine().apply(&AppliedEntry { id: frame_id(id), frame });
        applied.map_err(|reason| io::Error::other(format!("apply entry {}: {reason}", id.index)))
    }

    /// The membership is needed at the next open, when the log before the applied point is not scanned.
    async fn apply_membership(&mut self, id: &LogId, membership: &Membership) -> io::Result<()> {
        self.membership = StoredMembership::new(Some(*id), membership.clone());
        let stored = Some((frame_id(id), membership::encode(membership)));
        self.store.durable.update_on(&*self.store.spawn, move |state| state.membership = stored).await
    }

    /// Makes a run visible: first the positions, then whoever waits in the broker, last the proposers.
    fn finish_run(&mut self, responders: &mut Vec<ApplyResponder<TypeConfig>>) {
        if let Some(applied) = &self.applied {
            let id = frame_id(applied);
            if let Some(end) = self.store.entries.end_of(id.index) {
                self.store.queues.set_dispatched(end, Some(AppliedPoint { id, end }));
            }
        }
        self.machine().apply_done();
        for responder in responders.drain(..) {
            responder.send(());
        }
    }

    /// Entries are applied for the consume queues alone, which lack them: the tables are of a later entry than the one
    /// that a snapshot would name.
    fn is_replaying(&mut self) -> bool {
        let tables = self.machine().applied().map(|id| id.index);
        tables > self.applied.as_ref().map(|id| id.index)
    }

    /// The tables as they are now, ready to be written.
    fn builder(&mut self, is_needed: bool) -> Builder {
        let last = self.applied;
        let membership = self.membership.clone();
        let tables = self.machine().snapshot();
        Builder { last, membership, tables: Some(tables), is_needed, store: self.store.clone() }
    }

    /// Writes a snapshot now, for an orderly close.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        if self.applied.is_some() && !self.is_replaying() {
            self.builder(false).build_snapshot().await?;
        }
        Ok(())
    }
}

fn check_not_past(id: FrameId, last: Option<FrameId>, what: &str) -> Result<(), String> {
    match last {
        Some(last) if id.index <= last.index => Ok(()),
        _ => Err(format!("{what} ends at entry {}, past the end of the log ({last:?})", id.index)),
    }
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut responders = Vec::new();
        let mut run = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.apply_entry(&entry).await?;
            responders.extend(responder);
            run += 1;
            if run == RUN_ENTRIES {
                self.finish_run(&mut responders);
                run = 0;
                tokio::task::yield_now().await;
            }
        }
        if run > 0 {
            self.finish_run(&mut responders);
        }
        Ok(())
    }

    /// `force`: entries are purged and only a snapshot can stand in for them.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        (force || !self.is_replaying()).then(|| self.builder(force))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder(true)
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, tables: Bytes) -> io::Result<()> {
        let last = meta.last_log_id.ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
        self.machine().install(frame_id(&last), &tables).map_err(io::Error::other)?;
        self.applied = Some(last);
        self.membership = meta.last_membership.clone();
        let snapshot = stored(&last, &self.membership, tables);
        let membership = snapshot.membership.clone().map(|(id, bytes)| (id, bytes.to_vec()));
        self.store.durable.update_on(&*self.store.spawn, move |state| state.membership = membership).await?;
        self.store.persist().await?;
        self.store.save(snapshot).await
    }

    /// None while it lies ahead of what is applied: after an unclean stop openraft would install it over consume
    /// queues that still lack its entries, instead of applying them.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        let Some(snapshot) = self.store.load().map_err(io::Error::other)? else { return Ok(None) };
        let last = log_id(snapshot.last);
        if self.applied.as_ref() < Some(&last) {
            return Ok(None);
        }
        let last_membership = match snapshot.membership {
            Some((id, bytes)) => {
                let membership = membership::decode(&bytes).map_err(io::Error::other)?;
                StoredMembership::new(Some(log_id(id)), membership)
            }
            None => StoredMembership::default(),
        };
        let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
        Ok(Some(RaftSnapshot { meta, snapshot: snapshot.tables }))
    }
}

fn stored(last: &LogId, membership: &StoredMembership, tables: Bytes) -> Snapshot {
    Snapshot {
        last: frame_id(last),
        membership: membership
            .log_id()
            .as_ref()
            .map(|id| (frame_id(id), Bytes::from(membership::encode(membership.membership())))),
        tables,
    }
}

impl AppliedStore {
    /// The newest snapshot. A damaged one counts as none while the log still holds every entry: it only saves the time
    /// to apply them.
    fn load(&self) -> Result<Option<Snapshot>, SnapshotError> {
        match self.snapshots.load() {
            Err(error @ SnapshotError::Damaged { .. }) if self.log_is_complete() => {
                tracing::warn!(%error, "the snapshot is not used, the log holds all that it did");
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Whether the log begins with the first entry ever, and nothing of it is purged.
    fn log_is_complete(&self) -> bool {
        self.durable.purged().is_none() && self.entries.first_index().is_none_or(|first| first == 0)
    }

    /// Makes durable what a snapshot is going to cover: one that is ahead of log or queues could not be used.
    async fn persist(&self) -> io::Result<()> {
        let (done, flushed) = oneshot::channel();
        self.flusher.barrier(Box::new(move |result| {
            // Nobody waits any more only when the group stops.
            let _ = done.send(result);
        }));
        flushed.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let queues = Arc::clone(&self.queues);
        self.blocking(move || queues.persist()).await
    }

    async fn save(&self, snapshot: Snapshot) -> io::Result<()> {
        let files = self.snapshots.clone();
        self.blocking(move || files.save(&snapshot)).await
    }

    async fn blocking(&self, job: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        self.spawn.blocking(
            "raft-snapshot",
            Box::new(move || {
                // As above.
                let _ = done.send(job());
            }),
        );
        result.await.map_err(io::Error::other)?
    }
}

/// A view of the tables that becomes the snapshot.
pub(crate) struct Builder {
    last: Option<LogId>,
    membership: StoredMembership,
    tables: Option<Result<Vec<u8>, String>>,
    /// Whether it is an error if the snapshot cannot be written.
    is_needed: bool,
    store: AppliedStore,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let tables = self.tables.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        let tables = Bytes::from(tables.map_err(io::Error::other)?);
        let mut meta = SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() };
        // A snapshot of nothing is worth nothing at the next open.
        if let Some(last) = &self.last {
            let saved = match self.store.persist().await {
                Ok(()) => self.store.save(stored(last, &self.membership, tables.clone())).await,
                // Anything else has poisoned the log.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(error),
                Err(error) => return Err(error),
            };
            match saved {
                Ok(()) => {}
                Err(error) if self.is_needed => return Err(error),
                Err(error) => {
                    // The file before it stays, and the log holds the rest: the next start takes longer, no more. To
                    // openraft it is a snapshot of nothing, which moves no mark of what could be purged.
                    tracing::warn!(%error, "no new snapshot: the old one stays");
                    self.store.metrics.snapshots_failed.add(1);
                    meta = SnapshotMeta::default();
                }
            }
        }
        Ok(RaftSnapshot { meta, snapshot: tables })
    }
}
