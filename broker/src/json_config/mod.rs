//! Classic mode keeps its tables as RocketMQ does: `config/*.json` in the store, in fastjson's pretty form, so that
//! either broker can go on with the other's files (docs/on-disk-format.md).

mod config_file;
mod consumer_offsets;
mod groups;
mod pretty;
mod saver;
mod topics;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sys::Disk;

use self::config_file::ConfigFile;
pub use self::saver::JsonSaver;
use crate::state_machine::{Changes, TableId, Tables};

/// Why a file of `config/` was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonConfigError {
    #[error("{path} and its .bak hold no usable configuration: {reason}")]
    Unusable { path: PathBuf, reason: String },
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// The JSON files of one store. Others in the same folder (delayOffset.json, consumerFilter.json) are left alone.
pub struct JsonConfig {
    topics: ConfigFile,
    groups: ConfigFile,
    consumer_offsets: ConfigFile,
    /// What the tables have and the files have not; stays so after a failed write.
    unsaved: Unsaved,
}

#[derive(Default)]
struct Unsaved {
    topics: bool,
    groups: bool,
    consumer_offsets: bool,
}

impl JsonConfig {
    /// The files under `<store_root>/config`, which is made if it is missing.
    pub fn open(disk: Arc<dyn Disk>, store_root: &Path) -> Result<JsonConfig, JsonConfigError> {
        let folder = store_root.join("config");
        let made = disk.create_dir_all(&folder).and_then(|()| disk.sync_dir(store_root));
        made.map_err(|source| JsonConfigError::Write { path: folder.clone(), source })?;
        let file = |name| ConfigFile::new(disk.clone(), folder.join(name));
        Ok(JsonConfig {
            topics: file("topics.json"),
            groups: file("subscriptionGroup.json"),
            consumer_offsets: file("consumerOffset.json"),
            unsaved: Unsaved::default(),
        })
    }

    /// Fills the tables from the files. A table without a file stays as it is.
    pub fn load(&mut self, tables: &Tables) -> Result<(), JsonConfigError> {
        if let Some((version, topics)) = self.topics.read(topics::parse)? {
            tables.topics.replace(version, topics);
        }
        if let Some((version, groups)) = self.groups.read(groups::parse)? {
            tables.groups.replace(version, groups);
        }
        if let Some(offsets) = self.consumer_offsets.read(consumer_offsets::parse)? {
            tables.consumer_offsets.replace(offsets);
        }
        Ok(())
    }

    /// Writes what `changes` touches: topics and groups now, consumer offsets with the next
    /// [`JsonConfig::flush_offsets`]. What fails is tried again by the next call.
    pub fn save(&mut self, tables: &Tables, changes: &Changes) -> Result<(), JsonConfigError> {
        self.unsaved.topics |= changes.touches(TableId::Topics);
        self.unsaved.groups |= changes.touches(TableId::Groups);
        self.unsaved.consumer_offsets |= changes.touches(TableId::ConsumerOffsets);
        if self.unsaved.topics {
            self.topics.write(topics::write(&tables.topics).as_bytes())?;
            self.unsaved.topics = false;
        }
        if self.unsaved.groups {
            self.groups.write(groups::write(&tables.groups).as_bytes())?;
            self.unsaved.groups = false;
        }
        Ok(())
    }

    /// Whether the last [`JsonConfig::save`] left something out.
    pub fn has_failed(&self) -> bool {
        self.unsaved.topics || self.unsaved.groups
    }

    /// Writes the consumer offsets if they have changed: every flushConsumerOffsetInterval and at shutdown.
    pub fn flush_offsets(&mut self, tables: &Tables) -> Result<(), JsonConfigError> {
        if self.unsaved.consumer_offsets {
            self.consumer_offsets.write(consumer_offsets::write(&tables.consumer_offsets).as_bytes())?;
            self.unsaved.consumer_offsets = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
