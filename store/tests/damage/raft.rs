//! Raft mode: every byte of a frame is protected.

use std::time::Duration;

use bytes::Bytes;
use raftmq_model::command_record::CommandRecord;
use raftmq_sim::SimMachine;
use raftmq_store::{
    AppendEntry, AppliedPoint, FrameId, LogRecord, OpenError, ProposalRecord, RaftStore, StoreConfig, records,
};

use crate::cases::{Harm, assert_refused, data_files, difference, for_each, segment};
use crate::support::{self, batch};

/// Small bodies, so that the smallest segment is 64 KiB and a log of all kinds of entries two.
pub(crate) const MAX_BODY_BYTES: usize = 512;

pub(crate) fn config() -> StoreConfig {
    support::config(MAX_BODY_BYTES)
}

/// A store as a kill left it.
pub(crate) struct Stopped {
    machine: SimMachine,
    /// Flushed mark on disk.
    pub(crate) mark: usize,
    /// Start and bytes of each frame.
    pub(crate) frames: Vec<(usize, Bytes)>,
}

impl Stopped {
    pub(crate) fn end(&self) -> usize {
        self.frames.last().map_or(0, |(start, bytes)| start + bytes.len())
    }

    /// Frames that end at or before this position.
    pub(crate) fn frames_before(&self, position: usize) -> &[(usize, Bytes)] {
        let kept = self.frames.iter().take_while(|(start, bytes)| start + bytes.len() <= position).count();
        &self.frames[..kept]
    }

    /// A copy to do harm to.
    pub(crate) fn copy(&self) -> SimMachine {
        self.machine.fork().restart()
    }
}

fn propose(store: &mut RaftStore, index: u64, messages: &[(&str, i32, usize, usize)]) {
    let mut proposal: Vec<_> = messages
        .iter()
        .enumerate()
        .map(|(part, (topic, queue, count, body_bytes))| {
            let ids: Vec<u64> = (0..*count as u64).map(|number| index * 1000 + part as u64 * 100 + number).collect();
            ProposalRecord::Messages(batch(topic, *queue, &ids, *body_bytes))
        })
        .collect();
    let mut command = Vec::new();
    CommandRecord { kind: 7, version: 1, body: b"some command" }.encode(&mut command);
    proposal.push(ProposalRecord::Command(command));
    append(store, AppendEntry::Proposal(FrameId { term: 1, leader: 3, index }, &mut proposal));
}

fn append(store: &mut RaftStore, entry: AppendEntry<'_>) {
    store.writer.append(entry, &mut Vec::new()).unwrap();
    store.writer.write().unwrap();
}

fn flush(store: &RaftStore, machine: &SimMachine) {
    store.flusher.flush_to(store.log.end(), Box::new(|result| result.unwrap()));
    machine.spawn.run_until_idle();
}

/// Dispatches every entry that is not yet.
pub(crate) fn apply_all(store: &RaftStore) {
    let end = store.entries.last().map_or(0, |last| last.index + 1);
    for (_, bytes) in read_all(store) {
        for record in records(&bytes[64..]) {
            if let Ok((_, LogRecord::Message(message))) = record {
                store.queues.dispatch(&message).unwrap();
            }
        }
    }
    if let (Some(id), Some(log_end)) = (store.entries.last(), store.entries.end_of(end.saturating_sub(1))) {
        store.queues.set_dispatched(log_end, Some(AppliedPoint { id, end: log_end }));
    }
}

pub(crate) fn read_all(store: &RaftStore) -> Vec<(usize, Bytes)> {
    let end = store.entries.last().map_or(0, |last| last.index + 1);
    let mut found = Vec::new();
    while (found.len() as u64) < end {
        let frames = store.entries.read(found.len() as u64, end, 1 << 20).unwrap();
        found.extend(frames.into_iter().map(|frame| (frame.header.physical_offset.0 as usize, frame.bytes)));
    }
    found
}

pub(crate) fn open(machine: &SimMachine) -> Result<RaftStore, OpenError> {
    RaftStore::open(config(), machine.seams())
}

