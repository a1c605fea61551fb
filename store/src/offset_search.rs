//! Reading whole messages by position, and finding offsets by store time.

use bytes::Bytes;
use raftmq_model::message_codec::{self, StoredMessage};
use raftmq_model::offset::{PhysicalOffset, QueueOffset};

use crate::commit_log::CommitLog;
use crate::consume_queue::{ConsumeQueue, Unit};
use crate::error::ReadError;
use crate::records::size_and_magic;

/// The message record that begins at `at` (RocketMQ's `lookMessageByOffset`). Decoded once to be sure of it; the
/// body CRC is not checked.
#[doc(alias = "lookMessageByOffset")]
pub fn read_message(log: &CommitLog, at: PhysicalOffset) -> Result<Bytes, ReadError> {
    let (size, _) = size_and_magic(&log.slice(at, 8)?).unwrap_or_default();
    let record = log.slice(at, size)?;
    decode(at, &record)?;
    Ok(record)
}

fn decode(at: PhysicalOffset, record: &[u8]) -> Result<StoredMessage<'_>, ReadError> {
    let message = message_codec::decode(record).map_err(|error| ReadError::Damaged { at, what: error.to_string() })?;
    if message.physical_offset != at {
        let what = format!("the record says it lies at {}", message.physical_offset);
        return Err(ReadError::Damaged { at, what });
    }
    Ok(message)
}

/// Store time in milliseconds of the message of one unit; `None` if the queue has no such offset.
fn store_time(log: &CommitLog, queue: &ConsumeQueue, offset: QueueOffset) -> Result<Option<i64>, ReadError> {
    let mut units: Vec<Unit> = Vec::with_capacity(1);
    queue.read(offset, 1, &mut units)?;
    let Some(unit) = units.first() else { return Ok(None) };
    let record = log.slice(unit.physical_offset, unit.size_bytes)?;
    Ok(Some(decode(unit.physical_offset, &record)?.store_timestamp))
}

/// Store time of the first message that the queue still has; `None` if it has none (RocketMQ answers −1).
#[doc(alias = "getEarliestMessageTime")]
pub fn earliest_store_time(log: &CommitLog, queue: &ConsumeQueue) -> Result<Option<i64>, ReadError> {
    store_time(log, queue, queue.min_offset())
}

/// The offset whose store time is nearest to `timestamp` (request 29 as RocketMQ 4.9 answers it): the exact one if
/// there is one, else the nearer neighbour, the earlier of two equally near. A time before the first message gives
/// the first, one after the last gives the last. An empty queue gives 0.
///
/// Among several messages of exactly that time the first one counts.
#[doc(alias = "getOffsetInQueueByTime")]
pub fn offset_by_time(log: &CommitLog, queue: &ConsumeQueue, timestamp: i64) -> Result<QueueOffset, ReadError> {
    let (min, max) = (queue.min_offset().0, queue.max_offset().0);
    if min >= max {
        return Ok(QueueOffset(0));
    }
    let time = |offset: u64| store_time(log, queue, QueueOffset(offset)).map(|time| time.unwrap_or(i64::MAX));
    let (mut low, mut high) = (min, max);
    while low < high {
        let middle = low + (high - low) / 2;
        if time(middle)? < timestamp { low = middle + 1 } else { high = middle }
    }
    // `low` is the first one at or after the time.
    if low == min {
        return Ok(QueueOffset(min));
    }
    if low == max {
        return Ok(QueueOffset(max - 1));
    }
    let (before, after) = (time(low - 1)?, time(low)?);
    let before_is_nearer = after != timestamp && timestamp - before <= after - timestamp;
    Ok(QueueOffset(if before_is_nearer { low - 1 } else { low }))
}
