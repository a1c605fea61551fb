//! Consume queues are derived: deleted, they come back byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use raftmq_sim::SimMachine;
use raftmq_store::{ClassicStore, RaftStore};
use raftmq_sys::Disk;

use crate::{classic, raft};

/// Files of units, without the file that says how far they go.
fn queue_files(machine: &SimMachine) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = machine.disk.files();
    files.retain(|path, _| path.starts_with("/store/consumequeue") && path.ancestors().nth(3) != Some(Path::new("/")));
    files
}

fn close_classic(machine: &SimMachine) {
    let ClassicStore { writer, queues, log, .. } = ClassicStore::open(classic::config(), machine.seams()).unwrap();
    writer.close().unwrap();
    drop((queues, log));
    machine.spawn.run_until_idle();
}

fn close_raft(machine: &SimMachine) {
    let store = raft::open(machine).unwrap();
    raft::apply_all(&store);
    let RaftStore { writer, queues, log, flusher, entries, .. } = store;
    writer.close().unwrap();
    drop((queues, log, flusher, entries));
    machine.spawn.run_until_idle();
}

fn deleted_queues_come_back(machine: SimMachine, close: impl Fn(&SimMachine)) {
    close(&machine);
    let expected = queue_files(&machine);
    assert!(expected.len() >= 4, "{:?}", expected.keys());
    let victims = |depth| expected.keys().filter_map(move |path| path.ancestors().nth(depth)).map(Path::to_owned);
    let all: Vec<PathBuf> = victims(0).chain(victims(1)).chain(victims(2)).chain(victims(3)).collect();
    for victim in all {
        let next = machine.fork().restart();
        let is_file = next.disk.files().contains_key(&victim);
        if is_file {
            next.disk.remove_file(&victim).unwrap()
        } else {
            next.disk.remove_dir_all(&victim).unwrap()
        }
        let next = next.restart();
        close(&next);
        let found = queue_files(&next);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "without {victim:?}");
        for (path, bytes) in &expected {
            assert!(found[path] == *bytes, "{path:?} differs after {victim:?} was deleted");
        }
    }
}

#[test]
fn deleted_queues_of_a_classic_store_come_back_equal() {
    deleted_queues_come_back(classic::stopped(0).copy(), close_classic);
    deleted_queues_come_back(classic::stopped(8).copy(), close_classic);
}

#[test]
fn deleted_queues_of_a_raft_store_come_back_equal() {
    deleted_queues_come_back(raft::stopped(0).copy(), close_raft);
    deleted_queues_come_back(raft::stopped(8).copy(), close_raft);
}
