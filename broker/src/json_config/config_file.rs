use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sys::{Disk, Open};

use super::JsonConfigError;

/// One file with its `.tmp` and `.bak` (RocketMQ `ConfigManager`, `MixAll.string2File`).
pub(super) struct ConfigFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The file itself may become the backup. One that did not parse must not take the place of a good backup.
    is_good: bool,
}

impl ConfigFile {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> ConfigFile {
        ConfigFile { disk, path, is_good: false }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }

    /// The parsed content of the file, or of its `.bak` if the file is missing, empty or does not parse; `None` if
    /// neither has anything in it.
    pub(super) fn read<T>(&mut self, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<Option<T>, JsonConfigError> {
        let main = self.read_one(&self.path, &parse)?;
        if let Some(Ok(parsed)) = main {
            self.is_good = true;
            return Ok(Some(parsed));
        }
        let backup = self.beside(".bak");
        match self.read_one(&backup, &parse)? {
            Some(Ok(parsed)) => {
                tracing::warn!(path = %backup.display(), "configuration read from the backup");
                Ok(Some(parsed))
            }
            Some(Err(reason)) => Err(self.unusable(main.and_then(Result::err).unwrap_or(reason))),
            None => match main {
                Some(Err(reason)) => Err(self.unusable(reason)),
                _ => Ok(None),
            },
        }
    }

    /// `None` if there is no such file or nothing in it.
    fn read_one<T>(
        &self,
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Option<Result<T, String>>, JsonConfigError> {
        match self.disk.read(path) {
            Ok(content) if content.iter().all(u8::is_ascii_whitespace) => Ok(None),
            Ok(content) => Ok(Some(parse(&content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JsonConfigError::Read { path: path.to_owned(), source }),
        }
    }

    fn unusable(&self, reason: String) -> JsonConfigError {
        JsonConfigError::Unusable { path: self.path.clone(), reason }
    }

    /// Replaces the content; the old one becomes `.bak`. After a crash at any point `read` finds the old or the new
    /// content.
    pub(super) fn write(&mut self, content: &[u8]) -> Result<(), JsonConfigError> {
        self.replace(content).map_err(|source| JsonConfigError::Write { path: self.path.clone(), source })?;
        self.is_good = true;
        Ok(())
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        self.write_through(&temporary, content)?;
        if self.is_good {
            let old = self.disk.read(&self.path)?;
            self.write_through(&self.beside(".bak"), &old)?;
        }
        self.disk.rename(&temporary, &self.path)?;
        self.disk.sync_dir(self.path.parent().unwrap_or(Path::new(".")))
    }

    fn write_through(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let file = self.disk.open(path, Open::Truncate)?;
        file.write_at(content, 0)?;
        file.sync_data()
    }
}
