//! The segment files of the commitlog: fixed size, named by their first byte, preallocated.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use raftmq_sys::{Disk, DiskFile, Open};

use crate::error::OpenError;
use crate::zero_ahead::ZeroAhead;

/// One file of the commitlog.
pub(crate) struct Segment {
    /// Log position of the first byte.
    pub(crate) base: u64,
    pub(crate) length: u64,
    /// What the file had when it was opened: less than `length` if a crash cut its creation off.
    pub(crate) found_bytes: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) zero_ahead: ZeroAhead,
}

impl Segment {
    /// Log position of the first byte behind this segment.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.length
    }
}

/// All segments of one log, oldest first and without gaps, and those that are prepared to be the next.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    list: RwLock<VecDeque<Arc<Segment>>>,
    spares: Mutex<VecDeque<Arc<Segment>>>,
}

/// RocketMQ's name of a file that begins at `base`.
pub(crate) fn file_name(base: u64) -> String {
    format!("{base:020}")
}

/// The position that a file name stands for.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

impl Segments {
    /// Opens what lies in `directory`, which may be empty. Only names and sizes are looked at; whether a file may be
    /// short is for recovery to say.
    pub(crate) fn load(disk: Arc<dyn Disk>, directory: PathBuf, segment_bytes: u64) -> Result<Segments, OpenError> {
        let mut list: VecDeque<Arc<Segment>> = VecDeque::new();
        for entry in disk.list(&directory).map_err(OpenError::io("list", &directory))? {
            let path = directory.join(&entry.name);
            let expected = list.back().map(|last| last.end());
            let base = parse_file_name(&entry.name).filter(|base| expected.is_none_or(|expected| expected == *base));
            let base = base.filter(|base| base.is_multiple_of(segment_bytes) && !entry.is_dir);
            let base = base.ok_or_else(|| OpenError::SegmentName {
                path: path.clone(),
                expected: expected.map_or("no other".to_owned(), file_name),
            })?;
            let file = disk.open(&path, Open::Write).map_err(OpenError::io("open", &path))?;
            let found_bytes = file.len().map_err(OpenError::io("stat", &path))?;
            if found_bytes > segment_bytes {
                return Err(OpenError::FileSize { path, found_bytes, expected_bytes: segment_bytes });
            }
            list.push_back(Arc::new(Segment {
                base,
                length: segment_bytes,
                found_bytes,
                path,
                file,
                zero_ahead: ZeroAhead::default(),
            }));
        }
        Ok(Segments { disk, directory, segment_bytes, list: RwLock::new(list), spares: Mutex::default() })
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, VecDeque<Arc<Segment>>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn spares(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.read().iter().cloned().collect()
    }

    pub(crate) fn last(&self) -> Option<Arc<Segment>> {
        self.read().back().cloned()
    }

    /// The segment that holds this position.
    pub(crate) fn containing(&self, position: u64) -> Option<Arc<Segment>> {
        let list = self.read();
        let first = list.front()?.base;
        let index = usize::try_from(position.checked_sub(first)? / self.segment_bytes).ok()?;
        list.get(index).cloned()
    }

    /// Adds the next segment: the prepared one, or a new one. `base` counts only for an empty log.
    pub(crate) fn roll(&self, base: u64) -> io::Result<Arc<Segment>> {
        let mut spares = self.spares();
        let base = self.last().map_or(base, |last| last.end());
        let segment = match spares.pop_front().filter(|spare| spare.base == base) {
            Some(segment) => segment,
            None => self.create(base)?,
        };
        self.list.write().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(&segment));
        Ok(segment)
    }

    /// Creates the files of the next `count` segments ahead of their need, as far as they do not exist.
    pub(crate) fn prepare(&self, count: usize) -> io::Result<()> {
        let mut spares = self.spares();
        let Some(last) = self.last() else { return Ok(()) };
        while spares.len() < count {
            let base = spares.back().map_or(last.end(), |spare| spare.end());
            spares.push_back(self.create(base)?);
        }
        Ok(())
    }

    /// The same file by a descriptor of its own, for whoever must not take a write-back error away from the one who
    /// flushes. The segment must not be removed meanwhile.
    pub(crate) fn open_again(&self, segment: &Segment) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&segment.path, Open::Write)
    }

    /// A segment counts only once its blocks, its length and its name are durable: so a file that is short is one
    /// that nothing was written to. One that cannot be made leaves nothing behind: on a full disk its blocks are
    /// wanted elsewhere.
    fn create(&self, base: u64) -> io::Result<Arc<Segment>> {
        let path = self.directory.join(file_name(base));
        let file = self.disk.open(&path, Open::Truncate)?;
        if let Err(error) = file.allocate(self.segment_bytes) {
            // If it cannot be removed either, it is found short at the next start and completed or removed then.
            let _ = self.disk.remove_file(&path);
            return Err(error);
        }
        file.sync_data()?;
        self.disk.sync_dir(&self.directory)?;
        Ok(Arc::new(Segment {
            base,
            length: self.segment_bytes,
            found_bytes: self.segment_bytes,
            path,
            file,
            zero_ahead: ZeroAhead::default(),
        }))
    }

    /// Makes the names of the segments durable.
    pub(crate) fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.directory)
    }

    /// Removes every segment that begins at or behind `position`, newest first, so that a crash leaves no gap.
    pub(crate) fn remove_from(&self, position: u64) -> io::Result<()> {
        let mut spares = self.spares();
        let mut removed = false;
        while let Some(segment) = spares.back() {
            self.disk.remove_file(&segment.path)?;
            spares.pop_back();
            removed = true;
        }
        while let Some(segment) = self.last().filter(|last| last.base >= position) {
            self.disk.remove_file(&segment.path)?;
            self.list.write().unwrap_or_else(PoisonError::into_inner).pop_back();
            removed = true;
        }
        if removed { self.disk.sync_dir(&self.directory) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftmq_sys::RealDisk;

    fn load(directory: &Path) -> Result<Segments, OpenError> {
        Segments::load(Arc::new(RealDisk::new()), directory.to_owned(), 4096)
    }

    #[test]
    fn the_prepared_segment_is_used_and_a_gap_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let segments = load(folder.path()).unwrap();
        assert_eq!(segments.roll(0).unwrap().base, 0);
        segments.prepare(2).unwrap();
        assert_eq!(load(folder.path()).unwrap().all().len(), 3, "two are ahead");
        assert_eq!(segments.roll(0).unwrap().base, 4096);
        assert_eq!(segments.roll(0).unwrap().base, 8192);
        assert_eq!(load(folder.path()).unwrap().all().len(), 3, "and were taken");
        assert_eq!(segments.containing(8191).unwrap().base, 4096);
        assert!(segments.containing(12288).is_none());
        let again = load(folder.path()).unwrap();
        assert_eq!(again.all().len(), 3);
        again.remove_from(8192).unwrap();
        RealDisk::new().remove_file(&folder.path().join(file_name(0))).unwrap();
        assert_eq!(load(folder.path()).unwrap().all().len(), 1);
        segments.create(12288).unwrap();
        assert!(matches!(load(folder.path()), Err(OpenError::SegmentName { .. })));
    }
}
