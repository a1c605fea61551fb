//! Files as RaftMQ uses them: positioned writes, explicit durability, read-only zero-copy slices.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist; reading only.
    Read,
    /// It must exist; reading and writing.
    Write,
    /// Created if missing, kept if present; reading and writing.
    Create,
    /// Created or emptied; reading and writing.
    Truncate,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
}

/// Space of the file system that holds a path, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What an unprivileged process may still take.
    pub available_bytes: u64,
}

/// A file system.
///
/// What breaks if an implementation cheats: a rename or create that survives a power cut without [`Disk::sync_dir`]
/// hides missing syncs from the crash tests; one that does not survive it *with* `sync_dir` loses data.
pub trait Disk: Send + Sync + 'static {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces `to` if it exists. Durable after [`Disk::sync_dir`] of the parent of `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in this directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    fn exists(&self, path: &Path) -> bool;
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Creates a directory and those above it, each durable in its parent.
    fn create_dir_durably(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || self.exists(path) {
            return Ok(());
        }
        // Without a parent it is "/", and a disk without that has gone.
        let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
        self.create_dir_durably(parent)?;
        self.create_dir_all(path)?;
        self.sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    }

    /// Whole file as bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Replaces a small file so that after a crash either the old or the new content is there, whole.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = self.open(&temporary, Open::Truncate)?;
        file.write_at(content, 0)?;
        file.sync_data()?;
        drop(file);
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// An open file. Positions are bytes from its start.
///
/// Writes are seen by later reads and slices at once, and are durable only after [`DiskFile::sync_data`] returned
/// `Ok`. After it returned an error the content on disk is unknown and a second call may lie, so callers must not
/// retry.
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `position`, growing the file if need be.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Fills all of `bytes` from `position`; end of file is an error of kind `UnexpectedEof`.
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;
    /// Makes content and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves blocks up to `length` bytes so that writes there cannot fail for lack of space; grows the file to
    /// `length` with zeros if it is shorter.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Writes zeros over a range without shrinking the file.
    fn zero(&self, position: u64, length: u64) -> io::Result<()>;
    fn set_len(&self, length: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Takes an exclusive lock that ends with the file handle or the process; `false` if somebody else holds it.
    fn try_lock(&self) -> io::Result<bool>;
    /// Bytes of this file without copying where the implementation can (a read-only map), owned bytes else.
    ///
    /// The range must be inside the file, and the caller must not change bytes of a slice that is still in use:
    /// mapped slices would change under their reader.
    fn slice(&self, position: u64, length: usize) -> io::Result<Bytes>;
}
