//! The name server's key-value settings, kept in one small JSON file as RocketMQ writes it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use raftmq_sys::Disk;
use serde::{Deserialize, Serialize};

/// Settings of topics whose queues have an order over all brokers; added to routes and told to brokers.
pub const ORDER_TOPIC_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Why the settings could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KvConfigError {
    #[error("kvConfigPath: {source}")]
    Io {
        #[from]
        source: io::Error,
    },
    #[error("kvConfigPath: {path} is not a KV config file: {source}")]
    Format { path: PathBuf, source: serde_json::Error },
}

/// Namespaces of keys and values; every change is in the file before it is seen. Writing blocks, reading does not
/// wait for a write.
#[doc(alias = "KVConfigManager")]
pub struct KvConfig {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    content: RwLock<Content>,
    /// Held from reading the old content to showing the new one.
    writing: Mutex<()>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    #[serde(default)]
    config_table: BTreeMap<String, BTreeMap<String, String>>,
}

impl KvConfig {
    /// Reads the file; one that does not exist is empty.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<KvConfig, KvConfigError> {
        let bytes = if disk.exists(&path) { disk.read(&path)? } else { Vec::new() };
        // RocketMQ leaves an empty file behind when it is killed in its first write.
        let content = if bytes.is_empty() {
            Content::default()
        } else {
            serde_json::from_slice(&bytes).map_err(|source| KvConfigError::Format { path: path.clone(), source })?
        };
        Ok(KvConfig { disk, path, content: RwLock::new(content), writing: Mutex::new(()) })
    }

    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.content().config_table.get(namespace)?.get(key).cloned()
    }

    /// All keys of a namespace; none if it was never written.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.content().config_table.get(namespace).cloned()
    }

    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvConfigError> {
        self.change(|content| {
            let keys = content.config_table.entry(namespace.to_owned()).or_default();
            keys.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes a key; one that is not there is fine.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<(), KvConfigError> {
        self.change(|content| {
            if let Some(keys) = content.config_table.get_mut(namespace) {
                keys.remove(key);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), KvConfigError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut content = self.content().clone();
        change(&mut content);
        let format = |source| KvConfigError::Format { path: self.path.clone(), source };
        let text = serde_json::to_vec(&content).map_err(format)?;
        if let Some(folder) = self.path.parent() {
            self.disk.create_dir_durably(folder)?;
        }
        self.disk.replace(&self.path, &text)?;
        *self.content.write().unwrap_or_else(PoisonError::into_inner) = content;
        Ok(())
    }

    fn content(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use raftmq_sys::RealDisk;

    use super::*;

    #[test]
    fn settings_are_in_the_file_in_rocketmqs_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namesrv/kvConfig.json");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let config = KvConfig::open(Arc::clone(&disk), path.clone()).unwrap();
        config.put(ORDER_TOPIC_NAMESPACE, "T", "broker-a:4").unwrap();
        config.put(ORDER_TOPIC_NAMESPACE, "U", "broker-b:4").unwrap();
        config.delete(ORDER_TOPIC_NAMESPACE, "U").unwrap();
        config.delete("nobody", "U").unwrap();
        assert_eq!(
            String::from_utf8(disk.read(&path).unwrap()).unwrap(),
            "{\"configTable\":{\"ORDER_TOPIC_CONFIG\":{\"T\":\"broker-a:4\"}}}"
        );
        let again = KvConfig::open(Arc::clone(&disk), path.clone()).unwrap();
        assert_eq!(again.get(ORDER_TOPIC_NAMESPACE, "T").as_deref(), Some("broker-a:4"));
        assert_eq!((again.get(ORDER_TOPIC_NAMESPACE, "U"), again.namespace("nobody")), (None, None));

        disk.replace(&path, b"{").unwrap();
        let error = KvConfig::open(disk, path).err().unwrap().to_string();
        assert!(error.contains("kvConfig.json is not a KV config file: EOF"), "{error}");
    }
}
