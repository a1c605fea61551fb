//! Tables in sled, written behind by a worker.
//!
//! sled 0.34 makes nothing durable against power loss (its `flush` is `sync_file_range` on Linux), and damaged files
//! may panic. So a small marker file beside it says whether it may be believed; if not, it is thrown away.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use raftmq_store::FrameId;
use raftmq_sys::disk::Disk;
use raftmq_sys::{Open, Seams, Worker};

use super::table_store::{Loaded, TableBatch, TableStore};
use super::tables::{TableEntry, TableId};

const CACHE_BYTES: u64 = 8 << 20;
/// Table number 0 is no table's.
const APPLIED_KEY: &[u8] = b"\0\0applied";
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
const BOOT_ID_BYTES: usize = 36;

/// What the marker file says about the sled files beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Marker {
    /// Closed in order.
    Clean,
    /// In use, or left by a process that was killed while the kernel of this boot id ran on: what it wrote is there.
    Running(String),
    /// Being opened, or opening has killed the process.
    Opening,
    /// A write has failed.
    Broken,
}

impl Marker {
    fn read(disk: &dyn Disk, path: &Path) -> Option<Marker> {
        let text = disk.read(path).ok()?;
        match std::str::from_utf8(&text).ok()?.trim_end().split_once(' ') {
            Some(("running", boot_id)) => Some(Marker::Running(boot_id.to_owned())),
            Some(_) => None,
            None => match std::str::from_utf8(&text).ok()?.trim_end() {
                "clean" => Some(Marker::Clean),
                "opening" => Some(Marker::Opening),
                "broken" => Some(Marker::Broken),
                _ => None,
            },
        }
    }

    fn write(&self, disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
        let text = match self {
            Marker::Clean => "clean\n".to_owned(),
            Marker::Running(boot_id) => format!("running {boot_id}\n"),
            Marker::Opening => "opening\n".to_owned(),
            Marker::Broken => "broken\n".to_owned(),
        };
        disk.replace(path, text.as_bytes())
    }

    /// Whether the files hold everything that was written, as far as the marker can tell.
    fn is_believable(&self, boot_id: Option<&str>) -> bool {
        match self {
            Marker::Clean => true,
            Marker::Running(of) => boot_id == Some(of),
            Marker::Opening | Marker::Broken => false,
        }
    }
}

/// The id that the kernel made at boot; `None` where there is none, and every unclean stop counts as a power cut.
fn boot_id(disk: &dyn Disk) -> Option<String> {
    let mut id = [0; BOOT_ID_BYTES];
    disk.open(Path::new(BOOT_ID_PATH), Open::Read).ok()?.read_at(&mut id, 0).ok()?;
    std::str::from_utf8(&id).ok().map(str::to_owned)
}

/// Why there is no sled at all; the broker can go on without it and rebuild at the next start.
#[derive(Debug, thiserror::Error)]
pub enum SledStoreError {
    #[error("table store in {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("sled in {path}: {reason}")]
    Sled { path: PathBuf, reason: String },
}

/// [`TableStore`] over sled.
pub struct SledTableStore {
    loaded: Option<Loaded>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    /// Everything not yet given to sled, as one batch: its size is bounded by that of the tables.
    waiting: Option<TableBatch>,
    closing: bool,
    finished: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl SledTableStore {
    /// Opens or makes the store in `folder` and starts its worker. `is_in_log` says whether the recovered log holds
    /// an entry: a store that is ahead of the log comes from another past and is thrown away.
    pub fn open(
        folder: &Path,
        seams: &Seams,
        is_in_log: impl Fn(FrameId) -> bool,
    ) -> Result<SledTableStore, SledStoreError> {
        let disk = &*seams.disk;
        let failed = |source| SledStoreError::Io { path: folder.to_owned(), source };
        disk.create_dir_all(folder).map_err(failed)?;
        let (marker_path, files) = (folder.join("marker"), folder.join("sled"));
        let boot_id = boot_id(disk);
        let believable =
            Marker::read(disk, &marker_path).is_some_and(|marker| marker.is_believable(boot_id.as_deref()));
        Marker::Opening.write(disk, &marker_path).map_err(failed)?;
        let mut opened = None;
        if believable && disk.exists(&files) {
            match open_and_load(&files) {
                Ok((db, loaded)) if loaded.as_ref().is_none_or(|loaded| is_in_log(loaded.applied)) => {
                    opened = Some((db, loaded));
                }
                Ok(_) => tracing::warn!(path = %files.display(), "the table store is ahead of the log"),
                Err(error) => tracing::warn!(%error, "the table store does not open"),
            }
        }
        let (db, loaded) = match opened {
            Some(opened) => opened,
            None => {
                if disk.exists(&files) {
                    tracing::warn!(path = %files.display(), "table store thrown away, tables are rebuilt from the log");
                    disk.remove_dir_all(&files).map_err(failed)?;
                }
                (open_and_load(&files)?.0, None)
            }
        };
        let running = Marker::Running(boot_id.unwrap_or_else(|| "unknown".to_owned()));
        running.write(disk, &marker_path).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let writer =
            Writer { shared: shared.clone(), db: Some(db), disk: seams.disk.clone(), marker_path, broken: false };
        seams.spawn.worker("tables", Box::new(writer)).map_err(failed)?;
        Ok(SledTableStore { loaded, shared })
    }
}

impl TableStore for SledTableStore {
    fn load(&mut self) -> Option<Loaded> {
        self.loaded.take()
    }

