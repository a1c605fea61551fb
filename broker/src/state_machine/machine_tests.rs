use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use raftmq_model::command_record::CommandRecord;
use raftmq_model::message::Message;
use raftmq_model::message_codec;
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_model::topic::TopicConfig;
use raftmq_store::{ClassicStore, StoreConfig};
use raftmq_sys::disk::{Entry, Space};
use raftmq_sys::{Disk, DiskFile, Open, RealDisk, Seams};
use tokio::sync::Notify;

use super::*;
use crate::state_machine::{MemoryTableStore, OffsetCommit};

/// What a sink was told, shared with the test.
#[derive(Clone, Default)]
struct Told {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    topics: Arc<Mutex<Vec<String>>>,
    nobody_waits: bool,
}

impl ApplySink for Told {
    fn has_waiters(&self) -> bool {
        !self.nobody_waits
    }

    fn arrived(&mut self, arrivals: &[Arrival]) {
        self.arrivals.lock().unwrap().extend_from_slice(arrivals);
    }

    fn topics_changed(&mut self, topics: &[Arc<str>]) {
        self.topics.lock().unwrap().extend(topics.iter().map(ToString::to_string));
    }
}

struct Fixture {
    machine: Machine,
    store: MemoryTableStore,
    told: Told,
    queues: Arc<ConsumeQueues>,
    /// Where the next body would lie.
    end: u64,
    next_index: u64,
    _log: ClassicStore,
    _folder: tempfile::TempDir,
}

fn fixture() -> Fixture {
    fixture_with(MemoryTableStore::default(), Told::default())
}

fn fixture_with(store: MemoryTableStore, told: Told) -> Fixture {
    fixture_on(Seams::real(), store, told)
}

fn fixture_on(seams: Seams, store: MemoryTableStore, told: Told) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { segment_bytes: 1 << 20, max_message_bytes: 1000, ..StoreConfig::new(folder.path()) };
    let log = ClassicStore::open(config, seams).unwrap();
    let queues = log.queues.clone();
    let machine = Machine::open(Tables::default(), queues.clone(), Box::new(told.clone()), Box::new(store.clone()));
    Fixture { machine, store, told, queues, end: 64, next_index: 1, _log: log, _folder: folder }
}

impl Fixture {
    fn apply(&mut self, body: &Body) -> Result<(), ApplyError> {
        let id = FrameId { term: 1, leader: 0, index: self.next_index };
        let bytes = body.at(self.end);
        self.machine.apply(Some(id), PhysicalOffset(self.end), &bytes)?;
        self.next_index += 1;
        self.end += bytes.len() as u64 + 64;
        Ok(())
    }
}

/// Records of an entry.
#[derive(Clone, Default)]
struct Body(Vec<BodyRecord>);

#[derive(Clone)]
enum BodyRecord {
    Message { topic: String, queue_id: i32, offset: u64 },
    Other(Vec<u8>),
}

impl Body {
    fn message(mut self, topic: &str, queue_id: i32, offset: u64) -> Body {
        self.0.push(BodyRecord::Message { topic: topic.to_owned(), queue_id, offset });
        self
    }

    fn command(mut self, command: &Command) -> Body {
        self.0.push(BodyRecord::Other(command.to_record()));
        self
    }

    fn at(&self, position: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in &self.0 {
            match record {
                BodyRecord::Other(record) => bytes.extend_from_slice(record),
                BodyRecord::Message { topic, queue_id, offset } => {
                    let start = bytes.len();
                    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
                    let message = Message {
                        topic,
                        queue_id: *queue_id,
                        flag: 0,
                        sys_flag: 0,
                        born_timestamp: 1,
                        born_host: host,
                        store_host: host,
                        reconsume_times: 0,
                        prepared_transaction_offset: 0,
                        body: b"body",
                        properties: b"TAGS\x01TagA",
                    };
                    message_codec::encode(&message, 1000, &mut bytes).unwrap();
                    let at = PhysicalOffset(position + start as u64);
                    message_codec::patch(&mut bytes[start..], QueueOffset(*offset), at, 1_700_000_000_000);
                }
            }
        }
        bytes
    }
}

fn put_topic(name: &str) -> Command {
    Command::PutTopic { config: TopicConfig::new(name, 4, 6), from_auto_create: false, at_unix_ms: 7 }
}

