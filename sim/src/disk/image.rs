//! One file in two images: what the process sees and what has certainly reached the platter.

use std::collections::BTreeMap;
use std::io;

use raftmq_sys::Rng;

use crate::SimRng;
use crate::disk::Survival;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Bytes padded with zeros to whole sectors, and the length the file says it has.
#[derive(Clone, Default)]
struct Image {
    sectors: Vec<u8>,
    len: usize,
}

impl Image {
    fn set_len(&mut self, len: usize) {
        if let Some(cut) = self.sectors.get_mut(len..) {
            cut.fill(0);
        }
        self.len = len;
        self.sectors.resize(len.next_multiple_of(SECTOR_BYTES), 0);
    }

    /// Stores whole sectors as far as they lie inside the file; what lies past the length stays zero.
    fn put(&mut self, first_sector: usize, bytes: &[u8]) {
        let start = first_sector * SECTOR_BYTES;
        let end = (start + bytes.len()).min(self.sectors.len());
        if start < end {
            self.sectors[start..end].copy_from_slice(&bytes[..end - start]);
            self.sectors[self.len..].fill(0);
        }
    }
}

/// One change that is not durable yet. Sectors are kept whole, as the page cache keeps them.
#[derive(Clone)]
enum Change {
    Sectors { first: usize, bytes: Vec<u8> },
    Grow(usize),
    Shrink(usize),
}

/// A file: the live image, the durable one, and the ordered journal of changes between them.
#[derive(Clone, Default)]
pub(super) struct FileImage {
    live: Image,
    durable: Image,
    journal: Vec<Change>,
    /// Bytes from the start for which blocks are reserved.
    reserved: usize,
    /// Failed syncs so far; each open file is told of each of them once.
    failures: u64,
}

impl FileImage {
    /// A file that is wholly durable.
    pub(super) fn at_rest(bytes: &[u8]) -> FileImage {
        let mut image = FileImage::default();
        image.write(bytes, 0);
        image.sync();
        image
    }

    pub(super) fn len(&self) -> usize {
        self.live.len
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live.sectors[..self.live.len]
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable.sectors[..self.durable.len]
    }

    /// Bytes that this file takes from the capacity of the disk.
    pub(super) fn used(&self) -> usize {
        self.live.sectors.len().max(self.reserved)
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        self.grow(end);
        self.live.sectors[position..end].copy_from_slice(bytes);
        self.log_sectors(position, end);
    }

    pub(super) fn zero(&mut self, position: usize, length: usize) {
        if length == 0 {
            return;
        }
        let end = position + length;
        self.grow(end);
        self.live.sectors[position..end].fill(0);
        self.log_sectors(position, end);
    }

    pub(super) fn read(&self, position: usize, length: usize) -> io::Result<&[u8]> {
        let end = position.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.live().get(position..end).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(super) fn reserve(&mut self, length: usize) {
        self.reserved = self.reserved.max(length.next_multiple_of(SECTOR_BYTES));
        self.grow(length);
    }

    pub(super) fn set_len(&mut self, length: usize) {
        if length >= self.live.len {
            return self.grow(length);
        }
        self.reserved = self.reserved.min(length.next_multiple_of(SECTOR_BYTES));
        self.live.set_len(length);
        self.journal.push(Change::Shrink(length));
        if !length.is_multiple_of(SECTOR_BYTES) {
            self.log_sectors(length - 1, length);
        }
    }

    fn grow(&mut self, length: usize) {
        if length > self.live.len {
            self.live.set_len(length);
            self.journal.push(Change::Grow(length));
        }
    }

    fn log_sectors(&mut self, position: usize, end: usize) {
        let first = position / SECTOR_BYTES;
        let bytes = self.live.sectors[first * SECTOR_BYTES..end.next_multiple_of(SECTOR_BYTES)].to_vec();
        self.journal.push(Change::Sectors { first, bytes });
    }

    /// Everything so far is durable.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.journal) {
            match change {
                Change::Sectors { first, bytes } => self.durable.put(first, &bytes),
                Change::Grow(length) | Change::Shrink(length) => self.durable.set_len(length),
            }
        }
    }

    /// A failed fsync: some dirty sectors reached the platter, the others are marked clean and will never be
    /// written. The process still reads them from the cache, unless the cache has dropped them too (`evict`).
    pub(super) fn fail_sync(&mut self, rng: &SimRng, evict: bool) {
        let live = self.live.clone();
        let lengths_kept = self.journal.len();
        self.failures += 1;
        self.settle(rng, Survival::HALF, lengths_kept);
        if !evict {
            self.live = live;
        }
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether a power cut could take anything from this file.
    pub(super) fn is_dirty(&self) -> bool {
        !self.journal.is_empty()
    }

    /// The power fails: of every unsynced sector the newest content survives, or an older one.
    pub(super) fn cut(&mut self, rng: &SimRng, survival: Survival) {
        let lengths = self.journal.iter().filter(|change| !matches!(change, Change::Sectors { .. })).count();
        let kept = survival.prefix(rng, lengths);
        self.settle(rng, survival, kept);
    }

    /// Chooses what the platter holds. File systems journal lengths in order, so the first `lengths_kept` changes
    /// of length survive; each sector chooses for itself among its contents since the last sync.
    fn settle(&mut self, rng: &SimRng, survival: Survival, lengths_kept: usize) {
        let mut base = std::mem::take(&mut self.durable);
        let mut versions: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        // Blocks behind a cut that did not survive cannot hold what was written there later.
        let mut lost_from = usize::MAX;
        let mut lengths_left = lengths_kept;
        for change in &self.journal {
            match change {
                Change::Sectors { first, bytes } => {
                    for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        if first + index < lost_from {
                            versions.entry(first + index).or_default().push(sector);
                        }
                    }
                }
                Change::Grow(length) | Change::Shrink(length) if lengths_left > 0 => {
                    lengths_left -= 1;
                    if *length < base.len || matches!(change, Change::Shrink(_)) {
                        versions.split_off(&(length / SECTOR_BYTES));
                    }
                    base.set_len(*length);
                }
                Change::Shrink(length) => lost_from = lost_from.min(length / SECTOR_BYTES),
                Change::Grow(_) => {}
            }
        }
        for (sector, contents) in versions {
            // Index 0 is what was durable before; the last is the newest.
            let newest = contents.len();
            let chosen = if rng.chance(survival.0) {
                newest
            } else if newest > 1 && rng.chance(64) {
                rng.below(newest as u64) as usize
            } else {
                0
            };
            if let Some(content) = chosen.checked_sub(1).map(|index| contents[index]) {
                base.put(sector, content);
            }
        }
        self.live = base.clone();
        self.durable = base;
        self.journal.clear();
    }

    /// Changes both images, as rot or an editor does while nothing runs.
    pub(super) fn edit_at_rest(&mut self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.live().to_vec();
        edit(&mut bytes);
        *self = FileImage::at_rest(&bytes);
    }
}
