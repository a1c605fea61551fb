//! The real disk, with somebody who is told before each call and may refuse it, or let others act meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use raftmq_sys::disk::{Entry, Space};
use raftmq_sys::{Disk, DiskFile, Open, RealDisk, Seams};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
    SyncData,
    Allocate,
    Other,
}

/// A call on an open file.
pub(crate) struct Call<'a> {
    pub(crate) kind: Kind,
    pub(crate) path: &'a Path,
    /// Which open file description it goes through.
    pub(crate) description: u64,
}

impl Call<'_> {
    pub(crate) fn is(&self, kind: Kind, folder: &str) -> bool {
        self.kind == kind && self.path.components().any(|component| component.as_os_str() == folder)
    }
}

type Hook = dyn Fn(&Call<'_>) -> io::Result<()> + Send + Sync;

pub(crate) struct HookDisk {
    disk: RealDisk,
    hook: Arc<Hook>,
    opened: AtomicU64,
}

/// The real machine but for this disk.
pub(crate) fn seams(hook: impl Fn(&Call<'_>) -> io::Result<()> + Send + Sync + 'static) -> Seams {
    let disk = HookDisk { disk: RealDisk::new(), hook: Arc::new(hook), opened: AtomicU64::new(0) };
    Seams { disk: Arc::new(disk), ..Seams::real() }
}

impl Disk for HookDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        let description = self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(HookFile { file, hook: Arc::clone(&self.hook), path: path.to_owned(), description }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

struct HookFile {
    file: Arc<dyn DiskFile>,
    hook: Arc<Hook>,
    path: PathBuf,
    description: u64,
}

impl HookFile {
    fn told(&self, kind: Kind) -> io::Result<()> {
        (self.hook)(&Call { kind, path: &self.path, description: self.description })
    }
}

impl DiskFile for HookFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.told(Kind::Write)?;
        self.file.write_at(bytes, position)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.told(Kind::Read)?;
        self.file.read_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.told(Kind::SyncData)?;
        self.file.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.told(Kind::Allocate)?;
        self.file.allocate(length)
    }

    fn zero(&self, position: u64, length: u64) -> io::Result<()> {
        self.told(Kind::Other)?;
        self.file.zero(position, length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.told(Kind::Other)?;
        self.file.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn slice(&self, position: u64, length: usize) -> io::Result<Bytes> {
        self.file.slice(position, length)
    }
}