fn commit(offset: u64) -> Command {
    let commit =
        OffsetCommit { group: "cg".to_owned(), topic: "T".to_owned(), queue_id: 0, offset: QueueOffset(offset) };
    Command::CommitOffsets { commits: vec![commit] }
}

/// Every kind of record, messages and commands mixed.
fn script() -> Vec<Body> {
    let group = SubscriptionGroupConfig::new("cg");
    vec![
        Body::default().command(&put_topic("T")).message("T", 0, 0),
        Body::default().command(&Command::PutGroup { config: group, from_auto_create: true, at_unix_ms: 8 }),
        Body::default().message("T", 0, 1).command(&commit(1)).message("T", 1, 0),
        Body::default().command(&put_topic("U")).message("U", 0, 0).command(&commit(2)),
        Body::default().command(&Command::DeleteTopic {
            topic: "U".to_owned(),
            ends: vec![(0, QueueOffset(1))],
            at_unix_ms: 9,
        }),
        Body::default().command(&put_topic("U")).message("U", 0, 1),
    ]
}

#[test]
fn an_entry_applies_messages_and_commands() {
    let mut fixture = fixture();
    for body in script() {
        fixture.apply(&body).unwrap();
    }
    assert_eq!(fixture.told.arrivals.lock().unwrap().len(), 0, "nobody is told before the run ends");
    fixture.machine.apply_done();
    let tables = fixture.machine.tables();
    assert_eq!(tables.consumer_offsets.get("cg", "T", 0), Some(QueueOffset(2)));
    assert_eq!(tables.topics.first_offset("U", 0), QueueOffset(1));
    assert_eq!(fixture.queues.queue("T", 0).unwrap().max_offset(), QueueOffset(2));
    let again = fixture.queues.queue("U", 0).unwrap();
    assert_eq!((again.min_offset(), again.max_offset()), (QueueOffset(1), QueueOffset(2)));
    assert_eq!(queue_ends(&fixture.queues, "T"), [(0, QueueOffset(2)), (1, QueueOffset(1))]);
    let arrivals = fixture.told.arrivals.lock().unwrap();
    let arrivals: Vec<_> = arrivals.iter().map(|it| (&*it.topic, it.queue_id, it.queue_offset.0)).collect();
    assert_eq!(arrivals, [("T", 0, 0), ("T", 0, 1), ("T", 1, 0), ("U", 0, 0), ("U", 0, 1)]);
    assert_eq!(*fixture.told.topics.lock().unwrap(), ["T", "U", "U", "U"]);
}

#[test]
fn a_deleted_topic_goes_on_where_it_ended_after_a_restart_too() {
    let mut first = fixture();
    for body in &script()[..5] {
        first.apply(body).unwrap();
    }
    first.machine.apply_done();
    let range = |fixture: &Fixture| {
        let queue = fixture.queues.queue("U", 0).unwrap();
        (queue.min_offset().0, queue.max_offset().0)
    };
    assert_eq!(range(&first), (1, 1));
    let restarted = fixture_with(first.store.clone(), Told::default());
    assert_eq!(range(&restarted), (1, 1), "although its files are gone");
    let mut installed = fixture();
    installed.machine.install(first.machine.applied().unwrap(), &first.machine.snapshot()).unwrap();
    assert_eq!(range(&installed), (1, 1));
}

/// The tables were lost, by a power cut for example; the consume queues were not.
#[test]
fn a_replay_brings_no_deleted_message_back_and_goes_on_where_the_topic_ended() {
    let mut replay = fixture();
    replay.machine.queues_applied = Some(FrameId { term: 1, leader: 0, index: 5 });
    for body in &script()[..5] {
        replay.apply(body).unwrap();
    }
    let range = |fixture: &Fixture| {
        let queue = fixture.queues.queue("U", 0).unwrap();
        (queue.min_offset().0, queue.max_offset().0)
    };
    assert_eq!(range(&replay), (1, 1));
    replay.apply(&script()[5]).unwrap();
    assert_eq!(range(&replay), (1, 2));
}

#[test]
fn a_replay_of_two_deletions_goes_on_behind_the_second() {
    let delete = |end| {
        let ends = vec![(0, QueueOffset(end))];
        Body::default().command(&Command::DeleteTopic { topic: "U".to_owned(), ends, at_unix_ms: 9 })
    };
    let create = Body::default().command(&put_topic("U"));
    let script = [create.clone(), delete(100), create.clone().message("U", 0, 100), delete(200), create];
    let mut replay = fixture();
    replay.machine.queues_applied = Some(FrameId { term: 1, leader: 0, index: 5 });
    for body in &script {
        replay.apply(body).unwrap();
    }
    assert_eq!(queue_ends(&replay.queues, "U"), [(0, QueueOffset(200))]);
}

