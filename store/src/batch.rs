//! What is appended, what comes back, and the table that numbers messages within their queues.

use std::collections::HashMap;
use std::sync::Arc;

use raftmq_model::offset::{PhysicalOffset, QueueOffset};

/// One or more encoded message records (a client batch), contiguous, all for one queue. They are stored all or
/// none, in one segment.
#[derive(Clone, Debug)]
pub struct EncodedMessages {
    pub topic: Arc<str>,
    pub queue_id: i32,
    /// Number of records in `bytes`.
    pub count: u32,
    /// Records as `message_codec::encode` makes them. The append fills queue offset, physical offset and store
    /// time in place.
    pub bytes: Vec<u8>,
}

/// Where one [`EncodedMessages`] landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of the first record.
    pub first: PhysicalOffset,
    /// Of the second record and on; empty for a single message.
    pub rest: Vec<PhysicalOffset>,
    /// Of the first record; the others follow by one each.
    pub queue_offset: QueueOffset,
    /// Milliseconds since the Unix epoch, never smaller than any before it in the log.
    pub store_timestamp: i64,
}

/// One record of a Raft entry before it is appended.
#[derive(Clone, Debug)]
pub enum ProposalRecord {
    Messages(EncodedMessages),
    /// A whole command record (`model::command_record`).
    Command(Vec<u8>),
}

impl ProposalRecord {
    pub fn bytes(&self) -> &[u8] {
        match self {
            ProposalRecord::Messages(messages) => &messages.bytes,
            ProposalRecord::Command(bytes) => bytes,
        }
    }

    pub(crate) fn count(&self) -> u32 {
        match self {
            ProposalRecord::Messages(messages) => messages.count,
            ProposalRecord::Command(_) => 1,
        }
    }
}

/// The next offset of each queue, known to the append alone (RocketMQ's `topicQueueTable`). A missing entry is
/// loaded from the consume queue.
#[doc(alias = "topicQueueTable")]
#[derive(Default)]
pub struct QueueOffsets {
    /// Looked up by `&str`, so a message costs no allocation.
    topics: HashMap<Arc<str>, HashMap<i32, u64>>,
}

impl QueueOffsets {
    /// The cell of one queue; `load` gives its first value.
    pub fn next(&mut self, topic: &Arc<str>, queue_id: i32, load: impl FnOnce() -> u64) -> &mut u64 {
        // Two look-ups for a known topic: the borrow checker does not yet let one `get_mut` return early.
        if !self.topics.contains_key(topic) {
            self.topics.insert(Arc::clone(topic), HashMap::new());
        }
        let queues = self.topics.entry(Arc::clone(topic)).or_default();
        queues.entry(queue_id).or_insert_with(load)
    }

    pub fn clear(&mut self) {
        self.topics.clear();
    }
}
