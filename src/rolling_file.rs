#![expect(clippy::disallowed_methods, reason = "log files decide neither what is stored nor who leads")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A log file that is set aside when it is full: `broker.log` becomes `broker.log.1`, that one `broker.log.2`, and
/// so on; the oldest goes.
pub(crate) struct RollingFile {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    limit_bytes: u64,
    kept: u32,
}

impl RollingFile {
    /// Appends to what is there. `kept` files are kept beside the current one.
    pub(crate) fn open(path: &Path, limit_bytes: u64, kept: u32) -> io::Result<RollingFile> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size_bytes = file.metadata()?.len();
        Ok(RollingFile { path: path.to_owned(), file, size_bytes, limit_bytes, kept })
    }

    fn roll(&mut self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            let (from, to) = (self.numbered(number), self.numbered(number + 1));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size_bytes = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for RollingFile {
    /// Writes whole buffers: a line of the log is one call.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.size_bytes > 0 && self.size_bytes + buffer.len() as u64 > self.limit_bytes {
            self.roll()?;
        }
        self.file.write_all(buffer)?;
        self.size_bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_set_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/broker.log");
        let mut log = RollingFile::open(&path, 10, 2).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five six\n", "seven\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        assert_eq!(read("broker.log"), "seven\n");
        assert_eq!((read("broker.log.1").as_str(), read("broker.log.2").as_str()), ("five six\n", "four\n"));
        assert!(!folder.path().join("logs/broker.log.3").exists());
    }

    #[test]
    fn an_old_file_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namesrv.log");
        for line in ["a\n", "b\n"] {
            RollingFile::open(&path, 100, 2).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    }
}