    fn write(&mut self, batch: TableBatch) {
        self.shared.change(|state| {
            state.waiting = Some(match state.waiting.take() {
                Some(waiting) => waiting.followed_by(batch),
                None => batch,
            });
        });
    }

    fn close(&mut self) {
        self.shared.change(|state| state.closing = true);
        let mut state = self.shared.lock();
        while !state.finished {
            state = self.shared.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A store that is dropped without [`TableStore::close`] stays marked as running, but its worker ends.
impl Drop for SledTableStore {
    fn drop(&mut self) {
        self.shared.change(|state| state.finished = true);
    }
}

/// Opens sled and reads all of it, turning its panics over damaged files into errors (where panics unwind; where
/// they abort, the marker "opening" tells the next start).
fn open_and_load(files: &Path) -> Result<(sled::Db, Option<Loaded>), SledStoreError> {
    let error = |reason: String| SledStoreError::Sled { path: files.to_owned(), reason };
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let db = sled::Config::new().path(files).cache_capacity(CACHE_BYTES).open()?;
        let loaded = load(&db)?;
        Ok::<_, sled::Error>((db, loaded))
    }));
    match attempt {
        Ok(Ok((db, Ok(loaded)))) => Ok((db, loaded)),
        Ok(Ok((_, Err(reason)))) => Err(error(reason.to_owned())),
        Ok(Err(source)) => Err(error(source.to_string())),
        Err(_) => Err(error("opening it panicked".to_owned())),
    }
}

/// The outer error is sled's, the inner one says what does not fit.
fn load(db: &sled::Db) -> sled::Result<Result<Option<Loaded>, &'static str>> {
    let Some(applied) = db.get(APPLIED_KEY)? else {
        return Ok(if db.is_empty() { Ok(None) } else { Err("entries without an applied index") });
    };
    let Some(applied) = decode_applied(&applied) else { return Ok(Err("the applied index does not decode")) };
    let mut entries: BTreeMap<TableId, Vec<TableEntry>> = BTreeMap::new();
    for entry in db.iter() {
        let (key, value) = entry?;
        if *key == *APPLIED_KEY {
            continue;
        }
        let Some((number, key)) = key.split_first_chunk::<2>() else { return Ok(Err("a key without a table")) };
        let Some(table) = TableId::from_number(u16::from_be_bytes(*number)) else {
            return Ok(Err("a table that this release does not know"));
        };
        entries.entry(table).or_default().push((key.to_vec(), value.to_vec()));
    }
    Ok(Ok(Some(Loaded { entries, applied })))
}

fn stored_key(table: TableId, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(2 + key.len());
    stored.extend_from_slice(&table.number().to_be_bytes());
    stored.extend_from_slice(key);
    stored
}

fn encode_applied(id: FrameId) -> Vec<u8> {
    [id.term, id.leader, id.index].into_iter().flat_map(u64::to_be_bytes).collect()
}

fn decode_applied(bytes: &[u8]) -> Option<FrameId> {
    let (term, rest) = bytes.split_first_chunk::<8>()?;
    let (leader, rest) = rest.split_first_chunk::<8>()?;
    let index: [u8; 8] = rest.try_into().ok()?;
    Some(FrameId {
        term: u64::from_be_bytes(*term),
        leader: u64::from_be_bytes(*leader),
        index: u64::from_be_bytes(index),
    })
}

/// The one who writes to sled.
struct Writer {
    shared: Arc<Shared>,
    /// `None` after closing.
    db: Option<sled::Db>,
    disk: Arc<dyn Disk>,
    marker_path: PathBuf,
    /// After a failed write nothing more is written: later batches would lie on a gap.
    broken: bool,
}

