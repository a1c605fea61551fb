//! A store whose first segment holds any bytes opens or is refused, without a panic; what opens can be read to its
//! end, and opening it again changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use raftmq_sim::SimMachine;
use raftmq_store::{
    AppendEntry, ClassicStore, CommitLog, EncodedMessages, FlushMode, FrameId, LogRecord, OpenError, ProposalRecord,
    RaftStore, StoreConfig, records,
};
use raftmq_sys::Disk;

const SEGMENT_BYTES: usize = 4096;
const ROOT: &str = "/store";
const SEGMENT: &str = "/store/commitlog/00000000000000000000";

/// The first byte chooses the kind of store and which of its small files are there; the rest is the segment.
pub fn run(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let is_raft = choice & 1 != 0;
    let machine = stopped(is_raft).fork().restart();
    if choice & 2 != 0 {
        machine.disk.remove_file(&Path::new(ROOT).join("mark")).expect("a stopped store has a mark");
    }
    if choice & 4 != 0 && !is_raft {
        machine.disk.remove_file(&Path::new(ROOT).join("abort")).expect("a killed store has an abort file");
    }
    machine.disk.edit_at_rest(Path::new(SEGMENT), |segment| {
        let length = bytes.len().min(SEGMENT_BYTES);
        segment.fill(0);
        segment[..length].copy_from_slice(&bytes[..length]);
    });
    let before = log_files(&machine);
    let machine = machine.restart();
    let Ok(end) = open_and_read(&machine, is_raft) else {
        assert!(log_files(&machine) == before, "a refused store was changed");
        return;
    };
    machine.disk.kill();
    let first = log_files(&machine);
    let again = machine.restart();
    match open_and_read(&again, is_raft) {
        Ok(found) => assert_eq!(found, end),
        Err(error) => panic!("opened once, then: {error}"),
    }
    assert!(log_files(&again) == first, "a second recovery changed the log");
}

fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT_BYTES as u64,
        queue_file_bytes: 400,
        max_message_bytes: 1024,
        record_extra_bytes: 256,
        flush: FlushMode::Sync,
        zero_ahead_bytes: 0,
        ..StoreConfig::new(ROOT)
    }
}

/// The end of the log.
fn open_and_read(machine: &SimMachine, is_raft: bool) -> Result<u64, OpenError> {
    if !is_raft {
        let store = ClassicStore::open(config(), machine.seams())?;
        for (topic, queues) in store.queues.topics() {
            for queue in queues.into_iter().filter_map(|id| store.queues.queue(&topic, id)) {
                let mut units = Vec::new();
                queue.read(queue.min_offset(), usize::MAX, &mut units).expect("units below the end are there");
                units.iter().for_each(|unit| check_message(&store.log, unit.physical_offset));
            }
        }
        return Ok(store.log.end().0);
    }
    let store = RaftStore::open(config(), machine.seams())?;
    if let (Some(first), Some(last)) = (store.entries.first_index(), store.entries.last()) {
        let frames = store.entries.read(first, last.index + 1, usize::MAX).expect("entries of the index are there");
        for frame in frames {
            records(&frame.body()).for_each(drop);
        }
    }
    Ok(store.log.end().0)
}

fn check_message(log: &CommitLog, at: raftmq_model::offset::PhysicalOffset) {
    raftmq_store::read_message(log, at).expect("a queue points to messages");
}

fn log_files(machine: &SimMachine) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = machine.disk.files();
    files.retain(|path, _| path.starts_with("/store/commitlog"));
    files
}

/// A store as a kill left it, with messages below the mark and behind it.
fn stopped(is_raft: bool) -> &'static SimMachine {
    static CLASSIC: OnceLock<SimMachine> = OnceLock::new();
    static RAFT: OnceLock<SimMachine> = OnceLock::new();
    match is_raft {
        false => CLASSIC.get_or_init(|| make(write_classic)),
        true => RAFT.get_or_init(|| make(write_raft)),
    }
}

fn make(write: fn(&SimMachine)) -> SimMachine {
    let machine = SimMachine::new(1);
    machine.make_directory(Path::new(ROOT)).expect("an empty disk takes a directory");
    let mut machine = machine.restart();
    for _ in 0..2 {
        machine = machine.restart();
        write(&machine);
        machine.disk.kill();
    }
    machine.restart()
}

fn batch(queue_id: i32) -> EncodedMessages {
    let mut bytes = Vec::new();
    for _ in 0..2 {
        super::message::encode("A", queue_id, ([127, 0, 0, 1], 10911).into(), &mut bytes);
    }
    EncodedMessages { topic: "A".into(), queue_id, count: 2, bytes }
}

fn write_classic(machine: &SimMachine) {
    let mut store = ClassicStore::open(config(), machine.seams()).expect("a sound store opens");
    for queue_id in 0..2 {
        let mut batches = [batch(queue_id)];
        store.writer.append(&mut batches, &mut Vec::new()).expect("there is room");
        for record in records(&batches[0].bytes) {
            if let Ok((_, LogRecord::Message(message))) = record {
                store.queues.dispatch(&message).expect("in order");
            }
        }
        store.queues.set_dispatched(store.writer.end(), None);
    }
}

fn write_raft(machine: &SimMachine) {
    let mut store = RaftStore::open(config(), machine.seams()).expect("a sound store opens");
    for queue_id in 0..2 {
        let index = store.writer.last().map_or(0, |last| last.index + 1);
        let mut proposal = [ProposalRecord::Messages(batch(queue_id))];
        let entry = AppendEntry::Proposal(FrameId { term: 1, leader: 1, index }, &mut proposal);
        store.writer.append(entry, &mut Vec::new()).expect("there is room");
        store.writer.write().expect("the disk is well");
    }
}

/// The segment of the stopped Raft store, without the zeros behind its end.
pub(crate) fn raft_segment() -> Vec<u8> {
    segment(true)
}

fn segment(is_raft: bool) -> Vec<u8> {
    let mut bytes = stopped(is_raft).disk.files()[Path::new(SEGMENT)].clone();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(end);
    bytes
}

/// Each kind with and without its small files.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |choice: u8| [&[choice], &segment(choice & 1 != 0)[..]].concat();
    (0..8).map(seed).collect()
}
