use raftmq_raft::{AppliedEntry, StateMachine};
use raftmq_store::FrameId;

use super::machine::Machine;
use crate::broker::with_causes;

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
