use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;

use futures::stream::{self, Stream};
use openraft::{OptionalSend, RaftLogReader};
use raftmq_store::RaftEntries;

use crate::durable::Durable;
use crate::type_config::{Entry, LogId, TypeConfig, Vote, log_id};

/// Entries are read in pieces of about this size, one at least: what one append to a follower carries.
const READ_BYTES: usize = 1 << 20;

/// Reads entries back from the commitlog; what is logically purged does not exist.
#[derive(Clone)]
pub(crate) struct LogReader {
    pub(crate) entries: Arc<RaftEntries>,
    pub(crate) durable: Arc<Durable>,
}

impl LogReader {
    /// The range cut to what the log holds: `start..end`, empty if they meet.
    fn present(&self, range: impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let (Some(first), Some(last)) = (self.entries.first_index(), self.entries.last()) else {
            return (start, start);
        };
        let unpurged = self.durable.purged().map_or(0, |id| id.index + 1);
        let start = start.max(first).max(unpurged);
        (start, end.min(last.index + 1).max(start))
    }

    /// At least one entry of `from..to`, which must be in the log.
    fn read(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let frames = self.entries.read(from, to, READ_BYTES).map_err(io::Error::other)?;
        frames.into_iter().map(|frame| Entry::of_frame(frame).map_err(io::Error::other)).collect()
    }

    /// Runs a read of entries below `to`. `None` if it failed because a truncation took them: a leader that was
    /// deposed may still be reading for a follower while the next leader's entries replace its own. What such a read
    /// sees depends on the moment, so the log is asked afterwards. Any other failure is one of the disk.
    pub(crate) fn unless_gone<T>(&self, to: u64, read: impl FnOnce() -> io::Result<T>) -> io::Result<Option<T>> {
        let last = || to.checked_sub(1).and_then(|last| self.entries.id(last));
        let before = last();
        match read() {
            Ok(read) => Ok(Some(read)),
            Err(error) => match last() {
                // Equal ids are the same entry, so the range was there all the time.
                Some(after) if before == Some(after) => Err(error),
                _ if self.entries.first_index().is_some_and(|first| to <= first) => Err(error),
                _ => {
                    tracing::info!(to, %error, "a read met a truncation of the log");
                    Ok(None)
                }
            },
        }
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        // As often as the log is truncated meanwhile: each time the range that is left is read anew.
        loop {
            let (start, end) = self.present(range.clone());
            let read = self.unless_gone(end, || {
                let mut entries = Vec::new();
                let mut next = start;
                while next < end {
                    let more = self.read(next, end)?;
                    next += more.len() as u64;
                    entries.extend(more);
                }
                Ok(entries)
            })?;
            if let Some(entries) = read {
                return Ok(entries);
            }
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.durable.vote())
    }

    /// Empty if the range is gone. openraft then sends what it would without entries and asks again, until the
    /// replication of the deposed leader ends; an error would stop this member for good.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        Ok(self.unless_gone(end, || self.read(start, end))?.unwrap_or_default())
    }

    /// Of committed entries, for apply: those are never truncated, so any failure is an error.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (next, end) = self.present(range);
        let state = Some((self.clone(), next, end, VecDeque::new()));
        stream::unfold(state, |state| async move {
            let (reader, mut next, end, mut read) = state?;
            if read.is_empty() && next < end {
                match reader.read(next, end) {
                    Ok(entries) => {
                        next += entries.len() as u64;
                        read = entries.into();
                    }
                    Err(error) => return Some((Err(error), None)),
                }
            }
            let entry = read.pop_front()?;
            Some((Ok(entry), Some((reader, next, end, read))))
        })
    }

    /// The last entry of each leader within the range, from memory. (openraft's documentation of this method says
    /// the first one; its own implementation, its engine and its test suite take the last.)
    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        let (start, end) = range.into_inner();
        let reigns = self.entries.first_ids_per_leader();
        let later = reigns.into_iter().filter(|first| first.index > start.index && first.index <= end.index);
        let lasts = later.filter_map(|first| self.entries.id(first.index - 1)).map(log_id);
        Ok(lasts.chain([end]).collect())
    }
}
