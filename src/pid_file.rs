//! Which servers run: one file each beside the logs, locked as long as the process lives.
#![expect(clippy::disallowed_methods, reason = "pid files decide neither what is stored nor who leads")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Held by a running server; its file goes when it is dropped, and its lock with the process at the latest.
pub(crate) struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl PidFile {
    /// Writes `<program>.<pid>.pid` into `folder` and locks it.
    pub(crate) fn create(folder: &Path, program: &str) -> io::Result<PidFile> {
        fs::create_dir_all(folder)?;
        let pid = std::process::id();
        let path = folder.join(format!("{program}.{pid}.pid"));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        writeln!(file, "{pid}")?;
        Ok(PidFile { path, _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file left behind is harmless: nobody holds its lock.
        let _ = fs::remove_file(&self.path);
    }
}

/// The processes of `program` that live, by their files in `folder`. Files of dead ones are removed.
pub(crate) fn running(folder: &Path, program: &str) -> io::Result<Vec<i32>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut pids = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(pid) = pid_of(&name, program) else { continue };
        match is_locked(&path) {
            Ok(true) => pids.push(pid),
            // The process died without removing it.
            Ok(false) => drop(fs::remove_file(&path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

fn pid_of(file_name: &str, program: &str) -> Option<i32> {
    file_name.strip_prefix(program)?.strip_prefix('.')?.strip_suffix(".pid")?.parse().ok().filter(|pid| *pid > 0)
}

fn is_locked(path: &Path) -> io::Result<bool> {
    match File::open(path)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_holder_is_seen_and_a_dead_ones_file_removed() {
        let folder = tempfile::tempdir().unwrap();
        let held = PidFile::create(folder.path(), "broker").unwrap();
        let stale = folder.path().join("broker.99999.pid");
        fs::write(&stale, "99999\n").unwrap();
        let ours = i32::try_from(std::process::id()).unwrap();
        assert_eq!(running(folder.path(), "broker").unwrap(), [ours]);
        assert!(!stale.exists());
        assert_eq!(running(folder.path(), "namesrv").unwrap(), [0; 0]);
        drop(held);
        assert_eq!(running(folder.path(), "broker").unwrap(), [0; 0]);
    }

    #[test]
    fn other_names_are_not_pids() {
        assert_eq!(pid_of("broker.12.pid", "broker"), Some(12));
        for name in ["broker.0.pid", "broker.-1.pid", "broker.x.pid", "broker2.1.pid", "broker.log"] {
            assert_eq!(pid_of(name, "broker"), None, "{name}");
        }
    }
}
