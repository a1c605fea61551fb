use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{JsonConfig, JsonConfigError};
use crate::broker::with_causes;
use crate::replicator::TableSaver;
use crate::state_machine::{Changes, Machine, Tables};

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
        let mut config = self.lock();
        // The broker goes on: consumers commit again within seconds, and what was not saved is saved the next time.
        let _ = logged(config.flush_offsets(&self.tables));
        if config.has_failed() {
            let _ = logged(config.save(&self.tables, &Changes::default()));
        }
    }
}

fn logged(result: Result<(), JsonConfigError>) -> Result<(), String> {
    result.map_err(|error| {
        let text = with_causes(&error);
        tracing::error!(error = text, "configuration not saved");
        text
    })
}

impl TableSaver for JsonSaver {
    fn changed(&mut self, machine: &mut Machine) -> Result<(), String> {
        let changes = machine.take_changes();
        match changes.is_empty() {
            true => Ok(()),
            false => logged(self.lock().save(&self.tables, &changes)),
        }
    }

    fn close(&mut self, machine: &mut Machine) {
        // An orderly stop goes on to the offsets.
        let _ = self.changed(machine);
        self.flush_offsets();
    }
}
