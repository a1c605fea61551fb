//! The stored message record: RocketMQ's layout V1, byte for byte (docs/on-disk-format.md, "Message record").

use std::net::SocketAddr;

use crate::message::Message;
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::{hosts, properties, sys_flag, topic};

pub const MAGIC: u32 = 0xDAA3_20A7;
/// 5.x, topics longer than 127 bytes; never written here.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Closes a segment: `i32 bytes left, i32 magic`.
pub const BLANK_MAGIC: u32 = 0xCBD4_3194;
pub const BLANK_BYTES: usize = 8;
/// What a record has beyond body, topic and properties, with IPv4 hosts.
pub const OVERHEAD_V4_BYTES: usize = 91;

const QUEUE_ID_AT: usize = 12;
const QUEUE_OFFSET_AT: usize = 20;
const PHYSICAL_OFFSET_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const BORN_HOST_AT: usize = 48;

/// Why a message cannot be stored; RocketMQ answers MESSAGE_ILLEGAL (13).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("message body of {size_bytes} bytes exceeds maxMessageSize {limit_bytes}")]
    BodyTooLarge { size_bytes: usize, limit_bytes: usize },
    #[error("message topic length {size_bytes} exceeds {limit_bytes}", limit_bytes = topic::MAX_LENGTH)]
    TopicTooLong { size_bytes: usize },
    #[error("message properties of {size_bytes} bytes exceed {limit_bytes}", limit_bytes = properties::MAX_LENGTH_BYTES)]
    PropertiesTooLong { size_bytes: usize },
}

/// CRC-32 of a body with the top bit off, as RocketMQ stores it.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// Appends the record of `message` to `out`, with queue offset, physical offset and store time zero until
/// [`patch`] fills them.
pub fn encode(message: &Message<'_>, max_body_bytes: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if message.body.len() > max_body_bytes {
        return Err(EncodeError::BodyTooLarge { size_bytes: message.body.len(), limit_bytes: max_body_bytes });
    }
    if message.topic.len() > topic::MAX_LENGTH {
        return Err(EncodeError::TopicTooLong { size_bytes: message.topic.len() });
    }
    if message.properties.len() > properties::MAX_LENGTH_BYTES {
        return Err(EncodeError::PropertiesTooLong { size_bytes: message.properties.len() });
    }
    let (born_host, store_host) = (hosts::canonical(message.born_host), hosts::canonical(message.store_host));
    let mut flags = message.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    if born_host.is_ipv6() {
        flags |= sys_flag::BORN_HOST_V6;
    }
    if store_host.is_ipv6() {
        flags |= sys_flag::STORE_HOST_V6;
    }
    let size = OVERHEAD_V4_BYTES - 16
        + hosts::encoded_len(born_host.is_ipv6())
        + hosts::encoded_len(store_host.is_ipv6())
        + message.body.len()
        + message.topic.len()
        + message.properties.len();
    out.reserve(size);
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.extend_from_slice(&body_crc(message.body).to_be_bytes());
    out.extend_from_slice(&message.queue_id.to_be_bytes());
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&message.born_timestamp.to_be_bytes());
    hosts::encode(born_host, out);
    out.extend_from_slice(&[0; 8]);
    hosts::encode(store_host, out);
    out.extend_from_slice(&message.reconsume_times.to_be_bytes());
    out.extend_from_slice(&message.prepared_transaction_offset.to_be_bytes());
    out.extend_from_slice(&(message.body.len() as u32).to_be_bytes());
    out.extend_from_slice(message.body);
    out.push(message.topic.len() as u8);
    out.extend_from_slice(message.topic.as_bytes());
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(message.properties);
    Ok(())
}

/// Fills what only the append knows into a record made by [`encode`].
pub fn patch(record: &mut [u8], queue_offset: QueueOffset, physical_offset: PhysicalOffset, store_timestamp: i64) {
    record[QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8].copy_from_slice(&queue_offset.0.to_be_bytes());
    record[PHYSICAL_OFFSET_AT..PHYSICAL_OFFSET_AT + 8].copy_from_slice(&physical_offset.0.to_be_bytes());
    let flags = i32::from_be_bytes([
        record[SYS_FLAG_AT],
        record[SYS_FLAG_AT + 1],
        record[SYS_FLAG_AT + 2],
        record[SYS_FLAG_AT + 3],
    ]);
    let at = BORN_HOST_AT + hosts::encoded_len(flags & sys_flag::BORN_HOST_V6 != 0);
    record[at..at + 8].copy_from_slice(&store_timestamp.to_be_bytes());
}

/// A stored message record, borrowed. Made only by [`decode`], which has checked every length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    pub body_crc: u32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: QueueOffset,
    pub physical_offset: PhysicalOffset,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: &'a [u8],
    pub store_timestamp: i64,
    pub store_host: &'a [u8],
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a str,
    pub properties: &'a [u8],
    /// Whole record, size field included.
    pub size_bytes: u32,
}

impl<'a> StoredMessage<'a> {
    /// Whether body and stored CRC agree.
    pub fn crc_matches(&self) -> bool {
        body_crc(self.body) == self.body_crc
    }

    /// What the consume queue stores about the tags.
    pub fn tags_code(&self) -> i64 {
        crate::tags::tags_code(properties::get_str(self.properties, properties::TAGS))
    }

    pub fn born_host(&self) -> Option<SocketAddr> {
        hosts::decode(self.born_host)
    }

    pub fn store_host(&self) -> Option<SocketAddr> {
        hosts::decode(self.store_host)
    }
}

