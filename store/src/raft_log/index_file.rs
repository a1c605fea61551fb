//! The index of a full segment in a file of its own, so that a start need not walk the segment
//! (`<root>/raftindex/`; docs/on-disk-format.md, "Raft index"). Rebuildable: a missing or bad one is ignored.

use std::path::PathBuf;
use std::sync::Arc;

use raftmq_sys::Disk;

use super::entries::{EntryIndex, SegmentIndex};
use super::frame::FrameId;
use crate::segments::file_name;

const MAGIC: u32 = 0x524D_5149; // "RMQI"
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 56;
const REIGN_BYTES: usize = 24;

pub(crate) struct IndexFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
}

impl IndexFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: PathBuf) -> IndexFiles {
        IndexFiles { disk, directory }
    }

    /// The index of the segment at `base` with the reigns that its entries belong to.
    pub(crate) fn read(&self, base: u64) -> Option<(SegmentIndex, Vec<FrameId>)> {
        let path = self.directory.join(file_name(base));
        if !self.disk.exists(&path) {
            return None;
        }
        decode(&self.disk.read(&path).ok()?).filter(|(segment, _)| segment.base == base)
    }

    /// The content of a segment's file.
    pub(crate) fn encode(segment: &SegmentIndex, index: &EntryIndex) -> Vec<u8> {
        encode(segment, index)
    }

    pub(crate) fn write(&self, base: u64, content: &[u8]) -> std::io::Result<()> {
        self.disk.replace(&self.directory.join(file_name(base)), content)
    }

    pub(crate) fn exists(&self, base: u64) -> bool {
        self.disk.exists(&self.directory.join(file_name(base)))
    }

    /// Removes the files of segments at or behind `base`.
    pub(crate) fn remove_from(&self, base: u64) -> std::io::Result<()> {
        let keep_below = file_name(base);
        let mut removed = false;
        for entry in self.disk.list(&self.directory)?.into_iter().filter(|entry| entry.name >= keep_below) {
            self.disk.remove_file(&self.directory.join(&entry.name))?;
            removed = true;
        }
        if removed { self.disk.sync_dir(&self.directory) } else { Ok(()) }
    }
}

fn encode(segment: &SegmentIndex, index: &EntryIndex) -> Vec<u8> {
    let (first, last) = (segment.first_index, segment.last_index());
    let mut reigns: Vec<FrameId> = index.id(first).into_iter().collect();
    reigns.extend(index.reigns.iter().filter(|reign| reign.index > first && reign.index <= last));
    let mut bytes = Vec::with_capacity(HEAD_BYTES + reigns.len() * REIGN_BYTES + segment.offsets.len() * 4 + 4);
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&segment.base.to_be_bytes());
    bytes.extend_from_slice(&first.to_be_bytes());
    bytes.extend_from_slice(&(segment.offsets.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&(reigns.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&u64::from(segment.end).to_be_bytes());
    bytes.extend_from_slice(&u64::from(segment.last_header_crc).to_be_bytes());
    for reign in &reigns {
        bytes.extend_from_slice(&reign.term.to_be_bytes());
        bytes.extend_from_slice(&reign.leader.to_be_bytes());
        bytes.extend_from_slice(&reign.index.to_be_bytes());
    }
    for offset in &segment.offsets {
        bytes.extend_from_slice(&offset.to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(SegmentIndex, Vec<FrameId>)> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc != crc32c::crc32c(content).to_be_bytes() || content.len() < HEAD_BYTES {
        return None;
    }
    let (head, rest) = content.split_at(HEAD_BYTES);
    if head[..4] != MAGIC.to_be_bytes() || head[4..6] != VERSION.to_be_bytes() {
        return None;
    }
    let number = |bytes: &[u8], at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (entries, reign_count) = (usize::try_from(number(head, 24)?).ok()?, usize::try_from(number(head, 32)?).ok()?);
    let reign_bytes = reign_count.checked_mul(REIGN_BYTES)?;
    if entries == 0 || reign_bytes.checked_add(entries.checked_mul(4)?)? != rest.len() {
        return None;
    }
    let (reigns, offsets) = rest.split_at(reign_bytes);
    let reigns = reigns
        .chunks_exact(REIGN_BYTES)
        .map(|reign| Some(FrameId { term: number(reign, 0)?, leader: number(reign, 8)?, index: number(reign, 16)? }))
        .collect::<Option<Vec<_>>>()?;
    let offsets = offsets.chunks_exact(4).map(|at| u32::from_be_bytes([at[0], at[1], at[2], at[3]])).collect();
    let segment = SegmentIndex {
        base: number(head, 8)?,
        first_index: number(head, 16)?,
        offsets,
        end: u32::try_from(number(head, 40)?).ok()?,
        last_header_crc: u32::try_from(number(head, 48)?).ok()?,
        is_verified: false,
    };
    Some((segment, reigns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_every_flip_is_noticed() {
        let segment = SegmentIndex {
            base: 4096,
            first_index: 7,
            offsets: vec![0, 100],
            end: 200,
            last_header_crc: 9,
            is_verified: false,
        };
        let reigns = vec![FrameId { term: 1, leader: 2, index: 3 }, FrameId { term: 4, leader: 5, index: 8 }];
        let index = EntryIndex { segments: [segment.clone()].into(), reigns };
        let bytes = encode(&segment, &index);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "524d514900010000000000000000100000000000000000070000000000000002\
             000000000000000200000000000000c800000000000000090000000000000001\
             0000000000000002000000000000000700000000000000040000000000000005\
             00000000000000080000000000000064e525544e"
        );
        let first = FrameId { term: 1, leader: 2, index: 7 };
        assert_eq!(decode(&bytes), Some((segment, vec![first, FrameId { term: 4, leader: 5, index: 8 }])));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(&flipped), None, "{at}");
            assert_eq!(decode(&bytes[..at]), None);
        }
    }
}
