use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use raftmq_model::offset::{PhysicalOffset, QueueOffset};

use super::files::QueueFiles;
use super::unit::{UNIT_BYTES, Unit};
use crate::error::ReadError;

/// Units of each queue that stay in memory after they were written, for the consumers that keep up.
const KEEP_UNITS: u64 = 64;

/// Why a message cannot be entered into its queue. Either the log or the queue is wrong.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error("queue {topic}-{queue_id} ends at {max}, message at {at} has queue offset {offset}")]
    Gap { topic: String, queue_id: i32, max: u64, offset: u64, at: PhysicalOffset },
    #[error("queue {topic}-{queue_id} has {found:?} at {offset}, the log has {expected:?}")]
    Mismatch { topic: String, queue_id: i32, offset: u64, found: Unit, expected: Unit },
    #[error("queue {topic}-{queue_id} cannot reach the offset {offset} of the message at {at}")]
    Offset { topic: String, queue_id: i32, offset: u64, at: PhysicalOffset },
    #[error("queue {topic}-{queue_id}")]
    Read { topic: String, queue_id: i32, source: ReadError },
    #[error("consume queues cannot be written")]
    Write(#[source] std::io::Error),
}

/// The queue of one topic and queue id on this broker.
///
/// `min ≤ synced ≤ written ≤ max`; units from `tail_start ≤ written` are in memory.
pub struct ConsumeQueue {
    topic: Arc<str>,
    queue_id: i32,
    /// Names the queue in the cache of open files.
    number: u64,
    files: Arc<QueueFiles>,
    state: Mutex<State>,
}

pub(super) struct State {
    min: u64,
    max: u64,
    tail: Vec<u8>,
    tail_start: u64,
    /// Units below are in the files.
    written: u64,
    /// Units below are durable.
    synced: u64,
    /// The pass that wrote last.
    written_in: u64,
    /// The first file still lacks the fill before `min`.
    needs_fill: bool,
    /// Its first offset is settled.
    begun: bool,
    /// Somebody has put the queue on the list of those to write.
    listed: bool,
    deleted: bool,
    /// The offsets that are in the fingerprint of all queues: from, to.
    counted: (u64, u64),
}

/// What [`ConsumeQueue::count_below`] found: first offset and end.
pub(super) struct Counted {
    pub(super) before: (u64, u64),
    pub(super) now: (u64, u64),
    /// There are units behind.
    pub(super) has_more: bool,
}

/// What [`ConsumeQueue::push`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Known,
    /// `list`: the queue has to be put on the list of those to write.
    New {
        list: bool,
    },
}

/// What is to be taken back of a queue that was deleted.
pub(super) struct Deleted {
    /// The extent that is in the fingerprint.
    pub(super) counted: (u64, u64),
    pub(super) unwritten_units: u64,
}

impl ConsumeQueue {
    pub(super) fn new(topic: Arc<str>, queue_id: i32, number: u64, files: Arc<QueueFiles>) -> ConsumeQueue {
        let state = State {
            min: 0,
            max: 0,
            tail: Vec::new(),
            tail_start: 0,
            written: 0,
            synced: 0,
            written_in: 0,
            needs_fill: true,
            begun: false,
            listed: false,
            deleted: false,
            counted: (0, 0),
        };
        ConsumeQueue { topic, queue_id, number, files, state: Mutex::new(state) }
    }

    /// A queue whose files hold the units from `min` to `max`, durable below `synced`.
    pub(super) fn loaded(mut self, min: u64, max: u64, synced: u64) -> ConsumeQueue {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        (state.min, state.max, state.tail_start, state.written, state.synced) = (min, max, max, max, synced);
        (state.needs_fill, state.counted) = (false, (min, max));
        self
    }