/// Why bytes are not a message record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("record of {have_bytes} bytes ends before its field {field}")]
    Short { field: &'static str, have_bytes: usize },
    #[error("record says {size} bytes, its fields take {fields}")]
    SizeMismatch { size: u32, fields: usize },
    #[error("magic {0:#010x} is not a message's")]
    Magic(u32),
    #[error("topic is not UTF-8")]
    Topic,
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(DecodeError::Short { field, have_bytes: self.bytes.len() })?;
        self.at += length;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(field, N)?);
        Ok(number)
    }
}

/// Decodes one whole record (as [`encode`] made it, or RocketMQ). The body CRC is not checked here, see
/// [`StoredMessage::crc_matches`]. V2 records (two-byte topic length) are read too.
pub fn decode(record: &[u8]) -> Result<StoredMessage<'_>, DecodeError> {
    let mut fields = Fields { bytes: record, at: 0 };
    let size = u32::from_be_bytes(fields.number("totalSize")?);
    let magic = u32::from_be_bytes(fields.number("magic")?);
    if magic != MAGIC && magic != MAGIC_V2 {
        return Err(DecodeError::Magic(magic));
    }
    let body_crc = u32::from_be_bytes(fields.number("bodyCRC")?);
    debug_assert_eq!(fields.at, QUEUE_ID_AT);
    let queue_id = i32::from_be_bytes(fields.number("queueId")?);
    let flag = i32::from_be_bytes(fields.number("flag")?);
    let queue_offset = QueueOffset(u64::from_be_bytes(fields.number("queueOffset")?));
    let physical_offset = PhysicalOffset(u64::from_be_bytes(fields.number("physicalOffset")?));
    let flags = i32::from_be_bytes(fields.number("sysFlag")?);
    let born_timestamp = i64::from_be_bytes(fields.number("bornTimestamp")?);
    let born_host = fields.take("bornHost", hosts::encoded_len(flags & sys_flag::BORN_HOST_V6 != 0))?;
    let store_timestamp = i64::from_be_bytes(fields.number("storeTimestamp")?);
    let store_host = fields.take("storeHost", hosts::encoded_len(flags & sys_flag::STORE_HOST_V6 != 0))?;
    let reconsume_times = i32::from_be_bytes(fields.number("reconsumeTimes")?);
    let prepared_transaction_offset = i64::from_be_bytes(fields.number("preparedTransactionOffset")?);
    let body_length = u32::from_be_bytes(fields.number("bodyLength")?);
    let body = fields.take("body", body_length as usize)?;
    let topic_length = match magic {
        MAGIC_V2 => usize::from(u16::from_be_bytes(fields.number("topicLength")?)),
        _ => usize::from(fields.number::<1>("topicLength")?[0]),
    };
    let topic = fields.take("topic", topic_length)?;
    let topic = std::str::from_utf8(topic).map_err(|_| DecodeError::Topic)?;
    let properties_length = u16::from_be_bytes(fields.number("propertiesLength")?);
    let properties = fields.take("properties", usize::from(properties_length))?;
    if fields.at != size as usize || fields.at != record.len() {
        return Err(DecodeError::SizeMismatch { size, fields: fields.at });
    }
    Ok(StoredMessage {
        body_crc,
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag: flags,
        born_timestamp,
        born_host,
        store_timestamp,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic,
        properties,
        size_bytes: size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(store_host: &str) -> Message<'a> {
        Message {
            topic: "TopicTest",
            queue_id: 3,
            flag: 7,
            sys_flag: sys_flag::COMPRESSED,
            born_timestamp: 1_700_000_000_000,
            born_host: "10.0.0.9:5000".parse().unwrap(),
            store_host: store_host.parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body: b"hello",
            properties: b"TAGS\x01TagA",
        }
    }

    #[test]
    fn a_record_decodes_to_what_was_encoded() {
        for (store_host, size) in [("127.0.0.1:10911", 91 + 5 + 9 + 9), ("[::1]:10911", 91 + 12 + 5 + 9 + 9)] {
            let mut record = Vec::new();
            encode(&message(store_host), 100, &mut record).unwrap();
            patch(&mut record, QueueOffset(11), PhysicalOffset(22), 33);
            assert_eq!(record.len(), size);
            let stored = decode(&record).unwrap();
            assert_eq!((stored.queue_offset, stored.physical_offset), (QueueOffset(11), PhysicalOffset(22)));
            assert_eq!((stored.store_timestamp, stored.topic, stored.body), (33, "TopicTest", &b"hello"[..]));
            assert_eq!(stored.store_host(), Some(store_host.parse().unwrap()));
            assert_eq!(stored.tags_code(), 2_598_919);
            assert!(stored.crc_matches());
        }
    }

    /// The layout of docs/on-disk-format.md, byte by byte.
    #[test]
    fn golden_bytes() {
        let mut record = Vec::new();
        let mut tiny = message("127.0.0.1:10911");
        (tiny.topic, tiny.body, tiny.properties) = ("T", b"hello", b"");
        encode(&tiny, 100, &mut record).unwrap();
        patch(&mut record, QueueOffset(1), PhysicalOffset(2), 3);
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "00000061daa320a73610a68600000003000000070000000000000001000000000000000200000001\
             0000018bcfe568000a0000090000138800000000000000037f00000100002a9f0000000200000000\
             000000000000000568656c6c6f01540000"
                .replace(' ', "")
        );
    }

    #[test]
    fn limits_are_named() {
        let error = encode(&message("127.0.0.1:1"), 4, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "message body of 5 bytes exceeds maxMessageSize 4");
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut record = Vec::new();
        encode(&message("127.0.0.1:1"), 100, &mut record).unwrap();
        for length in 0..record.len() {
            assert!(decode(&record[..length]).is_err(), "{length}");
        }
    }
}