#[test]
fn equal_entries_give_equal_snapshots_however_they_come() {
    let (mut one, mut runs) =
        (fixture(), fixture_with(MemoryTableStore::default(), Told { nobody_waits: true, ..Told::default() }));
    for body in script() {
        one.apply(&body).unwrap();
        runs.apply(&body).unwrap();
        runs.machine.apply_done();
    }
    one.machine.apply_done();
    assert_eq!(one.machine.snapshot(), runs.machine.snapshot());
    assert!(runs.told.arrivals.lock().unwrap().is_empty());
}

#[test]
fn after_a_restart_the_tables_skip_what_they_hold() {
    let mut first = fixture();
    for body in &script()[..4] {
        first.apply(body).unwrap();
    }
    first.machine.apply_done();
    let stored = first.store.clone();
    let mut second = fixture_with(stored, Told::default());
    assert_eq!(second.machine.applied().map(|id| id.index), Some(4));
    assert_eq!(second.machine.tables().consumer_offsets.get("cg", "T", 0), Some(QueueOffset(2)));
    for body in &script()[..3] {
        second.apply(body).unwrap();
        assert_eq!(second.machine.tables().consumer_offsets.get("cg", "T", 0), Some(QueueOffset(2)), "not back to 1");
    }
    for body in &script()[3..] {
        second.apply(body).unwrap();
    }
    for body in &script()[4..] {
        first.apply(body).unwrap();
    }
    assert_eq!(second.machine.snapshot(), first.machine.snapshot());
    assert_eq!(second.machine.applied(), first.machine.applied());
}

#[test]
fn a_snapshot_takes_the_place_of_the_entries_before_it() {
    let mut leader = fixture();
    for body in &script()[..4] {
        leader.apply(body).unwrap();
    }
    let snapshot = leader.machine.snapshot();
    let mut follower = fixture();
    follower.apply(&Body::default().command(&put_topic("Old"))).unwrap();
    let applied = leader.machine.applied().unwrap();
    follower.machine.install(applied, &snapshot).unwrap();
    assert_eq!(follower.machine.snapshot(), snapshot);
    assert_eq!(follower.machine.applied(), Some(applied));
    assert_eq!(follower.store.clone().load().unwrap().applied, applied);
    let mut restarted = fixture_with(follower.store.clone(), Told::default());
    assert_eq!(restarted.machine.snapshot(), snapshot);
    // openraft hands a member its own, older snapshot at start.
    let older = fixture().machine.snapshot();
    let of_older = FrameId { index: 1, ..applied };
    restarted.machine.install(of_older, &older).unwrap();
    assert_eq!(restarted.machine.snapshot(), snapshot);
    assert!(restarted.machine.install(FrameId { index: 9, ..applied }, &snapshot[1..]).is_err());
    assert_eq!(restarted.machine.snapshot(), snapshot);
}

#[test]
fn what_cannot_be_applied_stops_and_is_named() {
    let mut fixture = fixture();
    let mut unknown = Vec::new();
    CommandRecord { kind: 0x7777, version: 3, body: b"" }.encode(&mut unknown);
    let body = Body(vec![BodyRecord::Other(unknown)]).command(&put_topic("T"));
    let error = fixture.apply(&body).unwrap_err();
    assert!(matches!(error, ApplyError::Command { at: PhysicalOffset(64), .. }), "{error}");
    assert!(!fixture.machine.tables().topics.contains("T"), "nothing behind it was applied");
    assert_eq!(fixture.machine.applied(), None);
    let error = fixture.apply(&Body(vec![BodyRecord::Other(b"garbage!".to_vec())])).unwrap_err();
    assert!(matches!(error, ApplyError::Record { .. }), "{error}");
    let elsewhere = Body(vec![BodyRecord::Other(Body::default().message("T", 0, 0).at(1000))]);
    let error = fixture.apply(&elsewhere).unwrap_err();
    assert!(matches!(error, ApplyError::Misplaced { says: PhysicalOffset(1000), .. }), "{error}");
}

