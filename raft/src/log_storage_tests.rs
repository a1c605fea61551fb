//! openraft's own suite for log storages and state machines, on the real store, and what the suite cannot know.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{RaftLogReader, RaftSnapshotBuilder, StorageError};
use raftmq_sim::SimMachine;
use raftmq_sim::disk::Faults;
use raftmq_store::{FlushMode, FrameId, RaftStore, StoreConfig};
use raftmq_sys::{Disk, Seams};
use tempfile::TempDir;

use crate::applier::{AppliedStore, Applier};
use crate::durable::Durable;
use crate::hard_state::{HardState, HardStateFile};
use crate::log_storage::LogStorage;
use crate::metrics::RaftMetrics;
use crate::snapshot::SnapshotFile;
use crate::state_machine::{AppliedEntry, StateMachine};
use crate::type_config::{Entry, Leader, LogId, Payload, SnapshotMeta, TypeConfig, Vote};

const TABLES: &[u8] = &[7; 4096];

/// Holds nothing: the suite's entries carry no records.
struct NoTables;

impl StateMachine for NoTables {
    fn applied(&self) -> Option<FrameId> {
        None
    }

    fn apply(&mut self, _entry: &AppliedEntry<'_>) -> Result<(), String> {
        Ok(())
    }

    fn apply_done(&mut self) {}

    fn snapshot(&mut self) -> Result<Vec<u8>, String> {
        Ok(TABLES.to_vec())
    }

    fn install(&mut self, _applied: FrameId, snapshot: &[u8]) -> Result<(), String> {
        if snapshot == TABLES { Ok(()) } else { Err("other tables".to_owned()) }
    }
}

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: 256 << 10,
        queue_file_bytes: 20 * 1000,
        max_message_bytes: 16 << 10,
        flush: FlushMode::Sync,
        zero_ahead_bytes: 0,
        ..StoreConfig::new(root)
    }
}

fn open(root: &Path) -> (LogStorage, Applier) {
    open_on(Seams::real(), root)
}

fn open_on(seams: Seams, root: &Path) -> (LogStorage, Applier) {
    try_open_on(seams, root).unwrap()
}

fn try_open_on(seams: Seams, root: &Path) -> Result<(LogStorage, Applier), String> {
    let store = RaftStore::open(config(root), seams.clone()).unwrap();
    let state = HardState {
        incarnation: 1,
        node: 0,
        slot: 0,
        cluster: "c".to_owned(),
        group: "g".to_owned(),
        joined: true,
        founder: None,
        vote: None,
        purged: None,
        membership: None,
    };
    let file = match HardStateFile::open(&*seams.disk, root).unwrap() {
        Some(file) => file,
        None => HardStateFile::create(&*seams.disk, root, state).unwrap(),
    };
    let durable = Arc::new(Durable::new(file));
    let flusher = Arc::new(store.flusher);
    let writer = Arc::new(Mutex::new(Some(store.writer)));
    let storage = LogStorage::new(
        writer,
        Arc::clone(&store.entries),
        Arc::clone(&flusher),
        Arc::clone(&durable),
        Arc::clone(&seams.spawn),
    );
    let applied = AppliedStore {
        entries: store.entries,
        queues: store.queues,
        flusher,
        durable,
        snapshots: SnapshotFile::new(Arc::clone(&seams.disk), root).unwrap(),
        spawn: seams.spawn,
        metrics: RaftMetrics::new(&seams.metrics, "g"),
    };
    Ok((storage, Applier::open(Box::new(NoTables), applied)?))
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStorage, Applier, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStorage, Applier), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let (storage, applier) = open(directory.path());
        Ok((directory, storage, applier))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_own_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(Leader { term, node_id: 0 }, index)
}

fn blank(term: u64, index: u64) -> Entry {
    Entry { id: id(term, index), payload: Payload::Blank }
}

async fn append(storage: &mut LogStorage, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = TypeConfig::oneshot();
    storage.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_vote_and_purge_point_are_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let vote = Vote { leader_id: Leader { term: 2, node_id: 1 }, committed: true };
    {
        let (mut storage, _applier) = open(directory.path());
        append(&mut storage, (0..5).map(|index| blank(1, index)).collect()).await.unwrap();
        storage.save_vote(&vote).await.unwrap();
        storage.truncate_after(Some(id(1, 3))).await.unwrap();
        append(&mut storage, vec![blank(2, 4)]).await.unwrap();
        storage.purge(id(1, 1)).await.unwrap();
    }
    let (mut storage, _applier) = reopen(directory.path()).await;
    let state = storage.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(id(2, 4)));
    assert_eq!(state.last_purged_log_id, Some(id(1, 1)));
    let mut reader = storage.get_log_reader().await;
    assert_eq!(RaftLogReader::read_vote(&mut reader).await.unwrap(), Some(vote));
    let entries = RaftLogReader::try_get_log_entries(&mut reader, 0..100).await.unwrap();
    let ids: Vec<LogId> = entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [id(1, 2), id(1, 3), id(2, 4)]);
}

