//! A bounded set of open consume queue files: ten thousand topics of eight queues do not hold 80,000 descriptors.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use raftmq_sys::metrics::Gauge;
use raftmq_sys::{Disk, DiskFile, Open};

use crate::segments::file_name;

/// Files kept open, the least recently used goes first.
const OPEN_FILES_LIMIT: usize = 1024;

/// Which file: the queue's number in this process and the file's first byte.
type Key = (u64, u64);

struct Opened {
    file: Arc<dyn DiskFile>,
    used: u64,
}

#[derive(Default)]
struct Table {
    open: HashMap<Key, Opened>,
    tick: u64,
}

pub(crate) struct QueueFiles {
    pub(crate) disk: Arc<dyn Disk>,
    /// `<root>/consumequeue`.
    pub(crate) root: PathBuf,
    pub(crate) file_bytes: u64,
    table: Mutex<Table>,
    /// Directories in which names were made that are not durable yet.
    new_names_in: Mutex<BTreeSet<PathBuf>>,
    open_gauge: Gauge,
}

impl QueueFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: PathBuf, file_bytes: u64, open_gauge: Gauge) -> QueueFiles {
        QueueFiles { disk, root, file_bytes, table: Mutex::default(), new_names_in: Mutex::default(), open_gauge }
    }

    pub(crate) fn queue_directory(&self, topic: &str, queue_id: i32) -> PathBuf {
        self.root.join(topic).join(queue_id.to_string())
    }

    /// The file of queue `number` that begins at byte `base`, opened if need be.
    pub(crate) fn open(
        &self,
        number: u64,
        directory: impl FnOnce() -> PathBuf,
        base: u64,
    ) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.cached((number, base)) {
            return Ok(file);
        }
        let file = self.disk.open(&directory().join(file_name(base)), Open::Write)?;
        self.keep((number, base), &file);
        Ok(file)
    }

    /// Like [`open`](QueueFiles::open), but makes what is missing: sparse and full of zeros, as RocketMQ's is.
    pub(crate) fn create(&self, number: u64, directory: &Path, base: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.cached((number, base)) {
            return Ok(file);
        }
        let path = directory.join(file_name(base));
        if !self.disk.exists(&path) {
            self.disk.create_dir_all(directory)?;
            self.note_names(directory);
        }
        self.keep_whole((number, base), self.disk.open(&path, Open::Create)?)
    }

    /// Like [`create`](QueueFiles::create), but the file must be there: what is made durable may be deleted at the
    /// same time and must not come back.
    pub(crate) fn existing(&self, number: u64, directory: &Path, base: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.cached((number, base)) {
            return Ok(file);
        }
        self.keep_whole((number, base), self.disk.open(&directory.join(file_name(base)), Open::Write)?)
    }

    fn keep_whole(&self, key: Key, file: Arc<dyn DiskFile>) -> io::Result<Arc<dyn DiskFile>> {
        if file.len()? < self.file_bytes {
            file.set_len(self.file_bytes)?;
        }
        self.keep(key, &file);
        Ok(file)
    }

    /// Names in a queue's directory, or those of the directories above it, may not be durable.
    pub(crate) fn note_names(&self, directory: &Path) {
        let mut new_names = self.new_names_in.lock().unwrap_or_else(PoisonError::into_inner);
        new_names.extend(directory.ancestors().take(3).map(Path::to_owned));
    }

    /// Directories with names of new files and directories. Nobody may be creating one: a name that came after its
    /// directory was synced would never be.
    pub(crate) fn take_names(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.new_names_in.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the names in these directories durable.
    pub(crate) fn sync_names(&self, directories: &BTreeSet<PathBuf>) -> io::Result<()> {
        // The deepest first would do as well: a crash in between leaves the queue behind its durable end.
        for directory in directories.iter().filter(|directory| self.disk.exists(directory)) {
            let synced = self.disk.sync_dir(directory);
            // A deleted one needs nothing.
            if synced.is_err() && self.disk.exists(directory) {
                return synced;
            }
        }
        Ok(())
    }

    /// Closes all files of a queue that is being deleted.
    pub(crate) fn forget(&self, number: u64) {
        let mut table = self.lock();
        table.open.retain(|(owner, _), _| *owner != number);
        self.open_gauge.set(table.open.len() as i64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self, key: Key) -> Option<Arc<dyn DiskFile>> {
        let mut table = self.lock();
        table.tick += 1;
        let tick = table.tick;
        let opened = table.open.get_mut(&key)?;
        opened.used = tick;
        Some(Arc::clone(&opened.file))
    }

    fn keep(&self, key: Key, file: &Arc<dyn DiskFile>) {
        let mut table = self.lock();
        if table.open.len() >= OPEN_FILES_LIMIT {
            let oldest = table.open.iter().min_by_key(|(_, opened)| opened.used).map(|(key, _)| *key);
            oldest.map(|oldest| table.open.remove(&oldest));
        }
        let used = table.tick;
        table.open.insert(key, Opened { file: Arc::clone(file), used });
        self.open_gauge.set(table.open.len() as i64);
    }
}
