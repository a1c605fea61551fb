use raftmq_raft::{AppliedEntry, StateMachine};
use raftmq_store::FrameId;

use super::machine::Machine;

/// A line that names the causes of an error, as the Raft crate logs it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

impl StateMachine for Machine {
    fn applied(&self) -> Option<FrameId> {
        Machine::applied(self)
    }

    fn apply(&mut self, entry: &AppliedEntry<'_>) -> Result<(), String> {
        let body = entry.frame.body();
        Machine::apply(self, Some(entry.id), entry.frame.body_offset(), &body).map_err(|error| with_causes(&error))
    }

    fn apply_done(&mut self) {
        Machine::apply_done(self);
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, String> {
        Ok(Machine::snapshot(self))
    }

    fn install(&mut self, applied: FrameId, snapshot: &[u8]) -> Result<(), String> {
        Machine::install(self, applied, snapshot).map_err(|error| with_causes(&error))
    }
}
