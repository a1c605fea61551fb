//! Classic mode's side of [`LocalStore`]: RocketMQ's commitlog and RocketMQ's JSON files.

use raftmq_model::offset::PhysicalOffset;
use raftmq_store::{AppendError, Appended, ClassicWriter, EncodedMessages, ProposalRecord};
use tokio::sync::watch;

use super::{Batch, LocalStore, ReplicateError, Replicated};
use crate::broker::with_causes;
use crate::state_machine::Machine;

/// Told which tables commands have changed, after each commit.
pub trait TableSaver: Send + 'static {
    /// Saves what has changed. After an error nobody is told that his command was
    /// carried out: it counts here, but a restart forgets it.
    fn changed(&mut self, machine: &mut Machine) -> Result<(), String>;
    /// Writes everything that waits.
    fn close(&mut self, machine: &mut Machine);
}

pub struct ClassicLocalStore {
    writer: Option<ClassicWriter>,
    machine: Machine,
    saver: Box<dyn TableSaver>,
    /// SYNC_FLUSH: an answer waits for the disk.
    sync_flush: bool,
    /// The line to end with, once the store has failed.
    stopped: watch::Sender<Option<String>>,
}

impl ClassicLocalStore {
    /// `stopped` is told when the store has failed and the broker must end.
    pub fn new(
        writer: ClassicWriter,
        machine: Machine,
        saver: Box<dyn TableSaver>,
        sync_flush: bool,
        stopped: watch::Sender<Option<String>>,
    ) -> Self {
        ClassicLocalStore { writer: Some(writer), machine, saver, sync_flush, stopped }
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
                // The store goes on when there is space again.
                Err(error @ AppendError::NoSpace { .. }) => {
                    tracing::warn!(error = with_causes(&error), "the disk is full, messages are refused");
                    results.push(Err(ReplicateError::NotAppended(with_causes(&error))));
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
        // What was under way may be on disk or not.
        let results = (0..count).map(|_| Err(ReplicateError::Unknown(why.clone()))).collect();
        self.stopped.send_replace(Some(format!("the store has failed: {why}")));
        results
    }
}

impl LocalStore for ClassicLocalStore {
    fn commit(&mut self, batches: Vec<Batch>) -> Vec<Result<Replicated, ReplicateError>> {
        let count = batches.len();
        if let Some(why) = self.stopped.borrow().as_ref() {
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
        let has_commands: Vec<bool> = commands.iter().map(|commands| !commands.is_empty()).collect();
        for ((commands, messages), appended) in commands.into_iter().zip(&messages).zip(&appended) {
            // What may be proposed again must not have been applied in part.
            if matches!(appended, Err(ReplicateError::NotAppended(_))) {
                continue;
            }
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
        if let Err(why) = self.saver.changed(&mut self.machine) {
            for (result, _) in appended.iter_mut().zip(has_commands).filter(|(_, has_commands)| *has_commands) {
                *result = result.as_ref().map_err(Clone::clone).and(Err(ReplicateError::Unknown(why.clone())));
            }
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use raftmq_model::topic::TopicConfig;
    use raftmq_sim::SimMachine;
    use raftmq_sim::disk::{Faults, Kind};
    use raftmq_store::{ClassicStore, FlushMode, StoreConfig};

    use super::*;
    use crate::pull_hold::Arrival;
    use crate::state_machine::{ApplySink, Command, Tables};

    struct Nobody;

    impl ApplySink for Nobody {
        fn has_waiters(&self) -> bool {
            false
        }

        fn arrived(&mut self, _: &[Arrival]) {}

        fn topics_changed(&mut self, _: &[Arc<str>]) {}
    }

    impl TableSaver for Nobody {
        fn changed(&mut self, _: &mut Machine) -> Result<(), String> {
            Ok(())
        }

        fn close(&mut self, _: &mut Machine) {}
    }

    fn put_topic(name: &str) -> ProposalRecord {
        let config = TopicConfig::new(name, 4, 6);
        ProposalRecord::Command(Command::PutTopic { config, from_auto_create: false, at_unix_ms: 1 }.to_record())
    }

    fn message(body: &[u8]) -> ProposalRecord {
        let mut bytes = Vec::new();
        let message = raftmq_model::message::Message {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: ([10, 0, 0, 9], 5000).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: b"",
        };
        raftmq_model::message_codec::encode(&message, usize::MAX, &mut bytes).unwrap();
        ProposalRecord::Messages(EncodedMessages { topic: "T".into(), queue_id: 0, count: 1, bytes })
    }

    fn batch(records: Vec<ProposalRecord>) -> Batch {
        Batch { epoch: 0, bytes: 0, records }
    }

    #[test]
    fn a_full_disk_refuses_messages_until_there_is_space() {
        let machine = SimMachine::new(1);
        machine.make_directory(Path::new("/store")).unwrap();
        let config = StoreConfig {
            segment_bytes: 72 << 10,
            max_message_bytes: 4 << 10,
            flush: FlushMode::Sync,
            ..StoreConfig::new("/store")
        };
        let store = ClassicStore::open(config, machine.seams()).unwrap();
        let tables = Tables::default();
        let applied = Machine::without_store(tables.clone(), store.queues.clone(), Box::new(Nobody));
        let mut local = ClassicLocalStore::new(store.writer, applied, Box::new(Nobody), true, watch::Sender::new(None));
        let used = machine.disk.files().values().map(|bytes| bytes.len() as u64).sum::<u64>();
        machine.disk.set_faults(Faults { capacity_bytes: Some(used + (16 << 10)), ..Faults::default() });
        let body = vec![7; 4 << 10];
        let stored = (0..).take_while(|_| local.commit(vec![batch(vec![message(&body)])])[0].is_ok()).count();
        assert!((10..30).contains(&stored), "{stored} found a place");
        for _ in 0..2 {
            let batches = vec![batch(vec![put_topic("New"), message(&body)]), batch(vec![put_topic("Other")])];
            let results = local.commit(batches);
            assert!(matches!(results[0], Err(ReplicateError::NotAppended(_))));
            assert!(!tables.topics.contains("New"), "a refused batch is applied in no part");
            assert!(results[1].is_ok() && tables.topics.contains("Other"), "commands need no place in the log");
        }
        machine.disk.set_faults(Faults::default());
        let result = local.commit(vec![batch(vec![put_topic("New"), message(&body)])]).remove(0);
        assert_eq!(result.unwrap().appended[0].queue_offset.0, stored as u64);
        assert!(tables.topics.contains("New"));
        local.close();
    }

    /// A place for the tables that is full.
    struct Full;

    impl TableSaver for Full {
        fn changed(&mut self, _: &mut Machine) -> Result<(), String> {
            Err("no space".to_owned())
        }

        fn close(&mut self, _: &mut Machine) {}
    }

    fn open(
        machine: &SimMachine,
        saver: Box<dyn TableSaver>,
        stop: watch::Sender<Option<String>>,
    ) -> ClassicLocalStore {
        machine.make_directory(Path::new("/store")).unwrap();
        let config = StoreConfig {
            flush: FlushMode::Sync,
            segment_bytes: 1 << 20,
            max_message_bytes: 4 << 10,
            ..StoreConfig::new("/store")
        };
        let store = ClassicStore::open(config, machine.seams()).unwrap();
        let applied = Machine::without_store(Tables::default(), store.queues.clone(), Box::new(Nobody));
        ClassicLocalStore::new(store.writer, applied, saver, true, stop)
    }

    #[test]
    fn a_command_that_is_not_saved_is_not_acknowledged() {
        let machine = SimMachine::new(1);
        let mut local = open(&machine, Box::new(Full), watch::Sender::new(None));
        let results = local.commit(vec![batch(vec![message(b"m")]), batch(vec![put_topic("New")])]);
        assert!(results[0].is_ok());
        assert!(matches!(&results[1], Err(ReplicateError::Unknown(why)) if why == "no space"));
    }

    #[test]
    fn a_store_that_has_failed_says_how_to_end() {
        let machine = SimMachine::new(1);
        let (stop, stopped) = watch::channel(None);
        let mut local = open(&machine, Box::new(Nobody), stop);
        assert!(local.commit(vec![batch(vec![message(b"m")])])[0].is_ok());
        let next = machine.disk.count(Kind::SyncData);
        machine.disk.set_faults(Faults { failing_sync: Some(next), ..Faults::default() });
        assert!(matches!(local.commit(vec![batch(vec![message(b"m")])])[0], Err(ReplicateError::Unknown(_))));
        assert!(stopped.borrow().as_ref().is_some_and(|line| line.starts_with("the store has failed: flush ")));
        assert!(matches!(local.commit(vec![batch(vec![message(b"m")])])[0], Err(ReplicateError::Stopped(_))));
    }
}
