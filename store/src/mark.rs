//! The flushed mark: what is durable for certain, so that recovery can tell a torn tail from damage.
//!
//! Two slots, written in turn (docs/on-disk-format.md, "Mark").

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sys::{Disk, DiskFile, Open};

use crate::checkpoint::CHECKPOINT_HEAD_BYTES;
use crate::error::OpenError;

const MAGIC: u32 = 0x524D_514B; // "RMQK"
const VERSION: u16 = 1;
/// Each slot has a block of its own: tearing one cannot touch the other.
const SLOT_BYTES: u64 = 4096;
const CRC_AT: usize = 64 + 2 * CHECKPOINT_HEAD_BYTES;
const ENCODED_BYTES: usize = CRC_AT + 4;

/// The content of one slot. Positions are log positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The slot with the greater one counts.
    pub sequence: u64,
    /// The store was closed: behind `flushed` there is nothing.
    pub is_closed: bool,
    /// Everything below is durable.
    pub flushed: u64,
    /// A record (classic) or frame (Raft) begins here; below it a normal start need not look.
    pub recovery_point: u64,
    /// Classic: consume queues are durable for every message below. Raft keeps its own file for this.
    pub dispatched: u64,
    /// At least the store time of every record below `flushed`.
    pub store_timestamp: i64,
    /// Number of queues that have a message below `dispatched`.
    pub queue_count: u64,
    /// XOR of the hashes of those queues' names.
    pub queue_fingerprint: u64,
    /// Classic: the head of the `checkpoint` file written along with this mark.
    pub checkpoint: [u8; CHECKPOINT_HEAD_BYTES],
    /// Classic: the one before. A crash between writing mark and checkpoint leaves that one.
    pub checkpoint_before: [u8; CHECKPOINT_HEAD_BYTES],
}

impl Mark {
    pub(crate) fn encode(&self) -> [u8; ENCODED_BYTES] {
        let mut bytes = [0; ENCODED_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
        bytes[7] = u8::from(self.is_closed);
        let numbers = [
            self.sequence,
            self.flushed,
            self.recovery_point,
            self.dispatched,
            self.store_timestamp as u64,
            self.queue_count,
            self.queue_fingerprint,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            bytes[8 + index * 8..16 + index * 8].copy_from_slice(&number.to_be_bytes());
        }
        bytes[64..64 + CHECKPOINT_HEAD_BYTES].copy_from_slice(&self.checkpoint);
        bytes[64 + CHECKPOINT_HEAD_BYTES..CRC_AT].copy_from_slice(&self.checkpoint_before);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; ENCODED_BYTES] = bytes.get(..ENCODED_BYTES)?.try_into().ok()?;
        let crc = u32::from_be_bytes(bytes[CRC_AT..].try_into().ok()?);
        let head = (&bytes[0..4], &bytes[4..6]);
        if crc != crc32c::crc32c(&bytes[..CRC_AT]) || head != (&MAGIC.to_be_bytes()[..], &VERSION.to_be_bytes()[..]) {
            return None;
        }
        let number = |index: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[8 + index * 8..16 + index * 8]);
            u64::from_be_bytes(number)
        };
        let mut mark = Mark {
            sequence: number(0),
            is_closed: bytes[7] != 0,
            flushed: number(1),
            recovery_point: number(2),
            dispatched: number(3),
            store_timestamp: number(4) as i64,
            queue_count: number(5),
            queue_fingerprint: number(6),
            checkpoint: [0; CHECKPOINT_HEAD_BYTES],
            checkpoint_before: [0; CHECKPOINT_HEAD_BYTES],
        };
        mark.checkpoint.copy_from_slice(&bytes[64..64 + CHECKPOINT_HEAD_BYTES]);
        mark.checkpoint_before.copy_from_slice(&bytes[64 + CHECKPOINT_HEAD_BYTES..64 + 2 * CHECKPOINT_HEAD_BYTES]);
        Some(mark)
    }
}

fn slot_of(sequence: u64) -> u64 {
    sequence % 2 * SLOT_BYTES
}

/// The file `<root>/mark`.
pub(crate) struct MarkFile {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    newest: Option<Mark>,
}

