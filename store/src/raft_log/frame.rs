//! The frame: one Raft entry in the commitlog (docs/on-disk-format.md, "Frame").

use bytes::Bytes;
use raftmq_model::offset::PhysicalOffset;

/// `RMQF`: never a RocketMQ message magic, so every scanner of records can step over a header.
pub(crate) const FRAME_MAGIC: u32 = 0x524D_5146;
pub(crate) const HEADER_BYTES: usize = 64;
const VERSION: u8 = 1;
const HEADER_CRC_AT: usize = 60;

/// Which entry: unique in the life of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    pub term: u64,
    /// Node id of the leader that proposed it.
    pub leader: u64,
    pub index: u64,
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Nothing; a leader's first entry.
    Blank,
    /// A membership, in the encoding of the `raft` crate.
    Membership,
    /// Message and command records.
    Data,
}

impl FrameKind {
    fn to_byte(self) -> u8 {
        match self {
            FrameKind::Blank => 0,
            FrameKind::Membership => 1,
            FrameKind::Data => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<FrameKind> {
        match byte {
            0 => Some(FrameKind::Blank),
            1 => Some(FrameKind::Membership),
            2 => Some(FrameKind::Data),
            _ => None,
        }
    }
}

/// The 64 bytes before an entry's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub id: FrameId,
    /// Records in the body.
    pub record_count: u32,
    /// Of this header.
    pub physical_offset: PhysicalOffset,
    /// `header_crc` of the entry before; 0 for the first of a log. Chains the headers, so that a stale frame behind
    /// a shorter new tail does not pass for its continuation.
    pub prev_header_crc: u32,
    /// CRC-32C of the body.
    pub body_crc: u32,
    pub body_len: u32,
    /// CRC-32C of the 60 bytes before it.
    pub header_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> usize {
        HEADER_BYTES + self.body_len as usize
    }

    /// Encodes, setting `header_crc`.
    pub fn encode(&mut self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&(HEADER_BYTES as u32).to_be_bytes());
        bytes[4..8].copy_from_slice(&FRAME_MAGIC.to_be_bytes());
        bytes[8] = self.kind.to_byte();
        bytes[9] = VERSION;
        // Flags, 10..12: 0 = bodies and headers are summed with CRC-32C and not compressed.
        bytes[12..16].copy_from_slice(&self.record_count.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.id.term.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.id.leader.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.id.index.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.physical_offset.0.to_be_bytes());
        bytes[48..52].copy_from_slice(&self.prev_header_crc.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.body_crc.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.body_len.to_be_bytes());
        self.header_crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&self.header_crc.to_be_bytes());
        bytes
    }

    /// `None` for anything but a header whose CRC holds, of a version and with flags that we know.
    pub fn decode(bytes: &[u8]) -> Option<FrameHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        let header_crc = u32_at(HEADER_CRC_AT);
        let known = u32_at(0) == HEADER_BYTES as u32 && u32_at(4) == FRAME_MAGIC && bytes[9..12] == [VERSION, 0, 0];
        if !known || header_crc != crc32c::crc32c(&bytes[..HEADER_CRC_AT]) {
            return None;
        }
        Some(FrameHeader {
            kind: FrameKind::from_byte(bytes[8])?,
            id: FrameId { term: u64_at(16), leader: u64_at(24), index: u64_at(32) },
            record_count: u32_at(12),
            physical_offset: PhysicalOffset(u64_at(40)),
            prev_header_crc: u32_at(48),
            body_crc: u32_at(52),
            body_len: u32_at(56),
            header_crc,
        })
    }
}

/// A whole entry as it lies in the log.
#[derive(Clone, Debug)]
pub struct Frame {
    pub header: FrameHeader,
    /// Header and body; a slice of the mapped log in production.
    pub bytes: Bytes,
}

impl Frame {
    /// The records.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    pub fn body_offset(&self) -> PhysicalOffset {
        self.header.physical_offset.after(HEADER_BYTES as u64)
    }

    /// Behind the last byte.
    pub fn end(&self) -> PhysicalOffset {
        self.header.physical_offset.after(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            id: FrameId { term: 3, leader: 2, index: 11 },
            record_count: 2,
            physical_offset: PhysicalOffset(4096),
            prev_header_crc: 0x0102_0304,
            body_crc: crc32c::crc32c(b"body"),
            body_len: 4,
            header_crc: 0,
        }
    }

    /// The layout of docs/on-disk-format.md, byte by byte.
    #[test]
    fn golden_bytes() {
        let mut header = header();
        let bytes = header.encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "00000040524d5146020100000000000200000000000000030000000000000002\
             000000000000000b000000000000100001020304263fc95000000004d14532d3"
        );
        assert_eq!(FrameHeader::decode(&bytes), Some(header));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = header().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(FrameHeader::decode(&bytes[..63]), None);
    }
}
