//! The snapshot of the tables: one file, replaced as a whole. Layout: `docs/on-disk-format.md`, "Snapshot".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use raftmq_store::FrameId;
use raftmq_sys::Disk;

const DIRECTORY: &str = "snapshot";
const FILE_NAME: &str = "tables";
const MAGIC: u32 = 0x524D_5153; // "RMQS"
const FORMAT: u16 = 1;
const HEADER_BYTES: usize = 72;
const CRC_BYTES: usize = 4;

/// The tables after one entry, and the membership then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) last: FrameId,
    /// The newest applied membership (bytes as in its frame) and its entry.
    pub(crate) membership: Option<(FrameId, Bytes)>,
    pub(crate) tables: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{path} is damaged: {what}")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{path} was written by a newer version: it has format {format}, this version reads {FORMAT}")]
    Newer { path: PathBuf, format: u16 },
}

/// Where a member's snapshot lies.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl SnapshotFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path) -> io::Result<SnapshotFile> {
        let directory = root.join(DIRECTORY);
        disk.create_dir_all(&directory)?;
        disk.sync_dir(root)?;
        Ok(SnapshotFile { disk, path: directory.join(FILE_NAME) })
    }

    /// Durable when this returns; a crash or a failure leaves the old or the new one.
    pub(crate) fn save(&self, snapshot: &Snapshot) -> io::Result<()> {
        let saved = self.disk.replace(&self.path, &encode(snapshot));
        if saved.is_err() {
            // What was written of it takes space on a disk that may be full. The first error is the one that tells.
            let _ = self.disk.remove_file(&self.path.with_extension("tmp"));
        }
        saved
    }

    /// The newest snapshot; `None` if there never was one.
    pub(crate) fn load(&self) -> Result<Option<Snapshot>, SnapshotError> {
        if !self.disk.exists(&self.path) {
            return Ok(None);
        }
        let bytes = Bytes::from(self.disk.read(&self.path)?);
        self.decode(&bytes).map(Some)
    }

    fn decode(&self, bytes: &Bytes) -> Result<Snapshot, SnapshotError> {
        let damaged = |what| SnapshotError::Damaged { path: self.path.clone(), what };
        if bytes.len() < HEADER_BYTES + CRC_BYTES {
            return Err(damaged("too short"));
        }
        if bytes[..4] != MAGIC.to_be_bytes() {
            return Err(damaged("bad magic"));
        }
        let end = bytes.len() - CRC_BYTES;
        if crc32c::crc32c(&bytes[..end]).to_be_bytes() != bytes[end..] {
            return Err(damaged("bad checksum"));
        }
        // Only now: every format ends with the checksum, so this is another version and not a flip.
        let format = u16::from_be_bytes([bytes[4], bytes[5]]);
        if format != FORMAT {
            return Err(SnapshotError::Newer { path: self.path.clone(), format });
        }
        let has_membership = u16::from_be_bytes([bytes[6], bytes[7]]) != 0;
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(number)
        };
        let id = |at| FrameId { term: number(at), leader: number(at + 8), index: number(at + 16) };
        let membership_bytes = number(56);
        let tables_bytes = number(64);
        if membership_bytes.checked_add(tables_bytes) != Some((end - HEADER_BYTES) as u64) {
            return Err(damaged("lengths do not add up"));
        }
        let middle = HEADER_BYTES + membership_bytes as usize;
        let membership = bytes.slice(HEADER_BYTES..middle);
        Ok(Snapshot {
            last: id(8),
            membership: has_membership.then(|| (id(32), membership)),
            tables: bytes.slice(middle..end),
        })
    }
}

fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let nothing = FrameId { term: 0, leader: 0, index: 0 };
    let (membership_id, membership) = match &snapshot.membership {
        Some((id, bytes)) => (*id, bytes.as_ref()),
        None => (nothing, &[][..]),
    };
    let mut file = Vec::with_capacity(HEADER_BYTES + membership.len() + snapshot.tables.len() + CRC_BYTES);
    file.extend_from_slice(&MAGIC.to_be_bytes());
    file.extend_from_slice(&FORMAT.to_be_bytes());
    file.extend_from_slice(&u16::from(snapshot.membership.is_some()).to_be_bytes());
    for id in [snapshot.last, membership_id] {
        for number in [id.term, id.leader, id.index] {
            file.extend_from_slice(&number.to_be_bytes());
        }
    }
    file.extend_from_slice(&(membership.len() as u64).to_be_bytes());
    file.extend_from_slice(&(snapshot.tables.len() as u64).to_be_bytes());
    file.extend_from_slice(membership);
    file.extend_from_slice(&snapshot.tables);
    let crc = crc32c::crc32c(&file);
    file.extend_from_slice(&crc.to_be_bytes());
    file
}

#[cfg(test)]
mod tests {
    use raftmq_sys::{Open, RealDisk};

    use super::*;

    fn sample() -> Snapshot {
        Snapshot {
            last: FrameId { term: 3, leader: 1, index: 9 },
            membership: Some((FrameId { term: 1, leader: 0, index: 0 }, Bytes::from_static(&[0xAA]))),
            tables: Bytes::from_static(b"tables"),
        }
    }

    #[test]
    fn a_snapshot_keeps_its_golden_bytes() {
        let file = encode(&sample());
        #[rustfmt::skip]
        let golden = [
            0x52, 0x4D, 0x51, 0x53, 0, 1, 0, 1, // magic, format, has a membership
            0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, // last entry
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // membership's entry
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 6, // lengths
            0xAA, b't', b'a', b'b', b'l', b'e', b's',
        ];
        assert_eq!(file[..golden.len()], golden);
        assert_eq!(file[golden.len()..], crc32c::crc32c(&golden).to_be_bytes());
    }

    #[test]
    fn a_flip_of_any_byte_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let files = SnapshotFile::new(Arc::clone(&disk), directory.path()).unwrap();
        assert_eq!(files.load().unwrap(), None);
        files.save(&sample()).unwrap();
        assert_eq!(files.load().unwrap(), Some(sample()));
        let raw = disk.open(&files.path, Open::Write).unwrap();
        for at in 0..encode(&sample()).len() as u64 {
            let mut byte = [0];
            raw.read_at(&mut byte, at).unwrap();
            raw.write_at(&[byte[0] ^ 1], at).unwrap();
            let error = files.load().unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "byte {at}: {error}");
            raw.write_at(&byte, at).unwrap();
        }
        assert_eq!(files.load().unwrap(), Some(sample()));
    }

    #[test]
    fn a_newer_format_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        let files = SnapshotFile::new(Arc::clone(&disk), directory.path()).unwrap();
        let mut newer = encode(&sample());
        newer[5] = 2;
        let end = newer.len() - CRC_BYTES;
        let crc = crc32c::crc32c(&newer[..end]);
        newer[end..].copy_from_slice(&crc.to_be_bytes());
        disk.replace(&files.path, &newer).unwrap();
        let error = files.load().unwrap_err();
        assert!(matches!(error, SnapshotError::Newer { format: 2, .. }), "{error}");
    }
}
