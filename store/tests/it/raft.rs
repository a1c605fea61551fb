use raftmq_model::command_record::CommandRecord;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_store::{
    AppendEntry, AppendError, AppliedPoint, FrameHeader, FrameId, FrameKind, OpenError, ProposalRecord, RaftStore,
    ReadError, StoreConfig,
};
use raftmq_sys::{Disk, Open, RealDisk, Seams};

use super::support::*;

fn id(term: u64, index: u64) -> FrameId {
    FrameId { term, leader: 1, index }
}

fn command(body: &[u8]) -> ProposalRecord {
    let mut bytes = Vec::new();
    CommandRecord { kind: 1, version: 1, body }.encode(&mut bytes);
    ProposalRecord::Command(bytes)
}

fn propose(store: &mut RaftStore, term: u64, body: &[u8]) -> FrameId {
    let id = id(term, store.writer.last().map_or(0, |last| last.index + 1));
    let mut records = [ProposalRecord::Messages(batch("A", 0, &[body])), command(b"c")];
    store.writer.append(AppendEntry::Proposal(id, &mut records), &mut Vec::new()).unwrap();
    store.writer.write().unwrap();
    id
}

fn bodies(store: &RaftStore) -> Vec<(u64, u64, Vec<u8>)> {
    let (Some(first), Some(last)) = (store.entries.first_index(), store.entries.last()) else { return Vec::new() };
    let frames = store.entries.read(first, last.index + 1, usize::MAX).unwrap();
    frames.iter().map(|frame| (frame.header.id.term, frame.header.id.index, frame.body().to_vec())).collect()
}

/// Applies everything as a state machine would.
fn apply(store: &RaftStore) {
    let (Some(first), Some(last)) = (store.entries.first_index(), store.entries.last()) else { return };
    for frame in store.entries.read(first, last.index + 1, usize::MAX).unwrap() {
        if frame.header.kind == FrameKind::Data {
            dispatch(&store.queues, &frame.body());
        }
        store.queues.set_dispatched(frame.end(), Some(AppliedPoint { id: frame.header.id, end: frame.end() }));
    }
}

#[test]
fn leader_and_follower_hold_the_same_bytes() {
    let (leader_folder, follower_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, mut follower) = (raft(leader_folder.path()), raft(follower_folder.path()));
    leader.writer.append(AppendEntry::Membership(id(0, 0), b"members"), &mut Vec::new()).unwrap();
    leader.writer.append(AppendEntry::Blank(id(1, 1)), &mut Vec::new()).unwrap();
    leader.writer.write().unwrap();
    for index in 0..40u8 {
        propose(&mut leader, 1, &[index; 300]);
    }
    assert_eq!(leader.entries.first_ids_per_leader(), [id(0, 0), id(1, 1)]);
    assert_eq!(leader.entries.id(7), Some(id(1, 7)));
    for frame in leader.entries.read(0, 42, usize::MAX).unwrap() {
        follower.writer.append(AppendEntry::Frame(&frame.bytes), &mut Vec::new()).unwrap();
    }
    follower.writer.write().unwrap();
    assert_eq!(bodies(&leader), bodies(&follower));
    let content = |folder: &std::path::Path| -> Vec<Vec<u8>> {
        files(&folder.join("commitlog")).into_iter().map(|(_, bytes)| bytes).collect()
    };
    let (mut left, mut right) = (content(leader_folder.path()), content(follower_folder.path()));
    // Each may be preparing its next segment.
    let segments = (leader.log.end().0 / SEGMENT_BYTES + 1) as usize;
    left.truncate(segments);
    right.truncate(segments);
    assert!(left == right);
}

#[test]
fn a_proposal_fills_offsets_and_reads_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = raft(folder.path());
    let mut records = [
        ProposalRecord::Messages(batch("A", 0, &[b"a", b"b"])),
        command(b"c"),
        ProposalRecord::Messages(batch("A", 0, &[b"d"])),
    ];
    let mut appended = Vec::new();
    store.writer.append(AppendEntry::Proposal(id(1, 5), &mut records), &mut appended).unwrap();
    assert_eq!(store.entries.last(), None, "not seen before it is written");
    store.writer.write().unwrap();
    assert_eq!(appended.len(), 2);
    assert_eq!((appended[0].first, appended[1].queue_offset), (PhysicalOffset(64), QueueOffset(2)));
    assert_eq!(body_at(&store.log, appended[1].first), b"d");
    for _ in 0..9 {
        propose(&mut store, 1, &[0; 100]);
    }
    assert_eq!(store.entries.first_index(), Some(5));
    assert_eq!(store.entries.read(5, 15, 1).unwrap().len(), 1, "at least one");
    assert_eq!(store.entries.read(5, 15, usize::MAX).unwrap().len(), 10);
    for (from, to) in [(4, 6), (14, 16), (6, 6), (20, 30)] {
        assert!(matches!(store.entries.read(from, to, 100), Err(ReadError::NoSuchEntry { .. })), "{from}..{to}");
    }
}

