//! The body of a client batch (RocketMQ `MessageDecoder.encodeMessages`): per message
//! `i32 size, i32 0, i32 0, i32 flag, i32 body length, body, i16 properties length, properties`.

use raftmq_model::message::Message;
use raftmq_model::message_codec::{self, EncodeError};
use raftmq_model::{properties, sys_flag};
use raftmq_remoting::response_code;
use raftmq_store::EncodedMessages;

/// What the records of a batch may have beyond `maxMessageSize`; the store allows the same.
pub(crate) const EXTRA_BYTES: usize = 64 << 10;

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BatchError {
    #[error("the batch body of {size_bytes} bytes exceeds maxMessageSize {limit_bytes}")]
    TooLarge { size_bytes: usize, limit_bytes: usize },
    /// Each message gets the batch's own properties, so a small body can become a large record.
    #[error("the messages of the batch with their properties exceed {limit_bytes} bytes (maxMessageSize + 64 KiB)")]
    EncodedTooLarge { limit_bytes: usize },
    #[error("the batch body is empty")]
    Empty,
    #[error("the batch body breaks off at byte {at}: {what}")]
    Broken { at: usize, what: &'static str },
    #[error("a batch can be neither transactional nor delayed")]
    Unbatchable,
    #[error(transparent)]
    Message(#[from] EncodeError),
}

impl BatchError {
    pub(super) fn code(&self) -> i32 {
        match self {
            BatchError::Broken { .. } => response_code::SYSTEM_ERROR,
            _ => response_code::MESSAGE_ILLEGAL,
        }
    }
}

/// Splits the batch in `batch.body` into ordinary messages and appends their records to `encoded`.
///
/// The batch's own properties are added to each message but for WAIT, UNIQ_KEY (5.x batches carry one that would
/// hide the messages' own, apache/rocketmq issue 9416) and names that the message already has.
pub(super) fn encode(
    batch: &Message<'_>,
    batch_properties: &[u8],
    cluster: &str,
    max_message_bytes: usize,
    encoded: &mut EncodedMessages,
) -> Result<(), BatchError> {
    let body = batch.body;
    if body.len() > max_message_bytes {
        return Err(BatchError::TooLarge { size_bytes: body.len(), limit_bytes: max_message_bytes });
    }
    if properties::is_delayed(batch_properties) || batch.sys_flag & sys_flag::TRANSACTION_MASK != 0 {
        return Err(BatchError::Unbatchable);
    }
    let limit_bytes = max_message_bytes + EXTRA_BYTES;
    encoded.bytes.reserve(body.len() + body.len() / 2);
    let mut at = 0;
    let mut text = Vec::new();
    while at < body.len() {
        let inner = Inner::read(body, at)?;
        if properties::is_delayed(inner.properties) {
            return Err(BatchError::Unbatchable);
        }
        text.clear();
        text.extend_from_slice(inner.properties);
        for (name, value) in properties::iter(batch_properties) {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { continue };
            let own = matches!(name, properties::WAIT | properties::UNIQ_KEY);
            if !own && properties::get(inner.properties, name).is_none() {
                properties::push(&mut text, name, value);
            }
        }
        properties::push(&mut text, properties::CLUSTER, cluster);
        let message = Message { flag: inner.flag, body: inner.body, properties: &text, ..*batch };
        message_codec::encode(&message, max_message_bytes, &mut encoded.bytes)?;
        if encoded.bytes.len() > limit_bytes {
            return Err(BatchError::EncodedTooLarge { limit_bytes });
        }
        encoded.count += 1;
        at += inner.size;
    }
    if encoded.count == 0 { Err(BatchError::Empty) } else { Ok(()) }
}

struct Inner<'a> {
    size: usize,
    flag: i32,
    body: &'a [u8],
    properties: &'a [u8],
}

impl<'a> Inner<'a> {
    const FIXED_BYTES: usize = 22;

    fn read(body: &'a [u8], at: usize) -> Result<Inner<'a>, BatchError> {
        let broken = |what| BatchError::Broken { at, what };
        let bytes = &body[at..];
        let number = |position: usize| -> Result<i32, BatchError> {
            let field = bytes.get(position..position + 4).ok_or(broken("a length field is cut"))?;
            Ok(i32::from_be_bytes([field[0], field[1], field[2], field[3]]))
        };
        let size = usize::try_from(number(0)?).map_err(|_| broken("a negative size"))?;
        if size < Inner::FIXED_BYTES || size > bytes.len() {
            return Err(broken("a size that does not fit"));
        }
        let bytes = &bytes[..size];
        let flag = number(12)?;
        let body_length = usize::try_from(number(16)?).map_err(|_| broken("a negative body length"))?;
        let body_end = 20usize.checked_add(body_length).ok_or(broken("a body length that does not fit"))?;
        let body = bytes.get(20..body_end).ok_or(broken("a body length that does not fit"))?;
        let length = bytes.get(body_end..body_end + 2).ok_or(broken("properties are cut"))?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let properties = &bytes[body_end + 2..];
        if properties.len() != length {
            return Err(broken("a properties length that does not fit"));
        }
        Ok(Inner { size, flag, body, properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(body: &[u8], properties: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&((22 + body.len() + properties.len()) as i32).to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&5i32.to_be_bytes());
        bytes.extend_from_slice(&(body.len() as i32).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        bytes.extend_from_slice(properties);
        bytes
    }

    fn batch(body: &[u8]) -> Message<'_> {
        Message {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "127.0.0.1:1".parse().unwrap(),
            store_host: "127.0.0.1:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: &[],
        }
    }

    fn empty() -> EncodedMessages {
        EncodedMessages { topic: "T".into(), queue_id: 0, count: 0, bytes: Vec::new() }
    }

    #[test]
    fn messages_keep_their_own_ids() {
        let mut body = inner(b"one", b"UNIQ_KEY\x01A");
        body.extend(inner(b"two", b"UNIQ_KEY\x01B"));
        let mut encoded = empty();
        encode(&batch(&body), b"WAIT\x01true\x02UNIQ_KEY\x01X\x02K\x01v", "c", 1000, &mut encoded).unwrap();
        assert_eq!(encoded.count, 2);
        let size = u32::from_be_bytes(encoded.bytes[..4].try_into().unwrap()) as usize;
        let first = message_codec::decode(&encoded.bytes[..size]).unwrap();
        assert_eq!((first.body, first.flag), (&b"one"[..], 5));
        assert_eq!(first.properties, b"UNIQ_KEY\x01A\x02K\x01v\x02CLUSTER\x01c");
        let second = message_codec::decode(&encoded.bytes[size..]).unwrap();
        assert_eq!(properties::get_str(second.properties, "UNIQ_KEY"), Some("B"));
    }

    #[test]
    fn properties_do_not_multiply_without_bound() {
        let body: Vec<u8> = (0..1000).flat_map(|_| inner(b"", b"")).collect();
        let properties = format!("K\u{1}{}", "v".repeat(30_000));
        let mut encoded = empty();
        let refused = encode(&batch(&body), properties.as_bytes(), "c", 100_000, &mut encoded);
        assert_eq!(refused, Err(BatchError::EncodedTooLarge { limit_bytes: 165_536 }));
        assert!(encoded.bytes.len() < 200_000, "{}", encoded.bytes.len());
    }

    #[test]
    fn every_cut_and_flip_of_a_length_is_refused_or_consistent() {
        let body = inner(b"one", b"K\x01v");
        for length in 0..body.len() {
            assert!(encode(&batch(&body[..length]), b"", "c", 1000, &mut empty()).is_err(), "{length}");
        }
        for position in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            let _ = encode(&batch(&flipped), b"", "c", 1000, &mut empty());
        }
    }
}
