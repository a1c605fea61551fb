//! Small files of two slots: one damaged byte never costs more than the newer slot.

use std::path::Path;

use raftmq_store::ClassicStore;

use crate::cases::for_each;
use crate::{classic, raft};

const MARK: &str = "/store/mark";

/// Every byte that a slot uses, and some of the padding.
fn positions(length: usize) -> Vec<usize> {
    (0..length).filter(|position| position % 4096 < 200 || position % 97 == 0).collect()
}

#[test]
fn a_flip_anywhere_in_the_mark_of_a_raft_store_costs_nothing() {
    let stopped = raft::stopped(0);
    let length = stopped.copy().disk.files()[Path::new(MARK)].len();
    for_each(&positions(length), |position| {
        for bit in [0, 7] {
            let machine = stopped.copy();
            machine.disk.flip_bit(Path::new(MARK), position, bit);
            let store = raft::open(&machine).unwrap_or_else(|error| panic!("mark byte {position}: {error}"));
            assert_eq!(raft::read_all(&store), stopped.frames, "mark byte {position}");
            machine.disk.kill();
        }
    });
}

#[test]
fn a_flip_anywhere_in_the_mark_of_a_classic_store_costs_nothing() {
    let stopped = classic::stopped(0);
    let length = stopped.copy().disk.files()[Path::new(MARK)].len();
    for_each(&positions(length), |position| {
        let machine = stopped.copy();
        machine.disk.flip_bit(Path::new(MARK), position, (position % 8) as u8);
        let store = ClassicStore::open(classic::config(), machine.seams());
        let store = store.unwrap_or_else(|error| panic!("mark byte {position}: {error}"));
        assert_eq!(classic::read_all(&store), stopped.records, "mark byte {position}");
        machine.disk.kill();
    });
}

/// The other small files: whatever byte is wrong, no panic, and either a clear refusal or the whole log.
#[test]
fn a_flip_in_a_small_file_is_refused_or_harmless() {
    let (raft, classic) = (raft::stopped(0), classic::stopped(0));
    for file in ["/store/store-mode", "/store/consumequeue/applied", "/store/lock"] {
        let length = raft.copy().disk.files().get(Path::new(file)).map_or(0, Vec::len);
        for_each(&(0..length).collect::<Vec<_>>(), |position| {
            let machine = raft.copy();
            machine.disk.flip_bit(Path::new(file), position, (position % 8) as u8);
            if let Ok(store) = raft::open(&machine) {
                assert_eq!(raft::read_all(&store), raft.frames, "{file} byte {position}");
            }
            machine.disk.kill();
        });
    }
    for file in ["/store/store-mode", "/store/checkpoint", "/store/lock", "/store/abort"] {
        let length = classic.copy().disk.files().get(Path::new(file)).map_or(0, Vec::len);
        for_each(&(0..length.min(64)).collect::<Vec<_>>(), |position| {
            let machine = classic.copy();
            machine.disk.flip_bit(Path::new(file), position, (position % 8) as u8);
            if let Ok(store) = ClassicStore::open(classic::config(), machine.seams()) {
                assert_eq!(classic::read_all(&store), classic.records, "{file} byte {position}");
            }
            machine.disk.kill();
        });
    }
}
