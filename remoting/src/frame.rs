//! Cutting a byte stream into frames (RocketMQ `NettyDecoder`):
//! `length i32 | codec u8 | header length u24 | header | body`, where `length` counts all after itself.

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{Codec, HeaderError};
use crate::command::RemotingCommand;

/// Largest frame including its length word (`com.rocketmq.remoting.frameMaxLength`).
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Length word, codec byte and header length.
pub(crate) const PREFIX_BYTES: usize = 8;
/// Longest header that its 24-bit length can say.
pub(crate) const MAX_HEADER_BYTES: usize = (1 << 24) - 1;

/// One frame; both parts share the memory of the read buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub codec: Codec,
    pub header: Bytes,
    pub body: Bytes,
}

/// Why a stream cannot be cut further. The connection must be closed: where the next frame starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {length} bytes after its length word exceeds the limit of {limit_bytes} bytes in all")]
    TooLarge { length: i32, limit_bytes: usize },
    #[error("frame length {length} is below the 4 bytes of its own header word")]
    TooShort { length: i32 },
    #[error("header of {header_bytes} bytes in a frame of {length}")]
    HeaderPastFrame { header_bytes: usize, length: i32 },
    #[error("unknown header codec {0}")]
    UnknownCodec(u8),
}

/// Bytes in, frames out; does no I/O.
///
/// Lengths are checked as soon as the bytes that say them are there, and nothing is reserved for what a length only
/// promises.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    max_frame_bytes: usize,
}

/// Why bytes are not commands; the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Default for FrameDecoder {
    fn default() -> Self {
        FrameDecoder::new(MAX_FRAME_BYTES)
    }
}

impl FrameDecoder {
    /// Frames of more than `max_frame_bytes`, length word included, are errors.
    pub fn new(max_frame_bytes: usize) -> FrameDecoder {
        FrameDecoder { max_frame_bytes }
    }

    /// Takes the next whole command from the front of `input`; `None` if more bytes are needed.
    pub fn decode(&self, input: &mut BytesMut) -> Result<Option<RemotingCommand>, DecodeError> {
        match self.next_frame(input)? {
            Some(frame) => Ok(Some(RemotingCommand::decode(frame)?)),
            None => Ok(None),
        }
    }

    /// Takes the next whole frame from the front of `input`; `None` if more bytes are needed. An error leaves `input`
    /// as it is.
    pub fn next_frame(&self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.prefix(input)? else { return Ok(None) };
        if input.len() < prefix.frame_bytes {
            return Ok(None);
        }
        let mut frame = input.split_to(prefix.frame_bytes).freeze();
        frame.advance(PREFIX_BYTES);
        let header = frame.split_to(prefix.header_bytes);
        Ok(Some(Frame { codec: prefix.codec, header, body: frame }))
    }

    /// How many bytes the frame at the front of `input` still lacks, as far as that is known.
    pub(crate) fn missing_bytes(&self, input: &[u8]) -> usize {
        match self.prefix(input) {
            Ok(Some(prefix)) => prefix.frame_bytes.saturating_sub(input.len()),
            _ => 0,
        }
    }

    fn prefix(&self, input: &[u8]) -> Result<Option<Prefix>, FrameError> {
        let Some(word) = input.first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*word);
        let Ok(after_word) = usize::try_from(length) else { return Err(FrameError::TooShort { length }) };
        if after_word < 4 {
            return Err(FrameError::TooShort { length });
        }
        if after_word > self.max_frame_bytes.saturating_sub(4) {
            return Err(FrameError::TooLarge { length, limit_bytes: self.max_frame_bytes });
        }
        let Some(&[_, _, _, _, codec, high, middle, low]) = input.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let header_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
        if header_bytes > after_word - 4 {
            return Err(FrameError::HeaderPastFrame { header_bytes, length });
        }
        let codec = Codec::from_type_byte(codec).ok_or(FrameError::UnknownCodec(codec))?;
        Ok(Some(Prefix { codec, header_bytes, frame_bytes: after_word + 4 }))
    }
}

struct Prefix {
    codec: Codec,
    header_bytes: usize,
    /// With the length word.
    frame_bytes: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame_bytes(codec: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&(u32::from(codec) << 24 | header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn lengths_that_lie_are_errors_before_the_bytes_come() {
        let cases: [(&[u8], FrameError); 5] = [
            (&[0, 0, 0, 3], FrameError::TooShort { length: 3 }),
            (&[0xff, 0xff, 0xff, 0xff], FrameError::TooShort { length: -1 }),
            (&[0x01, 0, 0, 0], FrameError::TooLarge { length: 1 << 24, limit_bytes: MAX_FRAME_BYTES }),
            (&[0, 0, 0, 8, 0, 0, 0, 5], FrameError::HeaderPastFrame { header_bytes: 5, length: 8 }),
            (&[0, 0, 0, 8, 2, 0, 0, 4], FrameError::UnknownCodec(2)),
        ];
        for (bytes, error) in cases {
            let mut input = BytesMut::from(bytes);
            assert_eq!(FrameDecoder::default().next_frame(&mut input), Err(error));
            assert_eq!(input, bytes);
        }
    }

    #[test]
    fn the_largest_frame_is_accepted() {
        let mut input = BytesMut::from(((MAX_FRAME_BYTES - 4) as u32).to_be_bytes().as_slice());
        input.extend_from_slice(&[0, 0, 0, 2]);
        assert_eq!(FrameDecoder::default().next_frame(&mut input), Ok(None));
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_the_bytes_arrive(
            frames in prop::collection::vec(
                (0u8..2, prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..40)), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let stream: Vec<u8> =
                frames.iter().flat_map(|(codec, header, body)| frame_bytes(*codec, header, body)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let decoder = FrameDecoder::default();
            let mut input = BytesMut::new();
            let mut seen = Vec::new();
            for pair in cuts.windows(2) {
                input.extend_from_slice(&stream[pair[0]..pair[1]]);
                while let Some(frame) = decoder.next_frame(&mut input).unwrap() {
                    seen.push((frame.codec.type_byte(), frame.header.to_vec(), frame.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(input.is_empty());
        }
    }
}
