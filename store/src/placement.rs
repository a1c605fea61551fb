//! Where the next record goes, and the bytes that wait to be written there.

use std::sync::Arc;

use raftmq_model::message_codec::{BLANK_BYTES, BLANK_MAGIC};

use crate::commit_log::CommitLog;
use crate::error::AppendError;
use crate::segments::Segment;

/// A buffer that grew beyond this is given back after its write.
const KEEP_BUFFER_BYTES: usize = 4 << 20;

/// Contiguous bytes of one segment.
struct Run {
    segment: Arc<Segment>,
    position: u64,
    start: usize,
}

/// The tail of the log as its writer sees it: what is written plus what is buffered.
pub(crate) struct Placement {
    segment: Option<Arc<Segment>>,
    position: u64,
    buffer: Vec<u8>,
    runs: Vec<Run>,
}

/// Bytes that a record of `length` needs to be left in its segment: a blank must still fit behind it.
pub(crate) fn needed(length: usize) -> u64 {
    (length + BLANK_BYTES) as u64
}

impl Placement {
    pub(crate) fn new(log: &CommitLog) -> Placement {
        let position = log.end().0;
        // A log that ends exactly at the end of a segment goes on in the next one, which may not exist yet.
        let segment = log.segments().containing(position);
        Placement { segment, position, buffer: Vec::new(), runs: Vec::new() }
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn has_buffered(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Where a record of `length` bytes would go.
    pub(crate) fn place_of(&self, length: usize) -> u64 {
        match &self.segment {
            Some(segment) if segment.end() - self.position < needed(length) => segment.end(),
            _ => self.position,
        }
    }

    /// How many more segments it takes to place records of these lengths, one after the other.
    pub(crate) fn rolls(&self, log: &CommitLog, lengths: impl Iterator<Item = usize>) -> usize {
        let mut left = self.segment.as_ref().map_or(0, |segment| segment.end() - self.position);
        let mut rolls = 0;
        for length in lengths {
            if left < needed(length) {
                (left, rolls) = (log.segments().segment_bytes(), rolls + 1);
            }
            left -= length as u64;
        }
        rolls
    }

    /// Makes room for `length` bytes in one segment, closing the current one with a blank if they do not fit, and
    /// returns their position. If no new segment can be made, nothing has changed.
    pub(crate) fn place(&mut self, log: &CommitLog, length: usize) -> Result<u64, AppendError> {
        let fits = self.segment.as_ref().is_some_and(|segment| segment.end() - self.position >= needed(length));
        if !fits {
            let next = log.segments().roll(self.position);
            let next = next.map_err(|source| AppendError::making(log.segments().directory(), source))?;
            if let Some(full) = self.segment.take() {
                let left = full.end() - self.position;
                self.begin_run(&full);
                self.buffer.extend_from_slice(&(left as u32).to_be_bytes());
                self.buffer.extend_from_slice(&BLANK_MAGIC.to_be_bytes());
            }
            self.position = next.base;
            self.segment = Some(next);
        }
        Ok(self.position)
    }

    /// Appends bytes at the position that [`place`](Placement::place) returned.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if let Some(segment) = self.segment.clone() {
            self.begin_run(&segment);
            self.buffer.extend_from_slice(bytes);
            self.position += bytes.len() as u64;
        }
    }

    /// The last `length` bytes pushed.
    pub(crate) fn last_pushed(&mut self, length: usize) -> &mut [u8] {
        let start = self.buffer.len().saturating_sub(length);
        &mut self.buffer[start..]
    }

    fn begin_run(&mut self, segment: &Arc<Segment>) {
        if self.runs.last().is_none_or(|run| !Arc::ptr_eq(&run.segment, segment)) {
            let (position, start) = (self.position, self.buffer.len());
            self.runs.push(Run { segment: Arc::clone(segment), position, start });
        }
    }

    /// Writes what is buffered, one write per contiguous run. Readers see nothing of it yet.
    pub(crate) fn write(&mut self, log: &CommitLog) -> Result<(), AppendError> {
        let mut end = self.buffer.len();
        let mut result = Ok(());
        // Oldest first, so that what a crash leaves is a prefix as far as the disk keeps the order.
        for index in 0..self.runs.len() {
            let run = &self.runs[index];
            end = self.runs.get(index + 1).map_or(self.buffer.len(), |next| next.start);
            result = log.write(&run.segment, run.position, &self.buffer[run.start..end]);
            if result.is_err() {
                break;
            }
        }
        debug_assert!(result.is_err() || end == self.buffer.len());
        self.runs.clear();
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BUFFER_BYTES);
        result
    }

    /// Forgets what is buffered and begins again at the log's end.
    pub(crate) fn reset(&mut self, log: &CommitLog) {
        *self = Placement::new(log);
    }
}
