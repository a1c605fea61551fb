use std::sync::{Arc, Mutex, PoisonError};

use raftmq_model::command_record::CommandRecord;
use raftmq_model::message::Message;
use raftmq_model::message_codec;
use raftmq_raft::{AppliedEntry, Proposal, StateMachine};
use raftmq_store::{ConsumeQueues, EncodedMessages, FrameId, LogRecord, ProposalRecord, records};

pub(crate) const TOPIC: &str = "numbers";
const NUMBER: u16 = 1;

/// The numbers that commands brought, in log order; in memory, so that every start needs snapshot or log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) applied: Option<FrameId>,
    pub(crate) numbers: Vec<u64>,
}

/// What a test sees of them.
pub(crate) type SharedTables = Arc<Mutex<Tables>>;

pub(crate) struct ToyMachine {
    pub(crate) tables: SharedTables,
    pub(crate) queues: Arc<ConsumeQueues>,
}

impl StateMachine for ToyMachine {
    fn applied(&self) -> Option<FrameId> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).applied
    }

    fn apply(&mut self, entry: &AppliedEntry<'_>) -> Result<(), String> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.applied.is_some_and(|applied| entry.id.index <= applied.index);
        for record in records(&entry.frame.body()) {
            match record.map_err(|error| error.to_string())? {
                (_, LogRecord::Message(message)) => {
                    self.queues.dispatch(&message).map_err(|error| error.to_string())?;
                }
                (_, LogRecord::Command(command)) if command.kind != NUMBER => {
                    return Err(format!("unknown command {}", command.kind));
                }
                (_, LogRecord::Command(command)) if !known => tables.numbers.push(number(command.body)?),
                (_, LogRecord::Command(_)) => {}
            }
        }
        if !known {
            tables.applied = Some(entry.id);
        }
        Ok(())
    }

    fn apply_done(&mut self) {}

    fn snapshot(&mut self) -> Result<Vec<u8>, String> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.numbers.iter().flat_map(|number| number.to_be_bytes()).collect())
    }

    fn install(&mut self, applied: FrameId, snapshot: &[u8]) -> Result<(), String> {
        let numbers = snapshot.chunks(8).map(number).collect::<Result<_, _>>()?;
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = Tables { applied: Some(applied), numbers };
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Result<u64, String> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| format!("a number of {} bytes", bytes.len()))
}

/// One command and one message per number.
pub(crate) fn proposal(numbers: impl IntoIterator<Item = u64>) -> Proposal {
    let mut proposal = Proposal::default();
    for number in numbers {
        let body = number.to_be_bytes();
        let mut command = Vec::new();
        CommandRecord { kind: NUMBER, version: 1, body: &body }.encode(&mut command);
        proposal.records.push(ProposalRecord::Command(command));
        let host = "127.0.0.1:1".parse().unwrap();
        let message = Message {
            topic: TOPIC,
            queue_id: (number % 4) as i32,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: b"",
        };
        let mut bytes = Vec::new();
        message_codec::encode(&message, 1 << 10, &mut bytes).unwrap();
        proposal.records.push(ProposalRecord::Messages(EncodedMessages {
            topic: Arc::from(TOPIC),
            queue_id: message.queue_id,
            count: 1,
            bytes,
        }));
    }
    proposal
}

/// A command that no member knows.
pub(crate) fn unknown_command() -> Proposal {
    let mut command = Vec::new();
    CommandRecord { kind: NUMBER + 1, version: 1, body: b"" }.encode(&mut command);
    Proposal { records: vec![ProposalRecord::Command(command)] }
}
