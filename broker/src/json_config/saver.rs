use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{JsonConfig, JsonConfigError};
use crate::replicator::TableSaver;
use crate::state_machine::{Machine, Tables};

/// Writes the JSON files of a classic store as its tables change. Clones share the files.
#[derive(Clone)]
pub struct JsonSaver {
    config: Arc<Mutex<JsonConfig>>,
    tables: Tables,
}

impl JsonSaver {
    pub fn new(config: JsonConfig, tables: Tables) -> JsonSaver {
        JsonSaver { config: Arc::new(Mutex::new(config)), tables }
    }

    fn lock(&self) -> MutexGuard<'_, JsonConfig> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the consumer offsets if they have changed: to be called every flushConsumerOffsetInterval. Blocks.
    pub fn flush_offsets(&self) {
        logged(self.lock().flush_offsets(&self.tables));
    }
}

/// The broker goes on: what was not saved is saved with the next change, and a full disk stops sends by itself.
fn logged(result: Result<(), JsonConfigError>) {
    if let Err(error) = result {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "configuration not saved");
    }
}

impl TableSaver for JsonSaver {
    fn changed(&mut self, machine: &mut Machine) {
        let changes = machine.take_changes();
        if !changes.is_empty() {
            logged(self.lock().save(&self.tables, &changes));
        }
    }

    fn close(&mut self, machine: &mut Machine) {
        self.changed(machine);
        self.flush_offsets();
    }
}
