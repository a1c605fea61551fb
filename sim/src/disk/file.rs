use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use raftmq_sys::disk::DiskFile;

use super::SimDisk;
use super::directory::NodeId;
use super::faults::{Call, Kind, Lies};
use super::image::SECTOR_BYTES;
use super::state::{Fate, State};

/// An open file of one incarnation.
pub(super) struct SimFile {
    disk: SimDisk,
    node: NodeId,
    handle: u64,
    path: PathBuf,
    writable: bool,
    /// Failed syncs of the file that this handle has been told of, or that came before it.
    failures_told: AtomicU64,
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, node: NodeId, handle: u64, path: PathBuf, writable: bool) -> SimFile {
        let failures = disk.lock().image(node).map_or(0, |image| image.failures());
        SimFile { disk, node, handle, path, writable, failures_told: AtomicU64::new(failures) }
    }

    /// Whether a sync through another handle has failed since this one was told last; it is told once.
    fn is_told_of_a_failure(&self, state: &mut State) -> io::Result<bool> {
        let failures = state.image(self.node)?.failures();
        Ok(self.failures_told.swap(failures, Ordering::Relaxed) < failures)
    }

    fn call<T>(&self, kind: Kind, bytes: usize, act: impl FnOnce(&mut State, Fate) -> io::Result<T>) -> io::Result<T> {
        let call = Call { kind, path: self.path.clone(), bytes: bytes as u64 };
        let result = self.disk.lock().call(self.disk.incarnation, call, act);
        result.map_err(|error| io::Error::new(error.kind(), format!("{kind:?} {}: {error}", self.path.display())))
    }

    fn change<T>(
        &self,
        kind: Kind,
        bytes: usize,
        act: impl FnOnce(&mut State, Fate) -> io::Result<T>,
    ) -> io::Result<T> {
        self.call(kind, bytes, |state, fate| {
            if !self.writable {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            act(state, fate)
        })
    }

    /// The end to which this file may grow now, at most `wanted`.
    fn room(&self, state: &mut State, wanted: usize) -> io::Result<usize> {
        let Some(capacity) = state.faults.capacity_bytes else { return Ok(wanted) };
        let free = capacity.saturating_sub(state.used_bytes()) as usize;
        Ok(wanted.min((state.image(self.node)?.used() + free) / SECTOR_BYTES * SECTOR_BYTES))
    }
}

fn at(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(io::Error::other)
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let position = at(position)?;
        self.change(Kind::Write, bytes.len(), |state, fate| {
            if state.faults.failing_write == Some(state.earlier(Kind::Write)) {
                return Err(io::Error::other("simulated EIO from write"));
            }
            let end = position + bytes.len();
            let mut reached = self.room(state, end)?;
            if let Fate::Prefix(sectors) = fate {
                reached = reached.min((position / SECTOR_BYTES + sectors) * SECTOR_BYTES);
            }
            let taken = reached.clamp(position, end) - position;
            state.image(self.node)?.write(&bytes[..taken], position);
            if taken < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let position = at(position)?;
        self.call(Kind::Read, bytes.len(), |state, _| {
            bytes.copy_from_slice(state.image(self.node)?.read(position, bytes.len())?);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(Kind::SyncData, 0, |state, _| {
            if state.faults.failing_sync == Some(state.earlier(Kind::SyncData)) {
                let failed = state.fail_sync(self.node);
                self.is_told_of_a_failure(state)?;
                return failed;
            }
            let lies = match &state.faults.sync_data_lies {
                Lies::Nobody => false,
                Lies::Below(directory) => self.path.starts_with(directory),
                Lies::Everybody => true,
            };
            let image = state.image(self.node)?;
            if !lies {
                image.sync();
            }
            match self.is_told_of_a_failure(state)? {
                true => Err(io::Error::other("simulated EIO of an earlier write-back")),
                false => Ok(()),
            }
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = at(length)?;
        self.change(Kind::Allocate, 0, |state, _| {
            if self.room(state, length)? < length {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.image(self.node)?.reserve(length);
            Ok(())
        })
    }

    fn zero(&self, position: u64, length: u64) -> io::Result<()> {
        let (position, length) = (at(position)?, at(length)?);
        self.change(Kind::Zero, length, |state, _| {
            if self.room(state, position + length)? < position + length {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.image(self.node)?.zero(position, length);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = at(length)?;
        self.change(Kind::SetLen, 0, |state, _| {
            state.image(self.node)?.set_len(length);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.call(Kind::Len, 0, |state, _| Ok(state.image(self.node)?.len() as u64))
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.call(Kind::Lock, 0, |state, _| {
            let holder = *state.locks.entry(self.node).or_insert(self.handle);
            Ok(holder == self.handle)
        })
    }

    fn slice(&self, position: u64, length: usize) -> io::Result<Bytes> {
        let position = at(position)?;
        self.call(Kind::Slice, length, |state, _| {
            Ok(Bytes::copy_from_slice(state.image(self.node)?.read(position, length)?))
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.locks.get(&self.node) == Some(&self.handle) {
            state.locks.remove(&self.node);
        }
    }
}