#[test]
fn an_entry_applied_in_part_is_not_stored() {
    let mut fixture = fixture();
    fixture.apply(&Body::default().command(&put_topic("T"))).unwrap();
    fixture.machine.apply_done();
    let broken = Body::default().command(&put_topic("U")).command(&commit(1));
    let broken = Body([broken.0, vec![BodyRecord::Other(b"garbage!".to_vec())]].concat());
    fixture.apply(&broken).unwrap_err();
    fixture.machine.apply_done();
    fixture.machine.close();
    let loaded = fixture.store.load().unwrap();
    assert_eq!(loaded.applied.index, 1);
    assert!(!loaded.entries[&TableId::Topics].iter().any(|(key, _)| key == b"cU"), "{loaded:?}");
}

#[test]
fn the_table_store_hears_of_entries_without_commands_now_and_then() {
    let mut fixture = fixture();
    fixture.apply(&Body::default().command(&put_topic("T"))).unwrap();
    fixture.machine.apply_done();
    for offset in 0..ENTRIES_PER_APPLIED {
        fixture.apply(&Body::default().message("T", 0, offset)).unwrap();
        if offset + 1 < ENTRIES_PER_APPLIED {
            fixture.machine.apply_done();
        }
    }
    assert_eq!(fixture.store.load().unwrap().applied.index, 1);
    fixture.machine.apply_done();
    assert_eq!(fixture.store.load().unwrap().applied.index, 1 + ENTRIES_PER_APPLIED);
    fixture.apply(&Body::default().message("T", 1, 0)).unwrap();
    fixture.machine.close();
    assert_eq!(fixture.store.load().unwrap().applied.index, 2 + ENTRIES_PER_APPLIED);
}

#[test]
fn a_table_store_that_does_not_decode_counts_as_empty() {
    let mut store = MemoryTableStore::default();
    let changes = std::collections::BTreeMap::from([((TableId::Topics, b"c\xff".to_vec()), Some(Vec::new()))]);
    let applied = FrameId { term: 1, leader: 0, index: 5 };
    store.write(TableBatch { replaces_all: false, changes, applied });
    let fixture = fixture_with(store, Told::default());
    assert_eq!(fixture.machine.applied(), None);
    assert!(fixture.machine.tables().topics.is_empty());
}

#[test]
fn classic_mode_says_what_changed_instead() {
    let fixture = fixture();
    let sink = Box::new(fixture.told.clone());
    let mut machine = Machine::without_store(Tables::default(), fixture.queues.clone(), sink);
    machine.apply_command_record(&put_topic("T").to_record()).unwrap();
    machine.apply(None, PhysicalOffset(0), &Body::default().message("T", 0, 0).at(0)).unwrap();
    machine.apply_done();
    let changes = machine.take_changes();
    assert!(changes.touches(TableId::Topics) && !changes.touches(TableId::Groups));
    assert!(machine.take_changes().is_empty());
    assert_eq!(fixture.told.arrivals.lock().unwrap().len(), 1);
    assert!(machine.apply_command_record(b"").is_err());
}

/// A disk on which the removal of a directory takes until the test allows it.
struct SlowRemoval {
    disk: RealDisk,
    begun: Arc<Notify>,
    allowed: Mutex<mpsc::Receiver<()>>,
}

impl Disk for SlowRemoval {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.begun.notify_one();
        let allowed = self.allowed.lock().unwrap();
        allowed.recv_timeout(Duration::from_secs(30)).map_err(io::Error::other)?;
        self.disk.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

/// Heartbeats and votes run on the threads that apply runs on.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn other_tasks_run_while_a_topic_is_deleted() {
    let begun = Arc::new(Notify::new());
    let (allow, allowed) = mpsc::channel();
    let disk = SlowRemoval { disk: RealDisk::new(), begun: begun.clone(), allowed: Mutex::new(allowed) };
    let seams = Seams { disk: Arc::new(disk), ..Seams::real() };
    let mut fixture = fixture_on(seams, MemoryTableStore::default(), Told::default());
    fixture.apply(&Body::default().message("a", 0, 0)).unwrap();
    fixture.queues.persist().unwrap();

    let heartbeat = tokio::spawn(async move {
        begun.notified().await;
        allow.send(()).unwrap();
    });
    let deletion = Command::DeleteTopic { topic: "a".to_owned(), ends: vec![(0, QueueOffset(1))], at_unix_ms: 1 };
    let applying = tokio::spawn(async move { fixture.apply(&Body::default().command(&deletion)) });
    applying.await.unwrap().unwrap();
    heartbeat.await.unwrap();
}
