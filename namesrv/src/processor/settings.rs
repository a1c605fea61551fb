//! Key-value settings, and the name server's own configuration.

use std::path::Path;
use std::sync::PoisonError;

use raftmq_config::{Config, SetError, properties, render_all};
use raftmq_remoting::body::KvTable;
use raftmq_remoting::header::{KvConfigRequestHeader, NamespaceRequestHeader, PutKvConfigRequestHeader};
use raftmq_remoting::{RemotingCommand, response_code};
use tracing::info;

use super::Inner;
use super::request::{Answer, Refusal};

impl Inner {
    pub(super) fn setting(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let KvConfigRequestHeader { namespace, key } = KvConfigRequestHeader::decode(&request.fields)?;
        match self.settings.get(&namespace, &key) {
            Some(value) => Ok(Answer::field("value", value)),
            None => Err(Refusal::new(
                response_code::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {namespace} Key: {key}"),
            )),
        }
    }

    pub(super) fn settings_of_namespace(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let NamespaceRequestHeader { namespace } = NamespaceRequestHeader::decode(&request.fields)?;
        match self.settings.namespace(&namespace) {
            Some(table) => Ok(Answer::body(KvTable { table }.to_json())),
            None => {
                Err(Refusal::new(response_code::QUERY_NOT_FOUND, format!("No config item, Namespace: {namespace}")))
            }
        }
    }

    /// Blocks on the disk.
    pub(super) fn put_setting(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = PutKvConfigRequestHeader::decode(&request.fields)?;
        self.settings.put(&header.namespace, &header.key, &header.value).map_err(Refusal::error)?;
        Ok(Answer::empty())
    }

    /// Blocks on the disk.
    pub(super) fn delete_setting(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let KvConfigRequestHeader { namespace, key } = KvConfigRequestHeader::decode(&request.fields)?;
        self.settings.delete(&namespace, &key).map_err(Refusal::error)?;
        Ok(Answer::empty())
    }

    pub(super) fn dump_config(&self) -> Result<Answer, Refusal> {
        Ok(Answer::body(render_all(&*self.config())))
    }

    /// Sets all keys of the body or none, in the file first; those that need a restart only there have an effect.
    /// Blocks on the disk.
    pub(super) fn update_config(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let text = std::str::from_utf8(&request.body).map_err(Refusal::error)?;
        let entries = properties::parse(text).map_err(Refusal::error)?;
        let _updating = self.config_update.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = self.config().clone();
        for entry in &entries {
            if changed.is_black_listed(&entry.key) {
                return Err(Refusal::new(response_code::NO_PERMISSION, "Can not update config in black list."));
            }
            match changed.set(&entry.key, &entry.value) {
                Ok(()) => {}
                Err(SetError::UnknownKey) => return Err(Refusal::error(format!("unknown key `{}`", entry.key))),
                Err(SetError::Value(reason)) => return Err(Refusal::error(format!("{}: {reason}", entry.key))),
            }
        }
        self.store_config(&changed.config_store_path, &entries).map_err(Refusal::error)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = changed;
        info!(keys = entries.len(), "configuration updated");
        Ok(Answer::empty())
    }

    /// Edits the configuration file; comments and other keys stay.
    fn store_config(&self, path: &str, entries: &[properties::Entry]) -> Result<(), String> {
        let (disk, path) = (&self.seams.disk, Path::new(path));
        let content = if disk.exists(path) { disk.read(path).map_err(|error| error.to_string())? } else { Vec::new() };
        let mut text = String::from_utf8(content).map_err(|error| error.to_string())?;
        for entry in entries {
            text = properties::with_value(&text, &entry.key, &entry.value).map_err(|error| error.to_string())?;
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            disk.create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        disk.replace(path, text.as_bytes()).map_err(|error| error.to_string())
    }
}