/// Trap T1: openraft takes a saved vote as proof that the appends before it are durable too. Here the flusher stands
/// still until the test lets it go, and the power fails at every point.
#[test]
fn a_saved_vote_is_never_durable_before_the_appends_before_it() {
    let root = Path::new("/store");
    let machine = SimMachine::new(7);
    machine.make_directory(root).unwrap();
    let vote = Vote { leader_id: Leader { term: 1, node_id: 0 }, committed: true };
    let (mut storage, _applier) = open_on(machine.seams(), root);
    let appended = storage.append(vec![blank(1, 0), blank(1, 1)], IOFlushed::noop()).now_or_never();
    appended.expect("an append does not wait for the disk").unwrap();

    let mut saving = Box::pin(storage.save_vote(&vote));
    let mut steps = 0;
    loop {
        let saved = (&mut saving).now_or_never();
        for seed in 0..20 {
            let cut = machine.fork();
            cut.disk.power_cut(seed);
            let (mut storage, _applier) = open_on(cut.restart().seams(), root);
            let state = storage.get_log_state().now_or_never().unwrap().unwrap();
            let mut reader = storage.get_log_reader().now_or_never().unwrap();
            let voted = RaftLogReader::read_vote(&mut reader).now_or_never().unwrap().unwrap();
            if voted.is_some() || saved.is_some() {
                assert_eq!((voted, state.last_log_id), (Some(vote), Some(id(1, 1))), "step {steps}, seed {seed}");
            }
        }
        match saved {
            Some(result) => break result.unwrap(),
            None => assert!(machine.spawn.run_until_idle() > 0, "nothing moves after {steps} steps"),
        }
        steps += 1;
    }
    assert!(steps >= 2, "the vote waited for the flusher and for its own write");
}

/// A deposed leader reads entries for a follower while the entries of the next leader replace them.
#[test]
fn a_read_that_meets_a_truncation_finds_nothing_and_fails_nobody() {
    let root = Path::new("/store");
    let machine = SimMachine::new(7);
    machine.make_directory(root).unwrap();
    let (mut storage, _applier) = open_on(machine.seams(), root);
    let append = |storage: &mut LogStorage, entries: Vec<Entry>| {
        storage.append(entries, IOFlushed::noop()).now_or_never().unwrap().unwrap();
        machine.spawn.run_until_idle();
    };
    let truncate = |storage: &mut LogStorage, last: LogId| {
        let mut truncating = Box::pin(storage.truncate_after(Some(last)));
        assert!((&mut truncating).now_or_never().is_none(), "it waits for the flusher");
        machine.spawn.run_until_idle();
        truncating.now_or_never().unwrap().unwrap();
    };
    append(&mut storage, (0..6).map(|index| blank(1, index)).collect());
    let mut reader = storage.get_log_reader().now_or_never().unwrap();
    let mut read = |from, to| reader.limited_get_log_entries(from, to).now_or_never().unwrap();
    assert_eq!(read(3, 6).unwrap().len(), 3);

    // The entries went just before the read, or during it.
    truncate(&mut storage, id(1, 2));
    assert_eq!(read(3, 6).unwrap().len(), 0);
    append(&mut storage, vec![blank(2, 3)]);
    assert_eq!(read(3, 6).unwrap().len(), 0);
    append(&mut storage, vec![blank(2, 4), blank(2, 5)]);
    let reader = storage.get_log_reader().now_or_never().unwrap();
    let met = reader.unless_gone(6, || -> io::Result<()> {
        truncate(&mut storage, id(1, 2));
        append(&mut storage, (3..6).map(|index| blank(3, index)).collect());
        Err(io::Error::other("no frame header"))
    });
    assert!(met.unwrap().is_none());

    // Nothing was truncated: the disk is to blame, and openraft has to hear of it.
    let failed = reader.unless_gone(6, || -> io::Result<()> { Err(io::Error::other("unreadable sector")) });
    assert!(failed.unwrap_err().to_string().contains("unreadable sector"));
}

const SNAPSHOT: &str = "/store/snapshot/tables";