    /// A queue that never had a unit goes on at `at`; told so again, at the greater of both.
    pub(super) fn begin_at(&self, at: u64) {
        let mut state = self.lock();
        if state.is_new() && (!state.begun || at > state.max) {
            state.begin(at);
        }
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub fn queue_id(&self) -> i32 {
        self.queue_id
    }

    /// First offset that can be read.
    pub fn min_offset(&self) -> QueueOffset {
        QueueOffset(self.lock().min)
    }

    /// The next offset to be written.
    pub fn max_offset(&self) -> QueueOffset {
        QueueOffset(self.lock().max)
    }

    /// Appends up to `max_units` units from `from` on to `out`; none at or beyond the end.
    pub fn read(&self, from: QueueOffset, max_units: usize, out: &mut Vec<Unit>) -> Result<(), ReadError> {
        let (mut next, file_end, end) = {
            let state = self.lock();
            let end = state.max.min(from.0.saturating_add(max_units as u64));
            let next = from.0.max(state.min);
            if next >= state.tail_start {
                push_units(&state.tail, next - state.tail_start, end.saturating_sub(next), out);
                return Ok(());
            }
            (next, state.tail_start.min(end), end)
        };
        while next < file_end {
            next += self.read_file(next, file_end - next, out)?;
        }
        // The tail may have moved on meanwhile; what was in memory then is in the files now.
        if next < end { self.read(QueueOffset(next), (end - next) as usize, out) } else { Ok(()) }
    }

    /// Reads up to `count` written units that lie in one file; returns how many.
    fn read_file(&self, from: u64, count: u64, out: &mut Vec<Unit>) -> Result<u64, ReadError> {
        let per_file = self.files.file_bytes / UNIT_BYTES as u64;
        let count = count.min(per_file - from % per_file);
        let base = from / per_file * self.files.file_bytes;
        let mut bytes = vec![0; count as usize * UNIT_BYTES];
        let read = self.files.open(self.number, || self.directory(), base);
        let read = read.and_then(|file| file.read_at(&mut bytes, from * UNIT_BYTES as u64 - base));
        read.map_err(|source| ReadError::Io { path: self.directory(), source })?;
        for (index, bytes) in bytes.chunks_exact(UNIT_BYTES).enumerate() {
            out.push(Unit::decode(bytes).ok_or_else(|| ReadError::Damaged {
                at: PhysicalOffset(0),
                what: format!("consume queue {}-{} has no unit at {}", self.topic, self.queue_id, from + index as u64),
            })?);
        }
        Ok(count)
    }

    /// Enters a unit at `offset`; one that is there already is compared.
    pub(super) fn push(&self, offset: u64, unit: Unit) -> Result<Pushed, DispatchError> {
        let mut state = self.lock();
        // A queue that goes on where a deleted one ended begins there or, if messages were in flight then, later.
        if state.is_new() && (!state.begun || offset > state.max) {
            state.begin(offset);
        }
        if offset == state.max {
            state.tail.extend_from_slice(&unit.encode());
            state.max += 1;
            let list = !std::mem::replace(&mut state.listed, true);
            return Ok(Pushed::New { list });
        }
        let (min, max) = (state.min, state.max);
        drop(state);
        let (topic, queue_id) = (self.topic.to_string(), self.queue_id);
        if offset > max {
            return Err(DispatchError::Gap { topic, queue_id, max, offset, at: unit.physical_offset });
        }
        if offset < min {
            return Ok(Pushed::Known);
        }
        let mut found = Vec::with_capacity(1);
        let read = self.read(QueueOffset(offset), 1, &mut found);
        read.map_err(|source| DispatchError::Read { topic: topic.clone(), queue_id, source })?;
        match found.first() {
            Some(found) if *found != unit => {
                Err(DispatchError::Mismatch { topic, queue_id, offset, found: *found, expected: unit })
            }
            _ => Ok(Pushed::Known),
        }
    }

    /// Writes what is only in memory. Returns the bytes written. One caller at a time, which numbers its passes.
    pub(super) fn write(&self, pass: u64) -> std::io::Result<u64> {
        let (from, bytes, fill) = {
            let mut state = self.lock();
            state.listed = false;
            if state.deleted {
                return Ok(0);
            }
            let skip = (state.written - state.tail_start) as usize * UNIT_BYTES;
            (state.written, state.tail[skip..].to_vec(), state.needs_fill && !state.is_new())
        };
        if fill {
            self.write_fill(from)?;
        }
        self.write_units(from, &bytes)?;
        let mut state = self.lock();
        state.needs_fill &= !fill;
        state.written_in = pass;
        state.written = from + (bytes.len() / UNIT_BYTES) as u64;
        state.trim();
        Ok(bytes.len() as u64)
    }

    fn write_fill(&self, first: u64) -> std::io::Result<()> {
        let per_file = self.files.file_bytes / UNIT_BYTES as u64;
        let count = first % per_file;
        self.write_units(first - count, &Unit::FILL.encode().repeat(count as usize))
    }

    fn write_units(&self, from: u64, mut bytes: &[u8]) -> std::io::Result<()> {
        let mut position = from * UNIT_BYTES as u64;
        while !bytes.is_empty() {
            let within = position % self.files.file_bytes;
            let length = bytes.len().min((self.files.file_bytes - within) as usize);
            let file = self.files.create(self.number, &self.directory(), position - within)?;
            file.write_at(&bytes[..length], within)?;
            bytes = &bytes[length..];
            position += length as u64;
        }
        Ok(())
    }

    /// Makes what is written durable.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        let (from, to) = {
            let state = self.lock();
            if state.deleted {
                return Ok(());
            }
            (state.synced, state.written)
        };
        if from == to {
            return Ok(());
        }
        let per_file = self.files.file_bytes / UNIT_BYTES as u64;
        let (first, last) = (from / per_file, (to - 1) / per_file);
        let synced = (first..=last).try_for_each(|index| {
            let file = self.files.existing(self.number, &self.directory(), index * self.files.file_bytes);
            file.and_then(|file| file.sync_data())
        });
        let mut state = self.lock();
        if state.deleted {
            // Meanwhile, perhaps between two of its files.
            self.files.forget(self.number);
            return Ok(());
        }
        synced?;
        state.synced = state.synced.max(to);
        Ok(())
    }

    /// Puts the queue on the list of those to write; `false` if it is there.
    pub(super) fn list(&self) -> bool {
        !std::mem::replace(&mut self.lock().listed, true)
    }

    /// Drops the memory of a queue that pass number `pass` found nothing to write for.
    pub(super) fn rest(&self, pass: u64) {
        let mut state = self.lock();
        if state.written_in < pass && state.written == state.max {
            state.tail_start = state.max;
            state.tail = Vec::new();
        }
    }

    /// Counts the units of messages below `position` into the fingerprint of all queues.
    pub(super) fn count_below(&self, position: u64) -> Result<Counted, ReadError> {
        let (min, max, before) = {
            let state = self.lock();
            if state.deleted {
                return Ok(Counted { before: (0, 0), now: (0, 0), has_more: false });
            }
            (state.min, state.max, state.counted)
        };
        let is_below = |offset: u64| -> Result<bool, ReadError> {
            let mut unit = Vec::with_capacity(1);
            self.read(QueueOffset(offset), 1, &mut unit)?;
            Ok(unit.first().is_some_and(|unit| unit.physical_offset.0 < position))
        };
        let (mut low, mut high) = (before.1.max(min), max);
        // Nearly always all of them are.
        if low < high && is_below(high - 1)? {
            low = high;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if is_below(middle)? { low = middle + 1 } else { high = middle }
        }
        let now = (min, low);
        self.lock().counted = now;
        Ok(Counted { before, now, has_more: low < max })
    }

    /// Closes the files of a queue whose files are about to be removed. Returns what the fingerprint has of it.
    pub(super) fn mark_deleted(&self) -> Deleted {
        let mut state = self.lock();
        state.deleted = true;
        self.files.forget(self.number);
        Deleted { counted: state.counted, unwritten_units: state.max - state.written }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.files.queue_directory(&self.topic, self.queue_id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_new(&self) -> bool {
        self.needs_fill && self.max == self.min && self.tail.is_empty()
    }

    fn begin(&mut self, at: u64) {
        (self.min, self.max, self.tail_start, self.written, self.synced) = (at, at, at, at, at);
        self.begun = true;
    }

    /// Keeps the newest units in memory.
    fn trim(&mut self) {
        let keep_from = self.written.saturating_sub(KEEP_UNITS).max(self.tail_start);
        let drop_bytes = (keep_from - self.tail_start) as usize * UNIT_BYTES;
        self.tail.drain(..drop_bytes);
        self.tail.shrink_to(2 * KEEP_UNITS as usize * UNIT_BYTES);
        self.tail_start = keep_from;
    }
}

fn push_units(tail: &[u8], skip: u64, count: u64, out: &mut Vec<Unit>) {
    let start = (skip as usize).saturating_mul(UNIT_BYTES).min(tail.len());
    out.extend(tail[start..].chunks_exact(UNIT_BYTES).take(count as usize).filter_map(Unit::decode));
}
