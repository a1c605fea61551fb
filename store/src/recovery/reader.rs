//! Reads the segments from start to end through one buffer.

use std::sync::Arc;

use raftmq_model::message_codec::{BLANK_BYTES, BLANK_MAGIC};

use crate::error::OpenError;
use crate::records::size_and_magic;
use crate::segments::{Segment, Segments};

const WINDOW_BYTES: u64 = 256 << 10;

/// A cursor over segments that need not be sound. Missing bytes of a short file read as zeros; lengths found in the
/// files are only used after they were checked against the segment.
pub(super) struct LogReader {
    segments: Vec<Arc<Segment>>,
    segment_bytes: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Bytes that were asked for.
    pub(super) scanned: u64,
}

impl LogReader {
    pub(super) fn new(segments: &Segments) -> LogReader {
        let segment_bytes = segments.segment_bytes();
        LogReader { segments: segments.all(), segment_bytes, window: Vec::new(), window_at: 0, scanned: 0 }
    }

    /// First position of the log.
    pub(super) fn first(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.base)
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(super) fn segment(&self, position: u64) -> Option<&Arc<Segment>> {
        let index = usize::try_from(position.checked_sub(self.first())? / self.segment_bytes).ok()?;
        self.segments.get(index)
    }

    /// Bytes left in the segment of this position; 0 behind the last one.
    pub(super) fn left(&self, position: u64) -> u64 {
        self.segment(position).map_or(0, |segment| segment.end() - position)
    }

    /// `length` bytes that lie in one segment, `None` if they do not.
    pub(super) fn bytes(&mut self, position: u64, length: usize) -> Result<Option<&[u8]>, OpenError> {
        if length as u64 > self.left(position) {
            return Ok(None);
        }
        let end = position + length as u64;
        if position < self.window_at || end > self.window_at + self.window.len() as u64 {
            self.fill(position, length as u64)?;
        }
        self.scanned += length as u64;
        let start = (position - self.window_at) as usize;
        Ok(Some(&self.window[start..start + length]))
    }

    fn fill(&mut self, position: u64, length: u64) -> Result<(), OpenError> {
        let Some(segment) = self.segment(position).cloned() else { return Ok(()) };
        let take = length.max(WINDOW_BYTES).min(segment.end() - position);
        let within = position - segment.base;
        let there = segment.found_bytes.saturating_sub(within).min(take);
        self.window.clear();
        self.window.resize(take as usize, 0);
        let read = segment.file.read_at(&mut self.window[..there as usize], within);
        read.map_err(OpenError::io("read", &segment.path))?;
        self.window_at = position;
        Ok(())
    }

    /// Size and magic of the record at `position`, zeros where the log has ended.
    pub(super) fn head(&mut self, position: u64) -> Result<(u32, u32), OpenError> {
        Ok(self.bytes(position, BLANK_BYTES)?.and_then(size_and_magic).unwrap_or_default())
    }

    /// Whether a blank that closes the segment lies here.
    pub(super) fn is_blank(&self, position: u64, (size, magic): (u32, u32)) -> bool {
        magic == BLANK_MAGIC && u64::from(size) == self.left(position)
    }

    /// Every byte below the flushed mark must be there at all.
    pub(super) fn check_present(&self, mark: u64) -> Result<(), OpenError> {
        for segment in &self.segments {
            let there = segment.base + segment.found_bytes;
            if segment.found_bytes < segment.length && there < mark {
                return Err(self.damaged(there, format!("the file ends, it was flushed up to {mark}")));
            }
        }
        match mark.checked_sub(1).filter(|last| self.segment(*last).is_none()) {
            Some(last) if mark > 0 => Err(self.damaged(last, "the segment is missing".to_owned())),
            _ => Ok(()),
        }
    }

    pub(super) fn damaged(&self, offset: u64, what: String) -> OpenError {
        let segment = self.segment(offset).or(self.segments.last());
        OpenError::Damaged {
            file: segment.map(|segment| segment.path.clone()).unwrap_or_default(),
            position: segment.map_or(0, |segment| offset.saturating_sub(segment.base)),
            offset: raftmq_model::offset::PhysicalOffset(offset),
            what,
        }
    }
}