#[test]
fn frames_that_do_not_fit_are_divergence() {
    let (leader_folder, follower_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, mut follower) = (raft(leader_folder.path()), raft(follower_folder.path()));
    for _ in 0..3 {
        propose(&mut leader, 1, b"x");
    }
    let frames = leader.entries.read(0, 3, usize::MAX).unwrap();
    let mut append = |bytes: &[u8]| follower.writer.append(AppendEntry::Frame(bytes), &mut Vec::new());
    append(&frames[0].bytes).unwrap();
    assert!(matches!(append(&frames[2].bytes), Err(AppendError::Diverged { what: "its index", .. })));
    let mut other = FrameHeader { prev_header_crc: 1, ..frames[1].header };
    let mut bytes = other.encode().to_vec();
    bytes.extend_from_slice(&frames[1].body());
    assert!(matches!(append(&bytes), Err(AppendError::Diverged { what: "its chain", .. })));
    let mut other = FrameHeader { physical_offset: PhysicalOffset(8), ..frames[1].header };
    bytes[..64].copy_from_slice(&other.encode());
    assert!(matches!(append(&bytes), Err(AppendError::Diverged { what: "its position", .. })));
    for at in 0..frames[1].bytes.len() {
        let mut flipped = frames[1].bytes.to_vec();
        flipped[at] ^= 1;
        assert!(append(&flipped).is_err(), "{at}");
    }
    append(&frames[1].bytes).unwrap();
}

#[test]
fn truncation_takes_entries_and_segments_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = raft(folder.path());
    for index in 0..60u8 {
        propose(&mut store, 1, &[index; 300]);
    }
    barrier(&store);
    let end = store.entries.end_of(10).unwrap();
    store.writer.truncate_after(Some(10)).unwrap();
    assert_eq!((store.log.end(), store.log.flushed()), (end, end));
    assert_eq!(store.writer.last(), Some(id(1, 10)));
    propose(&mut store, 2, b"new");
    let expected = bodies(&store);
    assert_eq!(expected.len(), 12);
    drop(store);
    let mut store = raft(folder.path());
    assert_eq!(bodies(&store), expected);
    assert_eq!(store.entries.first_ids_per_leader(), [id(1, 0), id(2, 11)]);
    store.writer.truncate_after(None).unwrap();
    assert_eq!((store.log.end(), store.writer.last()), (PhysicalOffset(0), None));
    store.writer.append(AppendEntry::Blank(id(3, 77)), &mut Vec::new()).unwrap();
    store.writer.write().unwrap();
    drop(store);
    assert_eq!(bodies(&raft(folder.path())), [(3, 77, Vec::new())]);
}

#[test]
fn flush_callbacks_come_in_order_and_mean_durable() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = raft(folder.path());
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..50 {
        propose(&mut store, 1, b"x");
        let (end, log, sender) = (store.log.end(), store.log.clone(), sender.clone());
        let done = move |result: Result<(), _>| sender.send((number, result.is_ok() && log.flushed() >= end)).unwrap();
        store.flusher.flush_to(end, Box::new(done));
    }
    let seen: Vec<_> = receiver.iter().take(50).collect();
    assert!(seen.iter().enumerate().all(|(at, (number, durable))| at == *number && *durable), "{seen:?}");
}

#[test]
fn queues_come_back_as_of_the_durable_applied_point() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = raft(folder.path());
    for index in 0..30u8 {
        propose(&mut store, 1, &[index; 100]);
    }
    barrier(&store);
    apply(&store);
    store.queues.persist().unwrap();
    let persisted = store.entries.last().unwrap();
    propose(&mut store, 1, b"later");
    apply(&store);
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(31));
    drop(store);
    let store = raft(folder.path());
    assert_eq!(store.queues.applied().map(|point| point.id), Some(persisted));
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(30));
    apply(&store);
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(31));
    store.writer.close().unwrap();

    let before = files(&folder.path().join("consumequeue/A"));
    RealDisk::new().remove_dir_all(&folder.path().join("consumequeue/A")).unwrap();
    let store = raft(folder.path());
    assert_eq!(store.queues.applied(), None, "whoever applies knows of deletions");
    assert!(store.queues.topics().is_empty() && !folder.path().join("consumequeue/applied").exists());
    apply(&store);
    store.writer.close().unwrap();
    assert!(files(&folder.path().join("consumequeue/A")) == before);

    RealDisk::new().remove_dir_all(&folder.path().join("consumequeue")).unwrap();
    let store = raft(folder.path());
    assert_eq!(store.queues.applied(), None);
    apply(&store);
    store.writer.close().unwrap();
    assert!(files(&folder.path().join("consumequeue/A")) == before);
}

