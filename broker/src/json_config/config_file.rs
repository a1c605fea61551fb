use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sys::{Disk, Open};

use super::JsonConfigError;

/// One file with its `.tmp` and `.bak` (RocketMQ `ConfigManager`, `MixAll.string2File`).
pub(super) struct ConfigFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl ConfigFile {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> ConfigFile {
        ConfigFile { disk, path }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }

    /// The parsed content of the file, or of its `.bak` if the file is missing, empty or does not parse; `None` if
    /// neither has anything in it.
    pub(super) fn read<T>(&self, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<T>, JsonConfigError> {
        let mut reason = None;
        for path in [self.path.clone(), self.beside(".bak")] {
            let content = match self.disk.read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(JsonConfigError::Read { path, source }),
            };
            if content.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match parse(&content) {
                Ok(parsed) => {
                    if path != self.path {
                        tracing::warn!(path = %path.display(), "configuration read from the backup");
                    }
                    return Ok(Some(parsed));
                }
                Err(error) => {
                    reason.get_or_insert(error);
                }
            }
        }
        match reason {
            Some(reason) => Err(JsonConfigError::Unusable { path: self.path.clone(), reason }),
            None => Ok(None),
        }
    }

    /// Replaces the content; the old one becomes `.bak`. After a crash at any point `read` finds one of the two.
    pub(super) fn write(&self, content: &[u8]) -> Result<(), JsonConfigError> {
        let failed = |source| JsonConfigError::Write { path: self.path.clone(), source };
        let temporary = self.beside(".tmp");
        self.write_through(&temporary, content).map_err(failed)?;
        if self.disk.exists(&self.path) {
            let old = self.disk.read(&self.path).map_err(failed)?;
            // An empty or torn file is no backup.
            if !old.is_empty() {
                self.write_through(&self.beside(".bak"), &old).map_err(failed)?;
            }
        }
        self.disk.rename(&temporary, &self.path).map_err(failed)?;
        self.disk.sync_dir(self.path.parent().unwrap_or(Path::new("."))).map_err(failed)
    }

    fn write_through(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let file = self.disk.open(path, Open::Truncate)?;
        file.write_at(content, 0)?;
        file.sync_data()
    }
}