/// A store with three entries applied and a snapshot of the first.
fn with_a_snapshot() -> (SimMachine, LogStorage, Applier) {
    let root = Path::new("/store");
    let machine = SimMachine::new(7);
    machine.make_directory(root).unwrap();
    let (mut storage, mut applier) = open_on(machine.seams(), root);
    let entries = (0..3).map(|index| blank(1, index)).collect::<Vec<_>>();
    storage.append(entries, IOFlushed::noop()).now_or_never().unwrap().unwrap();
    machine.spawn.run_until_idle();
    apply(&mut applier, [0]);
    let saved = snapshot(&machine, &mut applier, false).unwrap();
    assert_eq!(saved.last_log_id, Some(id(1, 0)));
    apply(&mut applier, [1, 2]);
    (machine, storage, applier)
}

fn apply<const N: usize>(applier: &mut Applier, indexes: [u64; N]) {
    let entries = futures::stream::iter(indexes.map(|index| Ok((blank(1, index), None))));
    applier.apply(entries).now_or_never().unwrap().unwrap();
}

fn snapshot(machine: &SimMachine, applier: &mut Applier, is_needed: bool) -> io::Result<SnapshotMeta> {
    let mut builder = applier.try_create_snapshot_builder(is_needed).now_or_never().unwrap().unwrap();
    let mut building = Box::pin(builder.build_snapshot());
    loop {
        match (&mut building).now_or_never() {
            Some(built) => return built.map(|snapshot| snapshot.meta),
            None => assert!(machine.spawn.run_until_idle() > 0, "nothing moves"),
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_old_one_and_the_member_runs() {
    let (machine, _storage, mut applier) = with_a_snapshot();
    let old = machine.disk.files()[Path::new(SNAPSHOT)].clone();
    let space = machine.disk.space(Path::new("/store")).unwrap();
    // Enough for the applied point of the consume queues, which comes before it.
    let capacity_bytes = space.total_bytes - space.available_bytes + 1024;
    machine.disk.set_faults(Faults { capacity_bytes: Some(capacity_bytes), ..Faults::default() });
    assert_eq!(snapshot(&machine, &mut applier, false).unwrap().last_log_id, None, "no mark moves");
    assert_eq!(machine.disk.files()[Path::new(SNAPSHOT)], old);
    assert!(!machine.disk.files().contains_key(Path::new("/store/snapshot/tables.tmp")), "it takes no space");
    assert!(snapshot(&machine, &mut applier, true).is_err(), "where nothing can stand in for it, it is an error");

    // Nor is there space for what comes before it.
    apply(&mut applier, [3]);
    let space = machine.disk.space(Path::new("/store")).unwrap();
    let capacity_bytes = space.total_bytes - space.available_bytes;
    machine.disk.set_faults(Faults { capacity_bytes: Some(capacity_bytes), ..Faults::default() });
    assert_eq!(snapshot(&machine, &mut applier, false).unwrap().last_log_id, None);

    machine.disk.set_faults(Faults::default());
    assert_eq!(snapshot(&machine, &mut applier, false).unwrap().last_log_id, Some(id(1, 3)));
    assert_ne!(machine.disk.files()[Path::new(SNAPSHOT)], old);
}

#[test]
fn a_damaged_snapshot_counts_as_none_while_the_log_is_complete() {
    let (machine, mut storage, mut applier) = with_a_snapshot();
    machine.disk.flip_bit(Path::new(SNAPSHOT), 80, 3);
    assert!(applier.get_current_snapshot().now_or_never().unwrap().unwrap().is_none());
    let restarted = machine.fork().restart();
    let (_storage, mut applier) = open_on(restarted.seams(), Path::new("/store"));
    let (applied, _) = applier.applied_state().now_or_never().unwrap().unwrap();
    assert_eq!(applied, None, "everything is applied again");

    let mut purging = Box::pin(storage.purge(id(1, 0)));
    assert!((&mut purging).now_or_never().is_none());
    machine.spawn.run_until_idle();
    purging.now_or_never().unwrap().unwrap();
    let restarted = machine.restart();
    let error = try_open_on(restarted.seams(), Path::new("/store")).err().unwrap();
    assert!(error.contains("damaged"), "{error}");
}

/// The worker threads of a dropped store end soon, but not at once, and hold its lock until then.
async fn reopen(root: &Path) -> (LogStorage, Applier) {
    for _ in 0..1000 {
        match RaftStore::open(config(root), Seams::real()) {
            Ok(store) => {
                drop(store);
                break;
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
    open(root)
}
