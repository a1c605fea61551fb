//! Raft index → position, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use raftmq_model::offset::PhysicalOffset;

use super::frame::{Frame, FrameHeader, FrameId, HEADER_BYTES};
use crate::commit_log::CommitLog;
use crate::error::ReadError;

/// The entries of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    /// Log position of the segment.
    pub(crate) base: u64,
    /// Raft index of the first entry.
    pub(crate) first_index: u64,
    /// Of each entry's header, relative to `base`.
    pub(crate) offsets: Vec<u32>,
    /// Behind the last entry, relative to `base`.
    pub(crate) end: u32,
    /// CRC of the last header, the link to the next segment.
    pub(crate) last_header_crc: u32,
    /// Its bodies were written or checked in this run of the process; else they are checked when read.
    pub(crate) is_verified: bool,
}

impl SegmentIndex {
    pub(crate) fn last_index(&self) -> u64 {
        self.first_index + self.offsets.len() as u64 - 1
    }

    fn span(&self, index: u64) -> Option<(u64, u64)> {
        let at = usize::try_from(index.checked_sub(self.first_index)?).ok()?;
        let start = *self.offsets.get(at)?;
        let end = self.offsets.get(at + 1).copied().unwrap_or(self.end);
        Some((self.base + u64::from(start), self.base + u64::from(end)))
    }
}

/// All entries of a log; indexes are contiguous.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryIndex {
    pub(crate) segments: VecDeque<SegmentIndex>,
    /// The first entry of each leader's reign, in index order.
    pub(crate) reigns: Vec<FrameId>,
}

impl EntryIndex {
    pub(crate) fn first(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.first_index)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.segments.back().map(SegmentIndex::last_index)
    }

    pub(crate) fn last_header_crc(&self) -> u32 {
        self.segments.back().map_or(0, |segment| segment.last_header_crc)
    }

    fn segment_of(&self, index: u64) -> Option<&SegmentIndex> {
        let behind = self.segments.partition_point(|segment| segment.first_index <= index);
        self.segments.get(behind.checked_sub(1)?).filter(|segment| index <= segment.last_index())
    }

    pub(crate) fn span(&self, index: u64) -> Option<(u64, u64)> {
        self.segment_of(index)?.span(index)
    }

    pub(crate) fn id(&self, index: u64) -> Option<FrameId> {
        self.segment_of(index)?;
        let behind = self.reigns.partition_point(|reign| reign.index <= index);
        let reign = self.reigns.get(behind.checked_sub(1)?)?;
        Some(FrameId { index, ..*reign })
    }

    /// Adds the entry of a header that follows the last one.
    pub(crate) fn push(&mut self, segment_base: u64, header: &FrameHeader) {
        let start = (header.physical_offset.0 - segment_base) as u32;
        if self.segments.back().is_none_or(|segment| segment.base != segment_base) {
            self.segments.push_back(SegmentIndex {
                base: segment_base,
                first_index: header.id.index,
                offsets: Vec::new(),
                end: 0,
                last_header_crc: 0,
                is_verified: true,
            });
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.offsets.push(start);
            segment.end = start + header.frame_len() as u32;
            segment.last_header_crc = header.header_crc;
        }
        self.note_reign(header.id);
    }

    pub(crate) fn note_reign(&mut self, id: FrameId) {
        if self.reigns.last().is_none_or(|last| (last.term, last.leader) != (id.term, id.leader)) {
            self.reigns.push(id);
        }
    }

    /// Forgets every entry behind `last_kept`. `last_kept_crc` is the CRC of its header.
    pub(crate) fn truncate(&mut self, last_kept: Option<u64>, last_kept_crc: u32) {
        let keep_below = last_kept.map_or(0, |index| index + 1);
        while self.segments.back().is_some_and(|segment| segment.first_index >= keep_below) {
            self.segments.pop_back();
        }
        if let Some(segment) = self.segments.back_mut() {
            let kept = (keep_below - segment.first_index) as usize;
            if let Some(end) = segment.offsets.get(kept).copied() {
                segment.end = end;
                segment.offsets.truncate(kept);
            }
            segment.last_header_crc = last_kept_crc;
        }
        self.reigns.retain(|reign| reign.index < keep_below);
    }
}