impl Worker for Writer {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.lock();
        if state.waiting.is_some() || (state.closing && !state.finished) {
            return Poll::Ready(true);
        }
        if state.finished {
            return Poll::Ready(false);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn work(&mut self) {
        let waiting = self.shared.lock().waiting.take();
        if let Some(batch) = waiting {
            if let Err(error) = self.write(batch) {
                tracing::error!(%error, "the table store failed; tables are rebuilt from the log at the next start");
                self.broken = true;
                self.mark(&Marker::Broken);
            }
            return;
        }
        self.close();
        let mut state = self.shared.lock();
        state.finished = true;
        self.shared.finished.notify_all();
    }
}

impl Writer {
    fn write(&self, batch: TableBatch) -> sled::Result<()> {
        let Some(db) = self.db.as_ref().filter(|_| !self.broken) else { return Ok(()) };
        let mut stored = sled::Batch::default();
        if batch.replaces_all {
            for key in db.iter().keys() {
                stored.remove(key?);
            }
        }
        for ((table, key), value) in batch.changes {
            let key = stored_key(table, &key);
            match value {
                Some(value) => stored.insert(key, value),
                None => stored.remove(key),
            }
        }
        stored.insert(APPLIED_KEY, encode_applied(batch.applied));
        db.apply_batch(stored)
    }

    fn close(&mut self) {
        let Some(db) = self.db.take() else { return };
        let flushed = db.flush();
        drop(db);
        match flushed {
            Ok(_) if !self.broken => self.mark(&Marker::Clean),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the table store did not flush"),
        }
    }

    fn mark(&self, marker: &Marker) {
        if let Err(error) = marker.write(&*self.disk, &self.marker_path) {
            tracing::warn!(%error, "the table store's marker was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> FrameId {
        FrameId { term: 1, leader: 2, index }
    }

    fn batch(index: u64, key: &str, value: Option<&str>) -> TableBatch {
        let change = ((TableId::Groups, key.as_bytes().to_vec()), value.map(|value| value.as_bytes().to_vec()));
        TableBatch { replaces_all: false, changes: BTreeMap::from([change]), applied: id(index) }
    }

    fn open(folder: &Path, last_index: u64) -> SledTableStore {
        SledTableStore::open(folder, &Seams::real(), |applied| applied.index <= last_index).unwrap()
    }

    /// A folder whose store has the entry a=1, applied at 7.
    fn filled() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), 0);
        assert_eq!(store.load(), None);
        store.write(batch(5, "a", Some("0")));
        store.write(batch(6, "b", Some("0")));
        store.write(batch(7, "a", Some("1")));
        store.write(batch(7, "b", None));
        store.close();
        folder
    }

    #[test]
    fn what_was_written_is_loaded() {
        let folder = filled();
        let loaded = open(folder.path(), 7).load().unwrap();
        assert_eq!(loaded.applied, id(7));
        assert_eq!(loaded.entries, BTreeMap::from([(TableId::Groups, vec![(b"a".to_vec(), b"1".to_vec())])]));
    }

    #[test]
    fn a_replacing_batch_leaves_nothing_old() {
        let folder = filled();
        let mut store = open(folder.path(), 7);
        store.write(TableBatch { replaces_all: true, ..batch(9, "c", Some("2")) });
        store.close();
        let loaded = open(folder.path(), 9).load().unwrap();
        assert_eq!(loaded.entries, BTreeMap::from([(TableId::Groups, vec![(b"c".to_vec(), b"2".to_vec())])]));
    }

    #[test]
    fn a_store_ahead_of_the_log_is_thrown_away() {
        let folder = filled();
        assert_eq!(open(folder.path(), 6).load(), None);
        assert_eq!(open(folder.path(), 7).load(), None);
    }

    #[test]
    fn the_marker_decides_after_an_unclean_stop() {
        let disk = raftmq_sys::RealDisk::new();
        let of_this_boot = Marker::Running(boot_id(&disk).unwrap());
        let of_another = Marker::Running("another".to_owned());
        for (marker, kept) in [
            (Marker::Clean, true),
            (of_this_boot, true),
            (of_another, false),
            (Marker::Opening, false),
            (Marker::Broken, false),
        ] {
            let folder = filled();
            marker.write(&disk, &folder.path().join("marker")).unwrap();
            assert_eq!(Marker::read(&disk, &folder.path().join("marker")), Some(marker.clone()));
            assert_eq!(open(folder.path(), 7).load().is_some(), kept, "{marker:?}");
        }
        let folder = filled();
        raftmq_sys::Disk::remove_file(&disk, &folder.path().join("marker")).unwrap();
        assert_eq!(open(folder.path(), 7).load(), None);
    }

    #[test]
    fn files_that_do_not_open_are_thrown_away() {
        let folder = filled();
        let disk = raftmq_sys::RealDisk::new();
        let files = folder.path().join("sled");
        for entry in disk.list(&files).unwrap().iter().filter(|entry| !entry.is_dir) {
            let file = disk.open(&files.join(&entry.name), Open::Write).unwrap();
            file.write_at(&[0x5a; 64], 0).unwrap();
        }
        let mut store = open(folder.path(), 7);
        assert_eq!(store.load(), None);
        store.write(batch(1, "a", Some("new")));
        store.close();
        assert_eq!(open(folder.path(), 1).load().unwrap().applied, id(1));
    }
}
