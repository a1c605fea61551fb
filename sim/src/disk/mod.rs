//! An in-memory file system that keeps what processes see and what a power cut leaves apart.
//!
//! [`SimDisk`] is what one incarnation of a process holds. When it is killed, every later call of that incarnation
//! fails, so no zombie writes; [`SimDisk::reboot`] gives the next incarnation a fresh handle. A kill keeps the live
//! image (the page cache survives); a power cut keeps what was synced, and of the rest what the seed says, sector by
//! sector, and of the names in a directory the first so many changes.
//!
//! Stricter than the file systems in use: an fsync of a new file does not make its name durable.

mod directory;
mod faults;
mod file;
mod image;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{Call, Faults, Kind, Lies, Moment, Survival};
pub use image::SECTOR_BYTES;
use raftmq_sys::disk::{Disk, DiskFile, Entry, Open, Space};

use crate::SimRng;
use file::SimFile;
use state::{State, parent_and_name};

/// One process's view of a simulated disk.
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    incarnation: u64,
}

impl SimDisk {
    /// An empty disk whose root directory is durable. The seed decides what a failing sync leaves.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(State::new(seed))), incarnation: 0 }
    }

    /// Ends this incarnation: its calls fail from now on, its locks are gone, the page cache stays.
    pub fn kill(&self) {
        let mut state = self.lock();
        if state.incarnation == self.incarnation {
            state.end_incarnation();
        }
    }

    /// Ends this incarnation and takes away what was not synced, but for what the seed lets survive.
    pub fn power_cut(&self, seed: u64) {
        let rng = SimRng::new(seed);
        let survival = Survival::of(raftmq_sys::Rng::next_u64(&rng));
        self.power_cut_with(&rng, survival);
    }

    /// A power cut in which this share of the unsynced sectors and names survives.
    pub fn power_cut_with(&self, rng: &SimRng, survival: Survival) {
        self.kill();
        self.lock().cut(rng, survival);
    }

    /// The next incarnation on what this one left, without faults; this one is killed if it still runs.
    pub fn reboot(&self) -> SimDisk {
        let mut state = self.lock();
        state.begin_incarnation();
        SimDisk { state: self.state.clone(), incarnation: state.incarnation }
    }

    /// A copy of the disk in its present state; the copy's handle is as alive as this one.
    pub fn fork(&self) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.lock().clone())), incarnation: self.incarnation }
    }

    /// Replaces the plan of faults; counting goes on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Whether the process that holds this handle still runs.
    pub fn is_alive(&self) -> bool {
        let state = self.lock();
        state.alive && state.incarnation == self.incarnation
    }

    /// The calls of the incarnation that runs or ran last, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many calls of this kind the incarnation made.
    pub fn count(&self, kind: Kind) -> u64 {
        self.lock().calls.iter().filter(|call| call.kind == kind).count() as u64
    }

    /// Bytes that the incarnation wrote, zeroing apart.
    pub fn written_bytes(&self) -> u64 {
        self.lock().calls.iter().filter(|call| call.kind == Kind::Write).map(|call| call.bytes).sum()
    }

    /// Whether a power cut could take anything.
    pub fn is_dirty(&self) -> bool {
        self.lock().is_dirty()
    }

    /// All files as a process would read them, by path. Not a call.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().files(false)
    }

    /// All files as a cut that takes everything would leave them. Not a call.
    pub fn durable_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().files(true)
    }

    /// Changes a file's bytes in both images, while nobody looks; the path must exist.
    pub fn edit_at_rest(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let node = state.find(path).expect("the file to edit exists");
        state.image(node).expect("the path is a file").edit_at_rest(edit);
    }

    /// Flips one bit in both images.
    pub fn flip_bit(&self, path: &Path, position: usize, bit: u8) {
        self.edit_at_rest(path, |bytes| bytes[position] ^= 1 << bit);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one call: it is counted, and fate may end the process before or after it.
    fn call<T>(
        &self,
        kind: Kind,
        path: &Path,
        bytes: u64,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.lock().call(self.incarnation, Call { kind, path: path.to_owned(), bytes }, |state, _| act(state))
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.call(Kind::Open, path, 0, |state| {
            if let Ok(node) = state.find(path) {
                let image = state.image(node)?;
                if how == Open::Truncate {
                    image.set_len(0);
                }
                return Ok(node);
            }
            if matches!(how, Open::Read | Open::Write) {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.create_file(path)
        })?;
        let handle = self.lock().new_handle();
        Ok(Arc::new(SimFile::new(
            SimDisk { state: self.state.clone(), incarnation: self.incarnation },
            node,
            handle,
            path.to_owned(),
            how != Open::Read,
        )))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Kind::Rename, to, 0, |state| state.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(Kind::RemoveFile, path, 0, |state| {
            let node = state.find(path)?;
            state.image(node)?;
            state.unlink(path)
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let root = self.lock().find(path)?;
        let mut victims = self.lock().tree(root, path)?;
        // Children first: each removal is a system call, and a process may die between two of them.
        while let Some((victim, is_dir)) = victims.pop() {
            let kind = if is_dir { Kind::RemoveDir } else { Kind::RemoveFile };
            self.call(kind, &victim, 0, |state| state.unlink(&victim))?;
        }
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> = {
            let state = self.lock();
            path.ancestors().take_while(|ancestor| state.find(ancestor).is_err()).map(Path::to_owned).collect()
        };
        if missing.is_empty() {
            return self.call(Kind::CreateDir, path, 0, |state| {
                let node = state.find(path)?;
                state.directory(node).map(|_| ())
            });
        }
        for directory in missing.iter().rev() {
            self.call(Kind::CreateDir, directory, 0, |state| state.create_directory(directory))?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Kind::SyncDir, path, 0, |state| {
            let node = state.find(path)?;
            state.directory(node)?;
            if !state.faults.sync_dir_lies {
                state.sync_directory(node);
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.call(Kind::List, path, 0, |state| {
            let node = state.find(path)?;
            let names = state.directory(node)?.live.clone();
            Ok(names.into_iter().map(|(name, node)| Entry { name, is_dir: state.directory(node).is_ok() }).collect())
        })
    }

    fn exists(&self, path: &Path) -> bool {
        self.call(Kind::Exists, path, 0, |state| state.find(path).map(|_| ())).is_ok()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.call(Kind::Space, path, 0, |state| {
            state.find(path)?;
            let total = state.faults.capacity_bytes.unwrap_or(1 << 40);
            Ok(Space { total_bytes: total, available_bytes: total.saturating_sub(state.used_bytes()) })
        })
    }
}

/// The directory part of a path, for callers that must sync it.
fn split(path: &Path) -> io::Result<(&Path, &str)> {
    parent_and_name(path).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests;
