//! The records of a commitlog as their documents describe them (docs/on-disk-format.md), read without any product code.

use std::net::{IpAddr, SocketAddr};

/// Magic of a message record (RocketMQ's V1).
pub const MESSAGE: u32 = 0xDAA3_20A7;
/// Closes a segment.
pub const BLANK: u32 = 0xCBD4_3194;

/// Begins a frame: one entry of the Raft log, whose body follows.
pub const FRAME: u32 = 0x524D_5146;
/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 64;

const MEMBERSHIP_KIND: u8 = 1;

/// What every record begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Bytes to the next record. A frame's body is records of its own, but for a membership, which is stepped over.
    pub size: u32,
    pub magic: u32,
}

impl RecordHead {
    /// `None` at the end of the written part, where zeroes begin. Wants [`FRAME_HEADER`] bytes if there are as many.
    pub fn read(bytes: &[u8]) -> Option<RecordHead> {
        let mut head = RecordHead { size: u32_at(bytes, 0)?, magic: u32_at(bytes, 4)? };
        if head.magic == FRAME && *bytes.get(8)? == MEMBERSHIP_KIND {
            head.size += u32_at(bytes, 56)?;
        }
        (head.size >= 8 && head.size <= i32::MAX as u32).then_some(head)
    }
}

/// The fields of a message record that place it, and whence it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub queue_id: u32,
    pub queue_offset: u64,
    pub physical_offset: u64,
    /// Whoever sent it.
    pub born_host: SocketAddr,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    pub body: Vec<u8>,
}

impl Message {
    /// Reads one whole record; `None` if it is shorter than it says.
    pub fn read(bytes: &[u8]) -> Option<Message> {
        let flags = u32_at(bytes, 36)?;
        let born_host = if flags & 16 == 0 { 8 } else { 20 };
        let store_host = if flags & 32 == 0 { 8 } else { 20 };
        let body_at = 48 + born_host + 8 + store_host + 4 + 8;
        let body_length = u32_at(bytes, body_at)? as usize;
        let body = bytes.get(body_at + 4..body_at + 4 + body_length)?;
        let topic_at = body_at + 4 + body_length;
        let topic_length = usize::from(*bytes.get(topic_at)?);
        let topic = bytes.get(topic_at + 1..topic_at + 1 + topic_length)?;
        Some(Message {
            topic: String::from_utf8_lossy(topic).into_owned(),
            queue_id: u32_at(bytes, 12)?,
            queue_offset: u64_at(bytes, 20)?,
            physical_offset: u64_at(bytes, 28)?,
            born_host: host_at(bytes, 48, born_host)?,
            store_host: host_at(bytes, 48 + born_host + 8, store_host)?,
            body: body.to_vec(),
        })
    }
}

/// An address and a port, together of `length` bytes: 8 with IPv4, 20 with IPv6.
fn host_at(bytes: &[u8], at: usize, length: usize) -> Option<SocketAddr> {
    let port = u16::try_from(u32_at(bytes, at + length - 4)?).ok()?;
    let address = bytes.get(at..at + length - 4)?;
    let address = match <[u8; 4]>::try_from(address) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    Some(SocketAddr::new(address, port))
}

/// The records of messages that lie side by side, as an answer to a pull has them; `None` if one breaks off.
pub fn messages(mut bytes: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let size = u32_at(bytes, 0)? as usize;
        messages.push(Message::read(bytes.get(..size).filter(|record| !record.is_empty())?)?);
        bytes = &bytes[size..];
    }
    Some(messages)
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}
