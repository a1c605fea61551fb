//! Messages as producers make them and as consumers get them.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;

use bytes::Bytes;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_model::queue::MessageQueue;
use raftmq_model::{message_codec, message_id, properties, sys_flag};

use crate::error::ClientError;

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub body: Bytes,
    /// User flag, stored as it is.
    pub flag: i32,
    properties: BTreeMap<String, String>,
}

impl Message {
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message {
        Message { topic: topic.into(), body: body.into(), flag: 0, properties: BTreeMap::new() }
    }

    /// The one tag that consumers filter by.
    pub fn with_tag(self, tag: &str) -> Message {
        self.with_property(properties::TAGS, tag)
    }

    /// Keys for queries, separated by blanks.
    pub fn with_keys(self, keys: &str) -> Message {
        self.with_property(properties::KEYS, keys)
    }

    /// An empty value leaves the property out, as the stored form cannot hold it.
    pub fn with_property(mut self, name: &str, value: &str) -> Message {
        if !value.is_empty() {
            self.properties.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The properties text with `unique_key` in it.
    pub(crate) fn properties_text(&self, unique_key: &str) -> Result<String, ClientError> {
        let mut text = Vec::new();
        properties::push(&mut text, properties::UNIQ_KEY, unique_key);
        let given = self.properties.iter().filter(|(name, _)| *name != properties::UNIQ_KEY);
        for (name, value) in given {
            if [name, value].iter().any(|part| part.contains(['\u{1}', '\u{2}'])) {
                return Err(ClientError::Invalid(format!("property {name:?} has a control character 1 or 2 in it")));
            }
            properties::push(&mut text, name, value);
        }
        if text.len() > properties::MAX_LENGTH_BYTES {
            let limit = properties::MAX_LENGTH_BYTES;
            return Err(ClientError::Invalid(format!("properties take {} bytes, the limit is {limit}", text.len())));
        }
        // Made of Strings and the two separators only.
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// A message as a consumer gets it.
#[doc(alias = "MessageExt")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    pub queue: MessageQueue,
    pub queue_offset: QueueOffset,
    pub physical_offset: PhysicalOffset,
    /// As the producer gave it: a body that was compressed with zlib is inflated.
    pub body: Bytes,
    /// CRC-32 of the stored body, checked.
    pub body_crc: u32,
    pub flag: i32,
    pub sys_flag: i32,
    /// Milliseconds since the Unix epoch, by the producer's clock.
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    /// Milliseconds since the Unix epoch, by the clock of the broker that led.
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    /// Size of the stored record.
    pub store_size_bytes: u32,
    pub properties: BTreeMap<String, String>,
}

impl ReceivedMessage {
    /// UNIQ_KEY if the producer set one, else the offset id.
    pub fn id(&self) -> String {
        self.properties.get(properties::UNIQ_KEY).cloned().unwrap_or_else(|| self.offset_id())
    }

    #[doc(alias = "offsetMsgId")]
    pub fn offset_id(&self) -> String {
        message_id::encode(self.store_host, self.physical_offset)
    }

    pub fn tag(&self) -> Option<&str> {
        self.properties.get(properties::TAGS).map(String::as_str)
    }

    pub fn keys(&self) -> Option<&str> {
        self.properties.get(properties::KEYS).map(String::as_str)
    }
}

/// Why the body of a pull answer is not messages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{left_bytes} bytes at {at} of the answer are no message record: {reason}")]
    Record { at: usize, left_bytes: usize, reason: String },
    #[error("body CRC of queue offset {queue_offset} is {found:#x}, the record says {stored:#x}")]
    Crc { queue_offset: QueueOffset, found: u32, stored: u32 },
    #[error("host of queue offset {0} is not an address")]
    Host(QueueOffset),
    #[error("body of queue offset {queue_offset} does not inflate: {reason}")]
    Inflate { queue_offset: QueueOffset, reason: String },
    #[error("body of queue offset {queue_offset} is compressed with type {kind}, only zlib is known")]
    Compression { queue_offset: QueueOffset, kind: i32 },
}

/// Decodes stored records back to back; checks every body CRC.
pub(crate) fn decode_all(broker_name: &str, mut records: Bytes) -> Result<Vec<ReceivedMessage>, DecodeError> {
    let total = records.len();
    let mut messages = Vec::new();
    while !records.is_empty() {
        let broken = |reason: String, left_bytes| DecodeError::Record { at: total - left_bytes, left_bytes, reason };
        let size = records.first_chunk::<4>().map_or(0, |size| u32::from_be_bytes(*size) as usize);
        if size < 4 || size > records.len() {
            return Err(broken(format!("size field says {size}"), records.len()));
        }
        let left_bytes = records.len();
        let record = records.split_to(size);
        let stored = message_codec::decode(&record).map_err(|error| broken(error.to_string(), left_bytes))?;
        messages.push(decode_one(broker_name, &record, &stored)?);
    }
    Ok(messages)
}

fn decode_one(
    broker_name: &str,
    record: &Bytes,
    stored: &message_codec::StoredMessage<'_>,
) -> Result<ReceivedMessage, DecodeError> {
    let queue_offset = stored.queue_offset;
    let found = message_codec::body_crc(stored.body);
    if found != stored.body_crc {
        return Err(DecodeError::Crc { queue_offset, found, stored: stored.body_crc });
    }
    let body = if stored.sys_flag & sys_flag::COMPRESSED != 0 {
        inflate(stored.body, stored.sys_flag, queue_offset)?
    } else {
        record.slice_ref(stored.body)
    };
    let properties = properties::iter(stored.properties)
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()));
    Ok(ReceivedMessage {
        queue: MessageQueue {
            broker_name: broker_name.to_owned(),
            queue_id: stored.queue_id,
            topic: stored.topic.to_owned(),
        },
        queue_offset,
        physical_offset: stored.physical_offset,
        body,
        body_crc: stored.body_crc,
        flag: stored.flag,
        sys_flag: stored.sys_flag,
        born_timestamp: stored.born_timestamp,
        born_host: stored.born_host().ok_or(DecodeError::Host(queue_offset))?,
        store_timestamp: stored.store_timestamp,
        store_host: stored.store_host().ok_or(DecodeError::Host(queue_offset))?,
        reconsume_times: stored.reconsume_times,
        prepared_transaction_offset: stored.prepared_transaction_offset,
        store_size_bytes: stored.size_bytes,
        properties: properties.collect(),
    })
}

