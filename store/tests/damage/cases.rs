//! What all damage suites do: change a file of a stopped store, open it, look at what happened to the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use raftmq_sim::SimMachine;
use raftmq_store::OpenError;

const THREADS: usize = 2;

/// The first segment of a store.
pub(crate) fn segment() -> PathBuf {
    PathBuf::from("/store/commitlog/00000000000000000000")
}

/// How a byte position of a file is hurt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    FlipBit(u8),
    /// From here on the file is zeros, as a tail that was never written.
    Zero,
    /// The file ends here.
    Cut,
}

impl Harm {
    pub(crate) fn apply(self, machine: &SimMachine, path: &Path, position: usize) {
        match self {
            Harm::FlipBit(bit) => machine.disk.flip_bit(path, position, bit),
            Harm::Zero => machine.disk.edit_at_rest(path, |bytes| bytes[position..].fill(0)),
            Harm::Cut => machine.disk.edit_at_rest(path, |bytes| bytes.truncate(position)),
        }
    }

    /// Whether bytes `position..end` are changed by it.
    pub(crate) fn changes(self, bytes: &[u8], position: usize, end: usize) -> bool {
        match self {
            Harm::FlipBit(_) => position < end,
            Harm::Zero => bytes[position.min(end)..end].iter().any(|byte| *byte != 0),
            Harm::Cut => position < end,
        }
    }
}

/// Runs `case` for every position, on as many threads as the machine of CI has cores.
pub(crate) fn for_each(positions: &[usize], case: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for part in 0..THREADS {
            let case = &case;
            scope.spawn(move || positions.iter().skip(part).step_by(THREADS).for_each(|position| case(*position)));
        }
    });
}

/// The files that hold messages or lead to them.
pub(crate) fn data_files(machine: &SimMachine) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = machine.disk.files();
    files.retain(|path, _| path.starts_with("/store/commitlog") || path.starts_with("/store/consumequeue"));
    files
}

/// Insists that an open was refused for damage, with file and offset, and that every file is as it was.
pub(crate) fn assert_refused(
    result: Result<(), OpenError>,
    harm: Harm,
    before: &SimMachine,
    after: &SimMachine,
    what: &str,
) {
    match result {
        Err(OpenError::Damaged { file, .. }) => assert!(file.starts_with("/store/commitlog"), "{what}: {file:?}"),
        Err(OpenError::FileSize { .. }) if matches!(harm, Harm::Cut) => {}
        Err(other) => panic!("{what}: refused, but as {other}"),
        Ok(()) => panic!("{what}: opened"),
    }
    assert!(
        before.disk.files() == after.disk.files(),
        "{what}: a refused store was changed: {}",
        difference(before, after)
    );
}

/// Names of the files in which two disks differ.
pub(crate) fn difference(left: &SimMachine, right: &SimMachine) -> String {
    let (left, right) = (left.disk.files(), right.disk.files());
    let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing = paths.into_iter().filter(|path| left.get(*path) != right.get(*path));
    differing.map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
