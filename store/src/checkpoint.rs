//! RocketMQ's `checkpoint` file: 4096 bytes, three times at its head.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sys::{Disk, DiskFile, Open};

use crate::error::OpenError;

const FILE_BYTES: usize = 4096;
/// The part that RocketMQ uses: three times, and two positions since 5.x.
pub(crate) const CHECKPOINT_HEAD_BYTES: usize = 40;
/// RocketMQ's recovery goes back this far behind the oldest of the times.
const RECOVERY_MARGIN_MS: i64 = 3000;

/// The head of a checkpoint file (RocketMQ `StoreCheckpoint`). Times are store times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Records up to this store time are durable in the commitlog.
    pub physic_msg_timestamp: i64,
    /// And in the consume queues.
    pub logics_msg_timestamp: i64,
    /// And in the index.
    pub index_msg_timestamp: i64,
    /// 5.x only, kept as found.
    pub master_flushed_offset: i64,
    /// 5.x only, kept as found.
    pub confirm_physical_offset: i64,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> [u8; CHECKPOINT_HEAD_BYTES] {
        let mut bytes = [0; CHECKPOINT_HEAD_BYTES];
        let fields = [
            self.physic_msg_timestamp,
            self.logics_msg_timestamp,
            self.index_msg_timestamp,
            self.master_flushed_offset,
            self.confirm_physical_offset,
        ];
        for (index, field) in fields.into_iter().enumerate() {
            bytes[index * 8..index * 8 + 8].copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; CHECKPOINT_HEAD_BYTES]) -> Checkpoint {
        let field = |index: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
            i64::from_be_bytes(field)
        };
        Checkpoint {
            physic_msg_timestamp: field(0),
            logics_msg_timestamp: field(1),
            index_msg_timestamp: field(2),
            master_flushed_offset: field(3),
            confirm_physical_offset: field(4),
        }
    }

    /// Where RocketMQ's recovery begins after an unclean stop (`StoreCheckpoint.getMinTimestamp`).
    pub(crate) fn recovery_timestamp(&self) -> i64 {
        (self.physic_msg_timestamp.min(self.logics_msg_timestamp) - RECOVERY_MARGIN_MS).max(0)
    }
}

/// The file `<root>/checkpoint`.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    /// What the file holds.
    pub(crate) current: Checkpoint,
}

impl CheckpointFile {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<CheckpointFile, OpenError> {
        let mut found = CheckpointFile { path: path.to_owned(), file: None, current: Checkpoint::default() };
        if !disk.exists(path) {
            return Ok(found);
        }
        let file = disk.open(path, Open::Write).map_err(OpenError::io("open", path))?;
        let length = file.len().map_err(OpenError::io("stat", path))?;
        if length >= CHECKPOINT_HEAD_BYTES as u64 {
            let mut bytes = [0; CHECKPOINT_HEAD_BYTES];
            file.read_at(&mut bytes, 0).map_err(OpenError::io("read", path))?;
            found.current = Checkpoint::decode(&bytes);
        }
        found.file = (length == FILE_BYTES as u64).then_some(file);
        Ok(found)
    }

    /// Writes what was read again: it may have been in the page cache alone.
    pub(crate) fn rewrite(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_at(&self.current.encode(), 0)?;
        file.sync_data()
    }

    /// Makes `checkpoint` durable. The head lies in one sector, so it is old or new after a crash.
    pub(crate) fn write(&mut self, disk: &dyn Disk, checkpoint: Checkpoint) -> std::io::Result<()> {
        let head = checkpoint.encode();
        match &self.file {
            Some(file) => {
                file.write_at(&head, 0)?;
                file.sync_data()?;
            }
            None => {
                let mut content = vec![0; FILE_BYTES];
                content[..CHECKPOINT_HEAD_BYTES].copy_from_slice(&head);
                disk.replace(&self.path, &content)?;
                self.file = Some(disk.open(&self.path, Open::Write)?);
            }
        }
        self.current = checkpoint;
        Ok(())
    }
}