/// Compression type in bits 8 to 10 of the flags: 0 (clients that know only zlib) and 3 are zlib.
fn inflate(body: &[u8], flags: i32, queue_offset: QueueOffset) -> Result<Bytes, DecodeError> {
    /// No broker stores a larger body; more is a decompression bomb.
    const INFLATED_LIMIT_BYTES: u64 = 128 << 20;
    let kind = flags >> 8 & 7;
    if !matches!(kind, 0 | 3) {
        return Err(DecodeError::Compression { queue_offset, kind });
    }
    let mut inflated = Vec::new();
    let failed = |reason: String| DecodeError::Inflate { queue_offset, reason };
    flate2::read::ZlibDecoder::new(body)
        .take(INFLATED_LIMIT_BYTES + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| failed(error.to_string()))?;
    if inflated.len() as u64 > INFLATED_LIMIT_BYTES {
        return Err(failed(format!("more than {INFLATED_LIMIT_BYTES} bytes")));
    }
    Ok(inflated.into())
}

/// The body of a batch send: each message with its size, flag, body and properties (docs/wire-protocol.md, "Batch").
pub(crate) fn encode_batch(messages: &[(&Message, String)]) -> Bytes {
    let mut batch = Vec::new();
    for (message, properties) in messages {
        let size = 4 * 5 + message.body.len() + 2 + properties.len();
        batch.extend_from_slice(&(size as u32).to_be_bytes());
        batch.extend_from_slice(&[0; 8]);
        batch.extend_from_slice(&message.flag.to_be_bytes());
        batch.extend_from_slice(&(message.body.len() as u32).to_be_bytes());
        batch.extend_from_slice(&message.body);
        batch.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        batch.extend_from_slice(properties.as_bytes());
    }
    batch.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn record(body: &[u8], flags: i32) -> Vec<u8> {
        let mut record = Vec::new();
        let message = raftmq_model::message::Message {
            topic: "T",
            queue_id: 2,
            flag: 9,
            sys_flag: flags,
            born_timestamp: 1,
            born_host: "127.0.0.1:5000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: b"TAGS\x01TagA\x02UNIQ_KEY\x01id",
        };
        message_codec::encode(&message, 1 << 20, &mut record).unwrap();
        message_codec::patch(&mut record, QueueOffset(5), PhysicalOffset(255), 3);
        record
    }

    #[test]
    fn several_records_decode_in_order() {
        let mut records = record(b"one", 0);
        records.extend(record(b"two", 0));
        let messages = decode_all("broker-a", records.into()).unwrap();
        assert_eq!(messages.iter().map(|message| &message.body[..]).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!((messages[0].tag(), messages[0].id().as_str()), (Some("TagA"), "id"));
        assert_eq!(messages[0].offset_id(), "7F00000100002A9F00000000000000FF");
    }

    #[test]
    fn a_compressed_body_is_inflated() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(5));
        encoder.write_all(&[b'x'; 5000]).unwrap();
        let records = record(&encoder.finish().unwrap(), sys_flag::COMPRESSED);
        assert_eq!(decode_all("a", records.into()).unwrap()[0].body, vec![b'x'; 5000]);
        let error = decode_all("a", record(b"?", sys_flag::COMPRESSED | 1 << 8).into()).unwrap_err();
        assert!(matches!(error, DecodeError::Compression { kind: 1, .. }), "{error}");
    }

    #[test]
    fn damage_is_an_error_wherever_it_is() {
        let good = record(b"hello", 0);
        for length in 1..good.len() {
            assert!(decode_all("a", Bytes::copy_from_slice(&good[..length])).is_err(), "{length}");
        }
        let mut flipped = good;
        flipped[88] ^= 1;
        assert!(matches!(decode_all("a", flipped.into()), Err(DecodeError::Crc { .. })));
    }

    #[test]
    fn a_batch_has_rocketmqs_layout() {
        let message = Message { flag: 7, ..Message::new("T", "ab") };
        let batch = encode_batch(&[(&message, "A\u{1}1".to_owned())]);
        let golden = b"\0\0\0\x1b\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x02ab\0\x03A\x011";
        assert_eq!(batch, &golden[..]);
    }

    #[test]
    fn properties_refuse_the_separators() {
        let message = Message::new("T", "").with_tag("a").with_property("k", "v\u{2}");
        assert!(message.properties_text("id").is_err());
        let message = Message::new("T", "").with_tag("a").with_property("empty", "");
        assert_eq!(message.properties_text("id").unwrap(), "UNIQ_KEY\u{1}id\u{2}TAGS\u{1}a");
    }
}
