use raftmq_model::command_record::{self, CommandRecord};
use raftmq_model::message_codec::{self, DecodeError, StoredMessage};

/// One record in the body of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRecord<'a> {
    Message(StoredMessage<'a>),
    Command(CommandRecord<'a>),
}

/// Why bytes are not a sequence of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record at {at} says {size} bytes, {left} are left")]
    Size { at: u32, size: u32, left: usize },
    #[error("record at {at} has the unknown magic {magic:#010x}")]
    Magic { at: u32, magic: u32 },
    #[error("command record at {at} does not decode")]
    Command { at: u32 },
    #[error("message record at {at}")]
    Message { at: u32, source: DecodeError },
}

/// The records of an entry's body, each with its position relative to the start of `bytes`. Ends after the first
/// error.
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { bytes, at: 0 }
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    fn decode(&self) -> Result<(LogRecord<'a>, usize), RecordError> {
        let at = self.at as u32;
        let rest = &self.bytes[self.at..];
        let (size, magic) = size_and_magic(rest).ok_or(RecordError::Size { at, size: 0, left: rest.len() })?;
        let record = rest.get(..size as usize).filter(|record| record.len() >= 8);
        let record = record.ok_or(RecordError::Size { at, size, left: rest.len() })?;
        let decoded = match magic {
            message_codec::MAGIC | message_codec::MAGIC_V2 => {
                LogRecord::Message(message_codec::decode(record).map_err(|source| RecordError::Message { at, source })?)
            }
            command_record::MAGIC => {
                LogRecord::Command(command_record::decode(record).ok_or(RecordError::Command { at })?)
            }
            magic => return Err(RecordError::Magic { at, magic }),
        };
        Ok((decoded, record.len()))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u32, LogRecord<'a>), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let at = self.at as u32;
        match self.decode() {
            Ok((record, length)) => {
                self.at += length;
                Some(Ok((at, record)))
            }
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }
}

/// The first two fields of every record.
pub(crate) fn size_and_magic(bytes: &[u8]) -> Option<(u32, u32)> {
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let magic = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    Some((size, magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_end_the_iteration_with_an_error() {
        let mut bytes = Vec::new();
        CommandRecord { kind: 1, version: 1, body: b"x" }.encode(&mut bytes);
        let good = bytes.len();
        for size in [0u32, 7, 12, 14, u32::MAX] {
            bytes.truncate(good);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&command_record::MAGIC.to_be_bytes());
            let seen: Vec<_> = records(&bytes).collect();
            assert_eq!(seen.len(), 2, "{size}");
            assert!(seen[0].is_ok() && seen[1].is_err(), "{size}");
        }
        assert_eq!(records(&bytes[..good + 3]).filter(Result::is_err).count(), 1);
    }
}