/// The entries of the log, for readers. Indexes are contiguous from [`first_index`](RaftEntries::first_index) to
/// [`last`](RaftEntries::last).
pub struct RaftEntries {
    log: Arc<CommitLog>,
    index: RwLock<EntryIndex>,
}

impl RaftEntries {
    pub(crate) fn new(log: Arc<CommitLog>, index: EntryIndex) -> RaftEntries {
        RaftEntries { log, index: RwLock::new(index) }
    }

    pub(crate) fn index(&self) -> std::sync::RwLockReadGuard<'_, EntryIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, EntryIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn truncate(&self, last_kept: Option<u64>, last_kept_crc: u32) {
        self.index_mut().truncate(last_kept, last_kept_crc);
    }

    /// `None` for an empty log.
    pub fn first_index(&self) -> Option<u64> {
        self.index().first()
    }

    /// `None` for an empty log.
    pub fn last(&self) -> Option<FrameId> {
        let index = self.index();
        index.id(index.last()?)
    }

    /// Term and leader of an entry, without touching the log.
    pub fn id(&self, index: u64) -> Option<FrameId> {
        self.index().id(index)
    }

    /// The first entry of each (term, leader), in log order.
    pub fn first_ids_per_leader(&self) -> Vec<FrameId> {
        self.index().reigns.clone()
    }

    /// Behind the last byte of an entry.
    pub fn end_of(&self, index: u64) -> Option<PhysicalOffset> {
        self.index().span(index).map(|(_, end)| PhysicalOffset(end))
    }

    /// Entries from `from` on: at least one, then as many of those before `to_exclusive` as fit `max_bytes`. A range
    /// that the log does not hold as a whole is an error, never a short answer.
    pub fn read(&self, from: u64, to_exclusive: u64, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        let spans = self.spans(from, to_exclusive, max_bytes)?;
        let mut frames = Vec::with_capacity(spans.len());
        for (position, (start, end, is_verified)) in spans.into_iter().enumerate() {
            frames.push(self.frame(from + position as u64, start, end, is_verified)?);
        }
        Ok(frames)
    }

    fn spans(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<(u64, u64, bool)>, ReadError> {
        let index = self.index();
        let (first, last) = (index.first(), index.last());
        if from >= to || first.is_none_or(|first| from < first) || last.is_none_or(|last| to - 1 > last) {
            return Err(ReadError::NoSuchEntry { from, to, first, last });
        }
        let mut spans = Vec::new();
        let mut bytes = 0;
        for entry in from..to {
            let segment = index.segment_of(entry);
            let span = segment.and_then(|segment| Some((segment.span(entry)?, segment.is_verified)));
            let ((start, end), is_verified) = span.ok_or(ReadError::NoSuchEntry { from, to, first, last })?;
            bytes += end - start;
            if !spans.is_empty() && bytes > max_bytes as u64 {
                break;
            }
            spans.push((start, end, is_verified));
        }
        Ok(spans)
    }

    fn frame(&self, entry: u64, start: u64, end: u64, is_verified: bool) -> Result<Frame, ReadError> {
        let at = PhysicalOffset(start);
        let bytes = self.log.slice(at, (end - start) as u32)?;
        let damaged = |what: &str| ReadError::Damaged { at, what: format!("entry {entry}: {what}") };
        let header = FrameHeader::decode(&bytes).ok_or_else(|| damaged("no frame header"))?;
        if header.id.index != entry || header.physical_offset != at || header.frame_len() != bytes.len() {
            return Err(damaged("its header belongs to another entry"));
        }
        if !is_verified && crc32c::crc32c(&bytes[HEADER_BYTES..]) != header.body_crc {
            return Err(damaged("the body does not match its CRC"));
        }
        Ok(Frame { header, bytes })
    }
}