/// Entries of all kinds below the mark and behind it. `filler` messages of the largest size come first.
pub(crate) fn stopped(filler: usize) -> Stopped {
    let machine = support::machine(5);
    let mut store = open(&machine).unwrap();
    let id = |index| FrameId { term: 1, leader: 3, index };
    append(&mut store, AppendEntry::Blank(id(0)));
    append(&mut store, AppendEntry::Membership(id(1), b"n0,n1,n2"));
    for number in 0..filler {
        propose(&mut store, 2 + number as u64, &[("F", 0, 16, MAX_BODY_BYTES)]);
    }
    let next = 2 + filler as u64;
    propose(&mut store, next, &[("A", 0, 2, 60), ("B", 1, 1, 20)]);
    propose(&mut store, next + 1, &[("A", 1, 1, 10)]);
    flush(&store, &machine);
    apply_all(&store);
    machine.clock.advance(Duration::from_millis(1001));
    machine.spawn.run_until_idle();
    let mark = store.log.flushed().0 as usize;
    propose(&mut store, next + 2, &[("A", 0, 1, 30), ("B", 0, 2, 40)]);
    append(&mut store, AppendEntry::Blank(FrameId { term: 2, leader: 4, index: next + 3 }));
    propose(&mut store, next + 4, &[("B", 1, 1, 50)]);
    flush(&store, &machine);
    let frames = read_all(&store);
    machine.disk.kill();
    Stopped { machine, mark, frames }
}

fn check(stopped: &Stopped, harm: Harm, position: usize) {
    let what = format!("{harm:?} at {position} of {} (mark {})", stopped.end(), stopped.mark);
    let machine = stopped.copy();
    let bytes = machine.disk.files()[&segment()].clone();
    harm.apply(&machine, &segment(), position);
    let harmed = machine.fork();
    let opened = open(&machine);
    if harm.changes(&bytes, position, stopped.mark) {
        machine.disk.kill();
        return assert_refused(opened.map(drop), harm, &harmed, &machine, &what);
    }
    let store = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    // A cut or a zero at the end of a frame, or of the log, takes nothing from it.
    let expected = stopped.frames_before(position);
    assert_eq!(read_all(&store), expected, "{what}: the valid prefix");
    let end = expected.last().map_or(0, |(start, bytes)| start + bytes.len());
    assert_eq!(store.log.end().0 as usize, end, "{what}");
    let first = data_files(&machine);
    assert!(first[&segment()][end..].iter().all(|byte| *byte == 0), "{what}: zeros behind the end");
    let again = machine.restart();
    let store = open(&again).unwrap_or_else(|error| panic!("{what}, opened again: {error}"));
    assert_eq!(read_all(&store), expected, "{what}, opened again");
    assert!(data_files(&again) == first, "{what}: a second recovery changed {}", difference(&machine, &again));
    again.disk.kill();
}

#[test]
fn every_byte_of_a_raft_log_is_guarded() {
    let stopped = stopped(0);
    assert!(stopped.mark > 500 && stopped.mark + 500 < stopped.end(), "{} {}", stopped.mark, stopped.end());
    let positions: Vec<usize> = (0..stopped.end()).collect();
    for_each(&positions, |position| check(&stopped, Harm::FlipBit((position % 8) as u8), position));
    let positions: Vec<usize> = (0..=stopped.end()).collect();
    for_each(&positions, |position| check(&stopped, Harm::Zero, position));
    for_each(&positions, |position| check(&stopped, Harm::Cut, position));
    println!("raft: {} flips, {} torn tails, {} cut files", stopped.end(), positions.len(), positions.len());
}

#[test]
fn every_bit_of_a_frame_header_behind_the_mark_ends_the_log_there() {
    let stopped = stopped(0);
    let start = stopped.frames.iter().map(|(start, _)| *start).find(|start| *start >= stopped.mark).unwrap();
    let positions: Vec<usize> = (start..start + 64).collect();
    for_each(&positions, |position| (0..8).for_each(|bit| check(&stopped, Harm::FlipBit(bit), position)));
}

/// Damage in the first of two segments: the mark lies in the second, so nothing in the first may be cut.
#[test]
fn damage_in_a_full_segment_is_reported() {
    let stopped = stopped(8);
    let segment_bytes = config().segment_bytes as usize;
    assert!(stopped.mark > segment_bytes, "the mark lies in the second segment");
    let in_first = stopped.frames.iter().take_while(|(start, _)| *start < segment_bytes);
    let blank = in_first.clone().map(|(start, bytes)| start + bytes.len()).last().unwrap();
    let near = |at: usize| at.saturating_sub(3)..at + 66;
    let mut positions: Vec<usize> = in_first.flat_map(|(start, _)| near(*start)).chain(blank - 3..blank + 8).collect();
    positions.extend((0..blank).step_by(211));
    positions.sort_unstable();
    positions.dedup();
    for_each(&positions, |position| {
        let machine = stopped.copy();
        Harm::FlipBit((position % 8) as u8).apply(&machine, &segment(), position);
        let harmed = machine.fork();
        let opened = open(&machine);
        machine.disk.kill();
        let what = format!("flip at {position} of the first segment");
        assert_refused(opened.map(drop), Harm::FlipBit(0), &harmed, &machine, &what);
    });
    println!("raft: {} flips in a full segment", positions.len());
}
