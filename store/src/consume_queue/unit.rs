use raftmq_model::message_codec::StoredMessage;
use raftmq_model::offset::PhysicalOffset;
use raftmq_model::properties;

pub(crate) const UNIT_BYTES: usize = 20;
/// A queue's files are named by byte positions that RocketMQ keeps in an `i64`.
pub(crate) const QUEUE_OFFSET_LIMIT: u64 = i64::MAX as u64 / UNIT_BYTES as u64;
/// Size field of the units before the first one of a queue that begins within a file.
const FILL_SIZE: u32 = 0x7FFF_FFFF;
/// RocketMQ's topic of delayed messages; its units carry the delivery time in place of a tag code.
const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// RocketMQ's default `messageDelayLevel`, in seconds.
const DELAY_LEVELS_S: [i64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

/// One entry of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub physical_offset: PhysicalOffset,
    /// Of the whole record.
    pub size_bytes: u32,
    /// Java's hash of the tags; the delivery time for delayed messages.
    pub tags_code: i64,
}

impl Unit {
    pub(crate) const FILL: Unit = Unit { physical_offset: PhysicalOffset(0), size_bytes: FILL_SIZE, tags_code: 0 };

    pub(crate) fn of(message: &StoredMessage<'_>) -> Unit {
        Unit {
            physical_offset: message.physical_offset,
            size_bytes: message.size_bytes,
            tags_code: if message.topic == SCHEDULE_TOPIC { delivery_time(message) } else { message.tags_code() },
        }
    }

    pub(crate) fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size_bytes.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// `None` for bytes that were never written: RocketMQ's test is `offset ≥ 0 && size > 0`.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Unit> {
        let bytes: &[u8; UNIT_BYTES] = bytes.get(..UNIT_BYTES)?.try_into().ok()?;
        let offset = u64::from_be_bytes(bytes[..8].try_into().ok()?);
        let size_bytes = u32::from_be_bytes(bytes[8..12].try_into().ok()?);
        let tags_code = i64::from_be_bytes(bytes[12..].try_into().ok()?);
        let valid = offset <= i64::MAX as u64 && size_bytes > 0 && size_bytes <= i32::MAX as u32;
        valid.then_some(Unit { physical_offset: PhysicalOffset(offset), size_bytes, tags_code })
    }

    pub(crate) fn is_fill(&self) -> bool {
        *self == Unit::FILL
    }

    /// Behind the message.
    pub(crate) fn end(&self) -> u64 {
        self.physical_offset.0 + u64::from(self.size_bytes)
    }
}

/// RocketMQ `CommitLog.checkMessageAndReturnSize`: with a delay level, the store time plus its delay.
fn delivery_time(message: &StoredMessage<'_>) -> i64 {
    let level =
        properties::get_str(message.properties, properties::DELAY).and_then(|level| level.parse::<usize>().ok());
    match level {
        Some(level) if level > 0 => {
            message.store_timestamp + DELAY_LEVELS_S[level.min(DELAY_LEVELS_S.len()) - 1] * 1000
        }
        _ => message.tags_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let unit = Unit { physical_offset: PhysicalOffset(0x0102), size_bytes: 0x0304, tags_code: -2 };
        let mut expected = [0u8; 20];
        expected[6..8].copy_from_slice(&[1, 2]);
        expected[10..12].copy_from_slice(&[3, 4]);
        expected[12..].copy_from_slice(&[255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(unit.encode(), expected);
        assert_eq!(Unit::decode(&expected), Some(unit));
        assert_eq!(Unit::decode(&[0; 20]), None);
        assert_eq!(Unit::FILL.encode()[8..12], [0x7F, 0xFF, 0xFF, 0xFF]);
    }
}
