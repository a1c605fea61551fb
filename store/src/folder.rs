//! The store's folder: names within it, and the lock that keeps a second process away.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use raftmq_sys::{Disk, DiskFile, Open};

use crate::config::StoreConfig;
use crate::error::OpenError;
use crate::store_mode::{self, Kind};

/// An opened and locked folder. The lock ends with [`Folder::unlock`] or the last handle.
pub(crate) struct Folder {
    pub(crate) disk: Arc<dyn Disk>,
    root: PathBuf,
    lock: Mutex<Option<Arc<dyn DiskFile>>>,
}

impl Folder {
    /// Checks the kind, then makes the folders and takes the lock.
    pub(crate) fn open(disk: Arc<dyn Disk>, config: &StoreConfig, kind: Kind) -> Result<Folder, OpenError> {
        let folder = Folder { disk, root: config.root.clone(), lock: Mutex::new(None) };
        let disk = &*folder.disk;
        store_mode::check(disk, &folder.store_mode(), config, kind)?;
        let mut directories = vec![config.root.clone(), config.commit_log_dir.clone(), folder.consume_queues()];
        if kind == Kind::Raft {
            directories.push(folder.raft_index());
        }
        for directory in &directories {
            disk.create_dir_durably(directory).map_err(OpenError::io("create", directory))?;
        }
        folder.take_lock()?;
        // Again, now that nobody else can change it.
        store_mode::check(disk, &folder.store_mode(), config, kind)?;
        Ok(folder)
    }

    /// Writes the `store-mode` file if there is none. A Raft store does it before its first segment; a classic one
    /// once the files found have proved sound.
    pub(crate) fn mark_kind(&self, config: &StoreConfig, kind: Kind) -> Result<(), OpenError> {
        let path = self.store_mode();
        if self.disk.exists(&path) {
            return Ok(());
        }
        let text = store_mode::text(kind, config.segment_bytes);
        self.disk.replace(&path, text.as_bytes()).map_err(OpenError::io("write", &path))
    }

    fn take_lock(&self) -> Result<(), OpenError> {
        let path = self.root.join("lock");
        let file = self.disk.open(&path, Open::Create).map_err(OpenError::io("open", &path))?;
        if !file.try_lock().map_err(OpenError::io("lock", &path))? {
            return Err(OpenError::Locked { path: self.root.clone() });
        }
        if file.is_empty().map_err(OpenError::io("stat", &path))? {
            file.write_at(b"lock", 0).map_err(OpenError::io("write", &path))?;
        }
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    pub(crate) fn unlock(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn root(&self) -> &PathBuf {
        &self.root
    }

    pub(crate) fn consume_queues(&self) -> PathBuf {
        self.root.join("consumequeue")
    }

    pub(crate) fn raft_index(&self) -> PathBuf {
        self.root.join("raftindex")
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.root.join("mark")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    pub(crate) fn abort(&self) -> PathBuf {
        self.root.join("abort")
    }

    fn store_mode(&self) -> PathBuf {
        self.root.join("store-mode")
    }
}
