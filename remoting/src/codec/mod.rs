//! The two forms of a header, and the frame around it.

pub(crate) mod binary;
pub(crate) mod json;

use crate::command::RemotingCommand;
use crate::frame::{Frame, MAX_HEADER_BYTES, PREFIX_BYTES};

/// Form of a header (RocketMQ `SerializeType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    #[default]
    Json,
    /// The binary form. Codes and versions are 16 bits wide in it.
    RocketMq,
}

impl Codec {
    pub fn type_byte(self) -> u8 {
        match self {
            Codec::Json => 0,
            Codec::RocketMq => 1,
        }
    }

    pub fn from_type_byte(byte: u8) -> Option<Codec> {
        match byte {
            0 => Some(Codec::Json),
            1 => Some(Codec::RocketMq),
            _ => None,
        }
    }
}

/// Why a header cannot be decoded. The connection is closed: nobody can be answered without an opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("JSON header: expected {expected} at byte {at}")]
    Syntax { expected: &'static str, at: usize },
    #[error("JSON header: {limit} levels of nesting exceeded at byte {at}")]
    TooDeep { limit: usize, at: usize },
    #[error("JSON header: {field} is not a 32-bit number")]
    NotANumber { field: &'static str },
    #[error("binary header: {what} of {length} bytes at byte {at} runs past the {header_bytes} of the header")]
    PastEnd { what: &'static str, length: i64, at: usize, header_bytes: usize },
}

pub(crate) fn decode(frame: Frame) -> Result<RemotingCommand, HeaderError> {
    let mut command = match frame.codec {
        Codec::Json => json::decode(frame.header)?,
        Codec::RocketMq => binary::decode(frame.header)?,
    };
    command.body = frame.body;
    Ok(command)
}

pub(crate) fn encode_header(command: &RemotingCommand, out: &mut Vec<u8>) {
    match command.codec {
        Codec::Json => json::encode(command, out),
        Codec::RocketMq => binary::encode(command, out),
    }
}

/// Where a frame under construction starts.
#[derive(Clone, Copy)]
pub(crate) struct FrameStart(usize);

pub(crate) fn begin_frame(out: &mut Vec<u8>) -> FrameStart {
    let start = FrameStart(out.len());
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    start
}

impl FrameStart {
    pub(crate) fn position(self) -> usize {
        self.0
    }
}

/// Fills in the codec and the header length; returns the latter.
pub(crate) fn end_header(out: &mut [u8], frame: FrameStart, codec: Codec) -> usize {
    let header_bytes = out.len() - frame.0 - PREFIX_BYTES;
    let word = u32::from(codec.type_byte()) << 24 | (header_bytes & MAX_HEADER_BYTES) as u32;
    out[frame.0 + 4..frame.0 + 8].copy_from_slice(&word.to_be_bytes());
    header_bytes
}

/// Fills in the frame length; `outside` bytes of the body follow in other buffers.
pub(crate) fn end_frame(out: &mut [u8], frame: FrameStart, outside: usize) {
    let length = out.len() - frame.0 - 4 + outside;
    out[frame.0..frame.0 + 4].copy_from_slice(&(length as u32).to_be_bytes());
}
