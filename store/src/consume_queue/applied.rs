//! How far consume queues are complete in Raft mode (`<root>/consumequeue/applied`; docs/on-disk-format.md).

use std::path::Path;

use raftmq_model::offset::PhysicalOffset;
use raftmq_sys::Disk;

use super::queues::Fingerprint;
use crate::error::OpenError;
use crate::raft_log::FrameId;

const MAGIC: u32 = 0x524D_5141; // "RMQA"
const VERSION: u16 = 1;
const ENCODED_BYTES: usize = 60;
const CRC_AT: usize = ENCODED_BYTES - 4;

/// An applied entry and where it ends in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedPoint {
    pub id: FrameId,
    pub end: PhysicalOffset,
}

pub(crate) fn encode(point: &AppliedPoint, fingerprint: &Fingerprint) -> [u8; ENCODED_BYTES] {
    let mut bytes = [0; ENCODED_BYTES];
    bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
    let numbers = [point.id.term, point.id.leader, point.id.index, point.end.0, fingerprint.count, fingerprint.hash];
    for (index, number) in numbers.into_iter().enumerate() {
        bytes[8 + index * 8..16 + index * 8].copy_from_slice(&number.to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<(AppliedPoint, Fingerprint)> {
    let bytes: &[u8; ENCODED_BYTES] = bytes.try_into().ok()?;
    let head = (&bytes[0..4], &bytes[4..6]);
    if bytes[CRC_AT..] != crc32c::crc32c(&bytes[..CRC_AT]).to_be_bytes()
        || head != (&MAGIC.to_be_bytes()[..], &VERSION.to_be_bytes()[..])
    {
        return None;
    }
    let number = |index: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[8 + index * 8..16 + index * 8]);
        u64::from_be_bytes(number)
    };
    let id = FrameId { term: number(0), leader: number(1), index: number(2) };
    let point = AppliedPoint { id, end: PhysicalOffset(number(3)) };
    Some((point, Fingerprint { count: number(4), hash: number(5) }))
}

/// What the file says; a missing or damaged one says nothing, and the queues are then built anew.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<(AppliedPoint, Fingerprint)>, OpenError> {
    if !disk.exists(path) {
        return Ok(None);
    }
    Ok(decode(&disk.read(path).map_err(OpenError::io("read", path))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_every_flip_is_noticed() {
        let id = FrameId { term: 1, leader: 2, index: 3 };
        let point = AppliedPoint { id, end: PhysicalOffset(4) };
        let bytes = encode(&point, &Fingerprint { count: 5, hash: 6 });
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "524d514100010000000000000000000100000000000000020000000000000003\
             000000000000000400000000000000050000000000000006a53e79cc"
        );
        assert_eq!(decode(&bytes).map(|(point, _)| point), Some(point));
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_none(), "{at}");
        }
    }
}