impl MarkFile {
    /// Reads the newer of the two slots; a file that is missing, short or torn in both has none.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<MarkFile, OpenError> {
        let mut mark_file = MarkFile { path: path.to_owned(), file: None, newest: None };
        if !disk.exists(path) {
            return Ok(mark_file);
        }
        let file = disk.open(path, Open::Write).map_err(OpenError::io("open", path))?;
        let length = file.len().map_err(OpenError::io("stat", path))?;
        for slot in 0..2 {
            let mut bytes = [0; ENCODED_BYTES];
            if (slot + 1) * SLOT_BYTES <= length {
                file.read_at(&mut bytes, slot * SLOT_BYTES).map_err(OpenError::io("read", path))?;
            }
            let mark = Mark::decode(&bytes);
            if mark.map(|mark| mark.sequence) > mark_file.newest.map(|newest| newest.sequence) {
                mark_file.newest = mark;
            }
        }
        mark_file.file = (length == 2 * SLOT_BYTES).then_some(file);
        Ok(mark_file)
    }

    pub(crate) fn newest(&self) -> Option<Mark> {
        self.newest
    }

    /// Writes the newest mark again where it lies: it may have been read from a page cache that a failed fsync left
    /// clean. The next one goes to the other slot and must not be alone when it is torn.
    pub(crate) fn rewrite(&self) -> std::io::Result<()> {
        let Some((file, mark)) = self.file.as_ref().zip(self.newest) else { return Ok(()) };
        file.write_at(&mark.encode(), slot_of(mark.sequence))?;
        file.sync_data()
    }

    /// Makes `mark` durable with the next sequence number.
    pub(crate) fn write(&mut self, disk: &dyn Disk, mut mark: Mark) -> std::io::Result<()> {
        mark.sequence = self.newest.map_or(1, |newest| newest.sequence + 1);
        let bytes = mark.encode();
        let slot = slot_of(mark.sequence);
        match &self.file {
            Some(file) => {
                file.write_at(&bytes, slot)?;
                file.sync_data()?;
            }
            None => {
                let mut content = vec![0; 2 * SLOT_BYTES as usize];
                content[slot as usize..][..ENCODED_BYTES].copy_from_slice(&bytes);
                disk.replace(&self.path, &content)?;
                self.file = Some(disk.open(&self.path, Open::Write)?);
            }
        }
        self.newest = Some(mark);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftmq_sys::RealDisk;

    fn mark() -> Mark {
        Mark {
            sequence: 1,
            is_closed: true,
            flushed: 2,
            recovery_point: 3,
            dispatched: 4,
            store_timestamp: 5,
            queue_count: 6,
            queue_fingerprint: 7,
            checkpoint: [8; CHECKPOINT_HEAD_BYTES],
            checkpoint_before: [9; CHECKPOINT_HEAD_BYTES],
        }
    }

    /// The layout of docs/on-disk-format.md, byte by byte.
    #[test]
    fn golden_bytes_and_every_flip_is_noticed() {
        let bytes = mark().encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = format!(
            "524d514b000100010000000000000001000000000000000200000000000000030000000000000004\
             000000000000000500000000000000060000000000000007{}{}37e301a8",
            "08".repeat(40),
            "09".repeat(40)
        );
        assert_eq!(hex, expected);
        assert_eq!(Mark::decode(&bytes), Some(mark()));
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert_eq!(Mark::decode(&flipped), None, "{at}");
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, path) = (RealDisk::new(), folder.path().join("mark"));
        let mut file = MarkFile::open(&disk, &path).unwrap();
        for flushed in 1..=3 {
            file.write(&disk, Mark { flushed, ..mark() }).unwrap();
        }
        let newest = |path: &Path| MarkFile::open(&disk, path).unwrap().newest().map(|mark| mark.flushed);
        assert_eq!(newest(&path), Some(3));
        disk.open(&path, Open::Write).unwrap().write_at(&[0xFF; 8], SLOT_BYTES + 20).unwrap();
        assert_eq!(newest(&path), Some(2));
        disk.open(&path, Open::Write).unwrap().write_at(&[0xFF; 8], 20).unwrap();
        assert_eq!(newest(&path), None);
    }
}
