//! What goes wrong, and what is counted.

use std::path::PathBuf;

use raftmq_sys::Rng;

use crate::SimRng;

/// Kinds of calls, one for each method of `Disk` and `DiskFile` that reaches the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Open,
    Rename,
    RemoveFile,
    RemoveDir,
    CreateDir,
    SyncDir,
    List,
    Exists,
    Space,
    Write,
    Read,
    SyncData,
    Allocate,
    Zero,
    SetLen,
    Len,
    Lock,
    Slice,
}

impl Kind {
    /// Whether such a call can change what is on the disk. A process killed at another call leaves what the call
    /// before it left.
    pub fn changes(self) -> bool {
        !matches!(self, Kind::List | Kind::Exists | Kind::Space | Kind::Read | Kind::Len | Kind::Lock | Kind::Slice)
    }
}

/// One call, for counting and for the text of a failed test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: Kind,
    pub path: PathBuf,
    /// Bytes written, zeroed, read or sliced; 0 for other kinds.
    pub bytes: u64,
}

/// When in its last call a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the call happens.
    Before,
    /// It happens whole, and nobody learns of it.
    After,
    /// Of a write, the first so many sectors happen; other calls do not happen.
    Within { sectors: usize },
}

/// Whose `sync_data` says Ok and does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lies {
    #[default]
    Nobody,
    /// Files below this directory.
    Below(PathBuf),
    Everybody,
}

/// Plan of faults for one incarnation. Calls, writes and syncs are counted from 0 at its start.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The process dies at this call.
    pub kill: Option<(u64, Moment)>,
    /// This `write_at` fails with EIO; nothing is written.
    pub failing_write: Option<u64>,
    /// This `sync_data` fails with EIO: part of the dirty sectors is written, the rest is never written, and the
    /// next sync says Ok, as on Linux. The cache outlives the process: a restarted one reads what it will never be
    /// told is not on the platter. Each other handle that was open then is told once, at its own next sync.
    pub failing_sync: Option<u64>,
    /// After the failing sync the cache drops the pages, so that reads see the old content at once.
    pub evict_after_failed_sync: bool,
    /// Size of the disk; what does not fit is ENOSPC, after as many sectors as do.
    pub capacity_bytes: Option<u64>,
    pub sync_data_lies: Lies,
    /// `sync_dir` says Ok and does nothing.
    pub sync_dir_lies: bool,
}

/// How much of what is not synced survives a power cut: of 256 sectors, on average so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival(pub u64);

impl Survival {
    pub const NONE: Survival = Survival(0);
    pub const HALF: Survival = Survival(128);
    pub const ALL: Survival = Survival(256);

    /// Of changes that a file system journals in order, how many survive.
    pub(super) fn prefix(self, rng: &SimRng, changes: usize) -> usize {
        match self {
            Survival::NONE => 0,
            Survival::ALL => changes,
            _ => rng.below(changes as u64 + 1) as usize,
        }
    }

    /// The share that a seeded cut uses; all and nothing are among them.
    pub(super) fn of(draw: u64) -> Survival {
        [Survival::NONE, Survival::HALF, Survival(224), Survival(32), Survival::ALL, Survival::HALF][draw as usize % 6]
    }
}
