#![expect(clippy::disallowed_methods, reason = "this is the seam")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, FlockOperation};

use crate::disk::{Disk, DiskFile, Entry, Open, Space};
use crate::mapped_file;

/// The operating system's files. Error texts name the path.
#[derive(Default)]
pub struct RealDisk;

impl RealDisk {
    pub fn new() -> RealDisk {
        RealDisk
    }
}

fn at(path: &Path, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create(true).truncate(false);
            }
            Open::Truncate => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(path).map_err(|error| at(path, "open", error))?;
        Ok(Arc::new(RealFile { file, path: path.to_owned(), map: OnceLock::new() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|error| at(from, "rename", error))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|error| at(path, "remove", error))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path).map_err(|error| at(path, "remove", error))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path).map_err(|error| at(path, "create directory", error))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| at(path, "sync directory", error))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| at(path, "list", error))? {
            let entry = entry.map_err(|error| at(path, "list", error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path).map_err(|error| at(path, "statvfs", error.into()))?;
        Ok(Space { total_bytes: stat.f_blocks * stat.f_frsize, available_bytes: stat.f_bavail * stat.f_frsize })
    }
}

struct RealFile {
    file: File,
    path: PathBuf,
    /// Made at the first [`DiskFile::slice`]; covers the length the file had then.
    map: OnceLock<Bytes>,
}

impl RealFile {
    fn named<T>(&self, what: &str, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| at(&self.path, what, error))
    }

    /// tmpfs gives up when a signal is pending, SIGSTOP and SIGCONT among them; asking again goes on.
    fn fallocate(&self, flags: FallocateFlags, position: u64, length: u64) -> rustix::io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, flags, position, length))
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.named("write", self.file.write_all_at(bytes, position))
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.named("read", self.file.read_exact_at(bytes, position))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.named("fdatasync", self.file.sync_data())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match self.fallocate(FallocateFlags::empty(), 0, length) {
            // Without reserved blocks a write may fail later for lack of space; it is an error there like any other.
            Err(rustix::io::Errno::OPNOTSUPP) if self.len()? < length => self.set_len(length),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => self.named("fallocate", other.map_err(io::Error::from)),
        }
    }

    fn zero(&self, position: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        match self.fallocate(FallocateFlags::ZERO_RANGE, position, length) {
            Err(rustix::io::Errno::OPNOTSUPP) => {
                // File systems without zero ranges (tmpfs, some network ones) get the zeros written.
                let zeros = vec![0; 1 << 20];
                let mut done = 0;
                while done < length {
                    let step = (length - done).min(zeros.len() as u64);
                    self.write_at(&zeros[..step as usize], position + done)?;
                    done += step;
                }
                Ok(())
            }
            other => self.named("zero", other.map_err(io::Error::from)),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.named("set length of", self.file.set_len(length))
    }

    fn len(&self) -> io::Result<u64> {
        self.named("stat", self.file.metadata().map(|metadata| metadata.len()))
    }

    /// Two locks: flock keeps away other handles, those of this process too, and the record lock is the one that
    /// Java's `FileChannel.tryLock` takes. A record lock ends when the process closes *any* handle of the file.
    fn try_lock(&self) -> io::Result<bool> {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let locked = rustix::fs::flock(&self.file, exclusive);
        match locked.and_then(|()| rustix::fs::fcntl_lock(&self.file, exclusive)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => Ok(false),
            Err(error) => self.named("lock", Err(error.into())),
        }
    }

    fn slice(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let map = match self.map.get() {
            Some(map) => map,
            None => {
                let size = usize::try_from(self.len()?).map_err(io::Error::other)?;
                let map = self.named("map", mapped_file::map(&self.file, size))?;
                self.map.get_or_init(|| map)
            }
        };
        let start = usize::try_from(position).map_err(io::Error::other)?;
        match start.checked_add(length) {
            Some(end) if end <= map.len() => Ok(map.slice(start..end)),
            _ => self.named("slice", Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_see_later_writes_and_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let file = disk.open(&directory.path().join("f"), Open::Create).unwrap();
        file.allocate(8192).unwrap();
        assert_eq!(file.slice(0, 4).unwrap().as_ref(), &[0; 4]);
        file.write_at(b"abcd", 4096).unwrap();
        assert_eq!(file.slice(4096, 4).unwrap().as_ref(), b"abcd");
        assert_eq!(file.slice(8190, 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_second_handle_cannot_lock() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let path = directory.path().join("lock");
        let first = disk.open(&path, Open::Create).unwrap();
        let second = disk.open(&path, Open::Create).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }

    #[test]
    fn errors_name_the_path() {
        let error = RealDisk::new().open(Path::new("/no/such/file"), Open::Read).err().unwrap();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
