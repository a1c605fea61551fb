//! What writer and reader say about a record: one line of text on a pipe outside the file system.

use std::fmt;
use std::str::FromStr;

/// A record of the log: a message (classic) or an entry (Raft).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    /// Physical offset or Raft index.
    pub(crate) position: u64,
    pub(crate) size_bytes: u64,
    /// CRC-32 of all its bytes.
    pub(crate) crc: u32,
}

impl Record {
    pub(crate) fn of(position: u64, bytes: &[u8]) -> Record {
        Record { position, size_bytes: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {:08x}", self.position, self.size_bytes, self.crc)
    }
}

impl FromStr for Record {
    type Err = String;

    fn from_str(line: &str) -> Result<Record, String> {
        let not_a_record = || format!("not a record: {line:?}");
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or_else(not_a_record);
        Ok(Record {
            position: word()?.parse().map_err(|_| not_a_record())?,
            size_bytes: word()?.parse().map_err(|_| not_a_record())?,
            crc: u32::from_str_radix(word()?, 16).map_err(|_| not_a_record())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let record = Record::of(17, b"bytes");
        assert_eq!(record.to_string().parse(), Ok(record));
        assert!("17 5".parse::<Record>().is_err(), "a line that the kill cut off");
    }
}
