//! Consume queues as the log says they must be.

use std::collections::BTreeMap;

use raftmq_model::message_codec::StoredMessage;
use raftmq_model::offset::QueueOffset;
use raftmq_store::ConsumeQueues;

/// Consume-queue units that follow from messages: position, size, tags code, by queue.
type Queues = BTreeMap<(String, i32), Vec<(u64, u32, i64)>>;

/// The units that these messages, in log order, must have; queue offsets must be dense from 0.
pub(crate) fn queues_of<'a>(messages: impl Iterator<Item = StoredMessage<'a>>) -> Result<Queues, String> {
    let mut queues = Queues::new();
    for message in messages {
        let units = queues.entry((message.topic.to_owned(), message.queue_id)).or_default();
        if message.queue_offset != QueueOffset(units.len() as u64) {
            let (topic, queue) = (message.topic, message.queue_id);
            return Err(format!("{topic}-{queue}: queue offset {} at {}", message.queue_offset, units.len()));
        }
        units.push((message.physical_offset.0, message.size_bytes, message.tags_code()));
    }
    Ok(queues)
}

/// Compares consume queues with what the log says.
pub(crate) fn check_queues(expected: &Queues, queues: &ConsumeQueues) -> Result<(), String> {
    for ((topic, queue_id), units) in expected {
        let queue = queues.queue(topic, *queue_id).ok_or_else(|| format!("no queue {topic}-{queue_id}"))?;
        let (min, max) = (queue.min_offset().0, queue.max_offset().0);
        if (min, max) != (0, units.len() as u64) {
            return Err(format!("queue {topic}-{queue_id} is {min}..{max}, the log has {} messages", units.len()));
        }
        let mut found = Vec::new();
        queue.read(QueueOffset(0), units.len(), &mut found).map_err(|error| error.to_string())?;
        let found: Vec<_> =
            found.iter().map(|unit| (unit.physical_offset.0, unit.size_bytes, unit.tags_code)).collect();
        if found != *units {
            return Err(format!("queue {topic}-{queue_id} differs: {found:?}, the log says {units:?}"));
        }
    }
    Ok(())
}
