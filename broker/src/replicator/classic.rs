//! Classic mode's side of [`LocalStore`]: RocketMQ's commitlog and RocketMQ's JSON files.

use std::sync::Arc;

use raftmq_model::offset::PhysicalOffset;
use raftmq_store::{AppendError, Appended, ClassicWriter, EncodedMessages, ProposalRecord};

use super::{Batch, LocalStore, ReplicateError, Replicated};
use crate::state_machine::Machine;

/// Told which tables commands have changed, after each commit.
pub trait TableSaver: Send + 'static {
    fn changed(&mut self, machine: &mut Machine);
    /// Writes everything that waits.
    fn close(&mut self, machine: &mut Machine);
}

pub struct ClassicLocalStore {
    writer: Option<ClassicWriter>,
    machine: Machine,
    saver: Box<dyn TableSaver>,
    /// SYNC_FLUSH: an answer waits for the disk.
    sync_flush: bool,
    stopped: Option<Arc<str>>,
}

impl ClassicLocalStore {
    pub fn new(writer: ClassicWriter, machine: Machine, saver: Box<dyn TableSaver>, sync_flush: bool) -> Self {
        ClassicLocalStore { writer: Some(writer), machine, saver, sync_flush, stopped: None }
    }

    /// Appends the messages of all batches; `Err` stops the store for good.
    fn append(
        &mut self,
        batches: &mut [Vec<EncodedMessages>],
        results: &mut Vec<Result<Vec<Appended>, ReplicateError>>,
    ) -> Result<(), String> {
        let Some(writer) = &mut self.writer else { return Err("the store is closed".to_owned()) };
        let mut any = false;
        for messages in batches.iter_mut() {
            let mut appended = Vec::with_capacity(messages.len());
            match writer.append(messages, &mut appended) {
                Ok(()) => results.push(Ok(appended)),
                Err(error @ AppendError::MessageTooLarge { .. }) => {
                    results.push(Err(ReplicateError::Illegal(error.to_string())));
                    messages.clear();
                }
                Err(error) => return Err(with_causes(&error)),
            }
            any |= !messages.is_empty();
        }
        if self.sync_flush && any {
            writer.flush().map_err(|error| with_causes(&error))?;
        }
        Ok(())
    }

    fn stop(&mut self, why: String, count: usize) -> Vec<Result<Replicated, ReplicateError>> {
        tracing::error!(why, "the store has failed, the broker takes no more writes");
        let why: Arc<str> = why.into();
        self.stopped = Some(why.clone());
        // What was under way may be on disk or not.
        (0..count).map(|_| Err(ReplicateError::Unknown(why.to_string()))).collect()
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

impl LocalStore for ClassicLocalStore {
    fn commit(&mut self, batches: Vec<Batch>) -> Vec<Result<Replicated, ReplicateError>> {
        let count = batches.len();
        if let Some(why) = &self.stopped {
            return (0..count).map(|_| Err(ReplicateError::Stopped(why.to_string()))).collect();
        }
        let mut commands = Vec::with_capacity(count);
        let mut messages = Vec::with_capacity(count);
        for batch in batches {
            let (mut of_batch, mut messages_of_batch) = (Vec::new(), Vec::with_capacity(batch.records.len()));
            for record in batch.records {
                match record {
                    ProposalRecord::Command(command) => of_batch.push(command),
                    ProposalRecord::Messages(encoded) => messages_of_batch.push(encoded),
                }
            }
            commands.push(of_batch);
            messages.push(messages_of_batch);
        }
        let mut appended = Vec::with_capacity(count);
        if let Err(why) = self.append(&mut messages, &mut appended) {
            return self.stop(why, count);
        }
        for ((commands, messages), appended) in commands.into_iter().zip(&messages).zip(&appended) {
            for command in commands {
                if let Err(error) = self.machine.apply_command_record(&command) {
                    return self.stop(with_causes(&error), count);
                }
            }
            let Ok(appended) = appended else { continue };
            for (encoded, place) in messages.iter().zip(appended) {
                if let Err(error) = apply_messages(&mut self.machine, place, encoded) {
                    return self.stop(error, count);
                }
            }
        }
        self.machine.apply_done();
        self.saver.changed(&mut self.machine);
        appended.into_iter().map(|result| result.map(|appended| Replicated { appended })).collect()
    }

    fn close(&mut self) {
        self.saver.close(&mut self.machine);
        self.machine.close();
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.close()
        {
            tracing::error!(%error, "the store did not close cleanly, the next start recovers it");
        }
    }
}

/// Dispatches what was just appended, from memory.
fn apply_messages(machine: &mut Machine, place: &Appended, encoded: &EncodedMessages) -> Result<(), String> {
    let at: PhysicalOffset = place.first;
    machine.apply(None, at, &encoded.bytes).map_err(|error| with_causes(&error))
}
