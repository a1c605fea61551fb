//! The real disk, with its calls counted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use raftmq_sys::disk::{Entry, Space};
use raftmq_sys::{Disk, DiskFile, Open, RealDisk};

/// What was asked of the disk so far.
#[derive(Default)]
pub(crate) struct DiskCalls {
    /// Every call that is a system call, one for each; slices of a map are none.
    all: AtomicU64,
    /// fdatasync by the thread that appends: what a send waits for.
    append_syncs: AtomicU64,
    /// fdatasync and syncs of directories by everybody else: consume queues, mark, checkpoint, zeros, ASYNC_FLUSH.
    other_syncs: AtomicU64,
}

impl DiskCalls {
    fn count(&self) {
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    fn count_sync(&self) {
        self.count();
        let thread = std::thread::current();
        let appends = thread.name().is_some_and(|name| name.starts_with("append-"));
        let syncs = if appends { &self.append_syncs } else { &self.other_syncs };
        syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    pub(crate) fn append_syncs(&self) -> u64 {
        self.append_syncs.load(Ordering::Relaxed)
    }

    pub(crate) fn other_syncs(&self) -> u64 {
        self.other_syncs.load(Ordering::Relaxed)
    }
}

pub(crate) struct CountingDisk {
    disk: RealDisk,
    calls: Arc<DiskCalls>,
}

impl CountingDisk {
    pub(crate) fn new(calls: Arc<DiskCalls>) -> CountingDisk {
        CountingDisk { disk: RealDisk::new(), calls }
    }
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.calls.count();
        Ok(Arc::new(CountingFile { file: self.disk.open(path, how)?, calls: self.calls.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.calls.count();
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.calls.count();
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.calls.count();
        self.disk.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.calls.count();
        self.disk.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.calls.count_sync();
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.calls.count();
        self.disk.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.calls.count();
        self.disk.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.calls.count();
        self.disk.space(path)
    }
}

struct CountingFile {
    file: Arc<dyn DiskFile>,
    calls: Arc<DiskCalls>,
}

impl DiskFile for CountingFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.calls.count();
        self.file.write_at(bytes, position)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.calls.count();
        self.file.read_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.calls.count_sync();
        self.file.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.calls.count();
        self.file.allocate(length)
    }

    fn zero(&self, position: u64, length: u64) -> io::Result<()> {
        self.calls.count();
        self.file.zero(position, length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.calls.count();
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.calls.count();
        self.file.len()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.calls.count();
        self.file.try_lock()
    }

    fn slice(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.file.slice(position, length)
    }
}