#[test]
fn a_replay_does_not_take_the_applied_point_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = raft(folder.path());
    for index in 0..10u8 {
        propose(&mut store, 1, &[index; 100]);
    }
    barrier(&store);
    apply(&store);
    store.queues.persist().unwrap();
    let (applied, dispatched) = (store.entries.last(), store.queues.dispatched());
    drop(store);
    let store = raft(folder.path());
    // The tables were older than the queues.
    for frame in store.entries.read(0, 4, usize::MAX).unwrap() {
        dispatch(&store.queues, &frame.body());
        store.queues.set_dispatched(frame.end(), Some(AppliedPoint { id: frame.header.id, end: frame.end() }));
    }
    assert_eq!(store.queues.dispatched(), dispatched);
    store.queues.persist().unwrap();
    drop(store);
    let store = raft(folder.path());
    assert_eq!(store.queues.applied().map(|point| point.id), applied);
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(10));
}

#[test]
fn a_lost_mark_beside_frames_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let refused = || {
        let before = files(folder.path());
        let error = RaftStore::open(config(folder.path()), Seams::real()).err().unwrap();
        assert!(matches!(&error, OpenError::Damaged { file, .. } if *file == mark), "{error}");
        assert!(files(folder.path()) == before);
    };
    raft(folder.path()).writer.close().unwrap();
    RealDisk::new().remove_file(&mark).unwrap();
    // As a crash between the first segment and the first mark leaves it.
    let mut store = raft(folder.path());
    propose(&mut store, 1, b"x");
    store.writer.close().unwrap();
    let whole = RealDisk::new().read(&mark).unwrap();
    RealDisk::new().remove_file(&mark).unwrap();
    refused();
    RealDisk::new().replace(&mark, &vec![0; whole.len()]).unwrap();
    refused();
    RealDisk::new().replace(&mark, &whole).unwrap();
    assert_eq!(bodies(&raft(folder.path())).len(), 1);
}

#[test]
fn full_segments_below_the_mark_are_taken_from_their_index_files() {
    let folder = tempfile::tempdir().unwrap();
    let open = || RaftStore::open(StoreConfig { verify_at_open_bytes: 0, ..config(folder.path()) }, Seams::real());
    let mut store = open().unwrap();
    for index in 0..100u8 {
        propose(&mut store, 1 + u64::from(index) / 30, &[index; 300]);
    }
    let (expected, leaders) = (bodies(&store), store.entries.first_ids_per_leader());
    store.writer.close().unwrap();
    let store = open().unwrap();
    assert!(store.report.scanned_bytes < 10_000, "{:?}", store.report);
    assert_eq!((bodies(&store), store.entries.first_ids_per_leader()), (expected.clone(), leaders));
    store.writer.close().unwrap();
    let index_files = files(&folder.path().join("raftindex"));
    assert!(index_files.len() > 5);
    for (path, mut content) in index_files {
        content[30] ^= 1;
        RealDisk::new().replace(std::path::Path::new(&path), &content).unwrap();
    }
    let store = open().unwrap();
    assert_eq!(bodies(&store), expected);
    drop(store);
    // A flip in a body that start-up does not look at is noticed by the reader.
    let file = RealDisk::new().open(&folder.path().join("commitlog/00000000000000000000"), Open::Write).unwrap();
    file.write_at(&[0xEE], 200).unwrap();
    let store = open().unwrap();
    assert!(matches!(store.entries.read(0, 1, 1), Err(ReadError::Damaged { .. })));
    drop(store);
    let error = RaftStore::open(StoreConfig { verify_at_open_bytes: 1 << 20, ..config(folder.path()) }, Seams::real());
    assert!(error.is_ok(), "the mark's recovery point stays where it was");
}

#[test]
fn damage_below_the_mark_is_refused_and_a_torn_tail_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = raft(folder.path());
    for index in 0..3u8 {
        propose(&mut store, 1, &[index; 300]);
    }
    store.writer.close().unwrap();
    let mut store = raft(folder.path());
    let flushed = store.log.end();
    propose(&mut store, 1, &[9; 300]);
    drop(store);
    let path = folder.path().join("commitlog/00000000000000000000");
    let file = RealDisk::new().open(&path, Open::Write).unwrap();
    file.write_at(&[0xEE], flushed.0 + 100).unwrap();
    let store = raft(folder.path());
    assert_eq!((store.report.cut_at, store.log.end()), (Some(flushed), flushed));
    assert_eq!(bodies(&store).len(), 3);
    drop(store);
    assert_eq!(raft(folder.path()).report.cut_at, None);
    file.write_at(&[0xEE], flushed.0 - 10).unwrap();
    let error = RaftStore::open(config(folder.path()), Seams::real()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("00000000000000000000"), "{error}");
}
