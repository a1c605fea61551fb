//! What a member must never forget, beside the log: its vote, who it is, where its log begins.
//!
//! The file `raft-state` has two slots of 4 KiB, written in turn and made durable before the change counts. A torn
//! write leaves the other slot, which holds the state before. Layout: `docs/on-disk-format.md`, "Hard state".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_store::FrameId;
use raftmq_sys::{Disk, DiskFile, Open};

pub(crate) const FILE_NAME: &str = "raft-state";
const SLOT_BYTES: usize = 4096;
const MAGIC: u32 = 0x524D_5148; // "RMQH"
const FORMAT: u16 = 1;
const FIXED_BYTES: usize = 112;
const CRC_BYTES: usize = 4;

const JOINED: u16 = 1;
const VOTE: u16 = 1 << 1;
const VOTE_COMMITTED: u16 = 1 << 2;
const PURGED: u16 = 1 << 3;
const MEMBERSHIP: u16 = 1 << 4;

/// A vote as stored: for whom, in which term, and whether a majority granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredVote {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HardState {
    /// Random, made with the directory.
    pub(crate) incarnation: u128,
    pub(crate) node: u64,
    pub(crate) slot: u16,
    pub(crate) cluster: String,
    pub(crate) group: String,
    /// Set once this member is part of the group; before, it neither votes nor takes entries.
    pub(crate) joined: bool,
    pub(crate) vote: Option<StoredVote>,
    /// Where the log begins: everything up to here is logically gone.
    pub(crate) purged: Option<FrameId>,
    /// The newest applied membership (bytes as in its frame) and its entry.
    pub(crate) membership: Option<(FrameId, Vec<u8>)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HardStateError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{path} has no valid slot (first: {first}; second: {second})")]
    Damaged { path: PathBuf, first: SlotError, second: SlotError },
    #[error("hard state of {bytes} bytes exceeds the {SLOT_BYTES} bytes of a slot")]
    TooLarge { bytes: usize },
    #[error("hard state is poisoned by an earlier I/O failure")]
    Poisoned,
}

/// Why a slot does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlotError {
    #[error("never written")]
    Empty,
    #[error("bad magic {0:#010x}")]
    Magic(u32),
    #[error("unknown format {0}")]
    Format(u16),
    #[error("bad length {0}")]
    Length(u16),
    #[error("bad checksum")]
    Crc,
    #[error("malformed field at byte {0}")]
    Field(usize),
}

/// The open file and its present content.
pub(crate) struct HardStateFile {
    file: Arc<dyn DiskFile>,
    sequence: u64,
    state: HardState,
    poisoned: bool,
}

impl HardStateFile {
    /// The state of an existing directory; `None` if it was never made. Durable when this returns: a process that was
    /// killed between write and sync leaves a state that only the page cache holds, and whoever acts on it now must
    /// not find an older one after a power cut.
    pub(crate) fn open(disk: &dyn Disk, directory: &Path) -> Result<Option<HardStateFile>, HardStateError> {
        let path = directory.join(FILE_NAME);
        if !disk.exists(&path) {
            return Ok(None);
        }
        let file = disk.open(&path, Open::Write)?;
        let first = read_slot(&*file, 0)?;
        let second = read_slot(&*file, 1)?;
        let (sequence, state) = match (first, second) {
            (Ok(first), Ok(second)) => {
                if first.0 > second.0 {
                    first
                } else {
                    second
                }
            }
            (Ok(only), Err(_)) | (Err(_), Ok(only)) => only,
            (Err(first), Err(second)) => return Err(HardStateError::Damaged { path, first, second }),
        };
        file.sync_data()?;
        disk.sync_dir(directory)?;
        Ok(Some(HardStateFile { file, sequence, state, poisoned: false }))
    }

    /// Makes the file durable with its first state, all or nothing.
    pub(crate) fn create(disk: &dyn Disk, directory: &Path, state: HardState) -> Result<HardStateFile, HardStateError> {
        let path = directory.join(FILE_NAME);
        let sequence = 1;
        let mut content = vec![0; 2 * SLOT_BYTES];
        let at = slot_position(sequence) as usize;
        content[at..at + SLOT_BYTES].copy_from_slice(&encode(sequence, &state)?);
        disk.replace(&path, &content)?;
        let file = disk.open(&path, Open::Write)?;
        Ok(HardStateFile { file, sequence, state, poisoned: false })
    }

    pub(crate) fn state(&self) -> &HardState {
        &self.state
    }

    /// Changes the state; durable when this returns. After an error nothing more is written: what the disk holds is
    /// unknown until the next start.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut HardState)) -> Result<(), HardStateError> {
        if self.poisoned {
            return Err(HardStateError::Poisoned);
        }
        let mut state = self.state.clone();
        change(&mut state);
        if state == self.state {
            return Ok(());
        }
        let sequence = self.sequence + 1;
        let slot = encode(sequence, &state)?;
        let written = self.file.write_at(&slot, slot_position(sequence)).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.poisoned = true;
            return Err(error.into());
        }
        self.sequence = sequence;
        self.state = state;
        Ok(())
    }
}

fn slot_position(sequence: u64) -> u64 {
    (sequence & 1) * SLOT_BYTES as u64
}

fn read_slot(file: &dyn DiskFile, slot: u64) -> io::Result<Result<(u64, HardState), SlotError>> {
    let mut bytes = vec![0; SLOT_BYTES];
    match file.read_at(&mut bytes, slot * SLOT_BYTES as u64) {
        Ok(()) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(SlotError::Empty)),
        Err(error) => Err(error),
    }
}

fn encode(sequence: u64, state: &HardState) -> Result<Vec<u8>, HardStateError> {
    let mut flags = if state.joined { JOINED } else { 0 };
    let vote = state.vote.unwrap_or(StoredVote { term: 0, node: 0, committed: false });
    if state.vote.is_some() {
        flags |= VOTE;
    }
    if vote.committed {
        flags |= VOTE_COMMITTED;
    }
    if state.purged.is_some() {
        flags |= PURGED;
    }
    if state.membership.is_some() {
        flags |= MEMBERSHIP;
    }
    let nothing = FrameId { term: 0, leader: 0, index: 0 };
    let purged = state.purged.unwrap_or(nothing);
    let (membership_id, membership) = match &state.membership {
        Some((id, bytes)) => (*id, bytes.as_slice()),
        None => (nothing, &[][..]),
    };
    let variable = [state.cluster.as_bytes(), state.group.as_bytes(), membership];
    let length = FIXED_BYTES + variable.iter().map(|part| 2 + part.len()).sum::<usize>();
    if length + CRC_BYTES > SLOT_BYTES {
        return Err(HardStateError::TooLarge { bytes: length + CRC_BYTES });
    }

    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(&MAGIC.to_be_bytes());
    slot.extend_from_slice(&FORMAT.to_be_bytes());
    slot.extend_from_slice(&(length as u16).to_be_bytes());
    slot.extend_from_slice(&sequence.to_be_bytes());
    slot.extend_from_slice(&state.incarnation.to_be_bytes());
    slot.extend_from_slice(&state.node.to_be_bytes());
    slot.extend_from_slice(&state.slot.to_be_bytes());
    slot.extend_from_slice(&flags.to_be_bytes());
    slot.extend_from_slice(&[0; 4]);
    for number in [vote.term, vote.node, purged.term, purged.leader, purged.index] {
        slot.extend_from_slice(&number.to_be_bytes());
    }
    for number in [membership_id.term, membership_id.leader, membership_id.index] {
        slot.extend_from_slice(&number.to_be_bytes());
    }
    for part in variable {
        slot.extend_from_slice(&(part.len() as u16).to_be_bytes());
        slot.extend_from_slice(part);
    }
    let crc = crc32c::crc32c(&slot);
    slot.extend_from_slice(&crc.to_be_bytes());
    slot.resize(SLOT_BYTES, 0);
    Ok(slot)
}

fn decode(slot: &[u8]) -> Result<(u64, HardState), SlotError> {
    if slot.iter().all(|byte| *byte == 0) {
        return Err(SlotError::Empty);
    }
    let mut fields = Fields { bytes: slot, at: 0 };
    let magic = u32::from_be_bytes(fields.array()?);
    if magic != MAGIC {
        return Err(SlotError::Magic(magic));
    }
    let format = u16::from_be_bytes(fields.array()?);
    if format != FORMAT {
        return Err(SlotError::Format(format));
    }
    let length = u16::from_be_bytes(fields.array()?);
    let end = usize::from(length);
    if end < FIXED_BYTES || end + CRC_BYTES > slot.len() {
        return Err(SlotError::Length(length));
    }
    if crc32c::crc32c(&slot[..end]).to_be_bytes() != slot[end..end + CRC_BYTES] {
        return Err(SlotError::Crc);
    }
    fields.bytes = &slot[..end];
    let sequence = fields.u64()?;
    let incarnation = u128::from_be_bytes(fields.array()?);
    let node = fields.u64()?;
    let own_slot = u16::from_be_bytes(fields.array()?);
    let flags = u16::from_be_bytes(fields.array()?);
    let _reserved: [u8; 4] = fields.array()?;
    let vote = StoredVote { term: fields.u64()?, node: fields.u64()?, committed: flags & VOTE_COMMITTED != 0 };
    let purged = fields.frame_id()?;
    let membership_id = fields.frame_id()?;
    let cluster = fields.text()?;
    let group = fields.text()?;
    let membership = fields.part()?.to_vec();
    let state = HardState {
        incarnation,
        node,
        slot: own_slot,
        cluster,
        group,
        joined: flags & JOINED != 0,
        vote: (flags & VOTE != 0).then_some(vote),
        purged: (flags & PURGED != 0).then_some(purged),
        membership: (flags & MEMBERSHIP != 0).then_some((membership_id, membership)),
    };
    Ok((sequence, state))
}

/// Reads fields one after the other, never past the end.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SlotError> {
        let part = self.bytes.get(self.at..self.at + length).ok_or(SlotError::Field(self.at))?;
        self.at += length;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SlotError> {
        let at = self.at;
        self.take(N)?.try_into().map_err(|_| SlotError::Field(at))
    }

    fn u64(&mut self) -> Result<u64, SlotError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn frame_id(&mut self) -> Result<FrameId, SlotError> {
        Ok(FrameId { term: self.u64()?, leader: self.u64()?, index: self.u64()? })
    }

    fn part(&mut self) -> Result<&'a [u8], SlotError> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<String, SlotError> {
        let at = self.at;
        String::from_utf8(self.part()?.to_vec()).map_err(|_| SlotError::Field(at))
    }
}

#[cfg(test)]
mod tests {
    use raftmq_sim::SimMachine;
    use raftmq_sim::disk::{Faults, Moment};
    use raftmq_sys::RealDisk;

    use super::*;

    fn sample() -> HardState {
        HardState {
            incarnation: 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10,
            node: 2,
            slot: 2,
            cluster: "c".to_owned(),
            group: "g".to_owned(),
            joined: true,
            vote: Some(StoredVote { term: 7, node: 1, committed: true }),
            purged: None,
            membership: Some((FrameId { term: 1, leader: 0, index: 0 }, vec![0xAA, 0xBB])),
        }
    }

    #[test]
    fn a_slot_keeps_its_golden_bytes() {
        let slot = encode(5, &sample()).unwrap();
        #[rustfmt::skip]
        let golden = [
            0x52, 0x4D, 0x51, 0x48, 0, 1, 0, 122, // magic, format, length
            0, 0, 0, 0, 0, 0, 0, 5, // sequence
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // incarnation
            0, 0, 0, 0, 0, 0, 0, 2, // node
            0, 2, 0, 0b1_0111, 0, 0, 0, 0, // slot, flags, reserved
            0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, // vote: term, node
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // purged
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // membership's entry
            0, 1, b'c', 0, 1, b'g', 0, 2, 0xAA, 0xBB, // cluster, group, membership
        ];
        assert_eq!(slot[..golden.len()], golden);
        assert_eq!(slot[golden.len()..golden.len() + 4], crc32c::crc32c(&golden).to_be_bytes());
        assert_eq!(slot.len(), SLOT_BYTES);
        assert_eq!(decode(&slot).unwrap(), (5, sample()));
    }

    #[test]
    fn a_flip_of_any_used_byte_is_noticed() {
        let slot = encode(5, &sample()).unwrap();
        for at in 0..126 {
            let mut flipped = slot.clone();
            flipped[at] ^= 0x40;
            assert!(decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_torn_write_leaves_the_state_before() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        assert!(HardStateFile::open(&disk, directory.path()).unwrap().is_none());
        let mut file = HardStateFile::create(&disk, directory.path(), sample()).unwrap();
        for term in 8..12 {
            file.update(|state| state.vote = Some(StoredVote { term, node: 0, committed: false })).unwrap();
        }
        let before = file.state().clone();
        drop(file);

        // The next write would go to the slot of sequence 6; tear it at every length.
        let path = directory.path().join(FILE_NAME);
        let raw = disk.open(&path, Open::Write).unwrap();
        let mut next = before.clone();
        next.vote = Some(StoredVote { term: 12, node: 0, committed: false });
        let slot = encode(6, &next).unwrap();
        for torn in [0, 1, 8, 16, 60, 121, 125] {
            raw.write_at(&slot[..torn], slot_position(6)).unwrap();
            let reopened = HardStateFile::open(&disk, directory.path()).unwrap().unwrap();
            assert_eq!(reopened.state(), &before, "torn after {torn} bytes");
        }
        raw.write_at(&slot, slot_position(6)).unwrap();
        assert_eq!(HardStateFile::open(&disk, directory.path()).unwrap().unwrap().state(), &next);
    }

    fn term(file: &HardStateFile) -> u64 {
        file.state().vote.map_or(0, |vote| vote.term)
    }

    /// Votes in term after term; `reported` is the last one that was saved, as far as the voter knew.
    fn vote_on(disk: &dyn Disk, directory: &Path, reported: &mut u64) -> Result<(), HardStateError> {
        let mut file = match HardStateFile::open(disk, directory)? {
            Some(file) => file,
            None => HardStateFile::create(disk, directory, HardState { vote: None, ..sample() })?,
        };
        for next in 1..6 {
            file.update(|state| state.vote = Some(StoredVote { term: next, node: next % 3, committed: false }))?;
            *reported = next;
        }
        Ok(())
    }

    /// The process dies at every call to the disk; restarted, it acts on the vote that it finds; then the power goes.
    #[test]
    fn a_vote_once_reported_or_found_survives_kill_and_power_cut() {
        let directory = Path::new("/r");
        for moment in [Moment::Before, Moment::Within { sectors: 1 }, Moment::Within { sectors: 4 }, Moment::After] {
            for at in 0.. {
                let machine = SimMachine::new(0);
                machine.make_directory(directory).unwrap();
                let dying = machine.restart();
                dying.disk.set_faults(Faults { kill: Some((at, moment)), ..Faults::default() });
                let mut reported = 0;
                let ended = vote_on(&*dying.disk, directory, &mut reported);
                if dying.disk.is_alive() {
                    ended.unwrap();
                    break;
                }
                let up = dying.restart();
                let found = HardStateFile::open(&*up.disk, directory).unwrap();
                let promised = found.as_ref().map_or(0, term);
                assert!(promised >= reported, "killed {moment:?} call {at}: {reported} was reported, {promised} found");
                for seed in 0..8 {
                    let cut = up.fork();
                    cut.disk.power_cut(seed);
                    let again = HardStateFile::open(&*cut.restart().disk, directory).unwrap();
                    assert_eq!(again.as_ref().map_or(0, term), promised, "killed {moment:?} call {at}, cut {seed}");
                    assert!(again.is_some() || found.is_none());
                }
            }
        }
    }

    #[test]
    fn two_bad_slots_are_damage_and_not_a_new_member() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        drop(HardStateFile::create(&disk, directory.path(), sample()).unwrap());
        let raw = disk.open(&directory.path().join(FILE_NAME), Open::Write).unwrap();
        raw.write_at(&[0xFF; 64], slot_position(1)).unwrap();
        let error = HardStateFile::open(&disk, directory.path()).err().unwrap();
        assert!(error.to_string().contains("no valid slot"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = HardStateFile::create(&RealDisk::new(), directory.path(), sample()).unwrap();
        let id = FrameId { term: 1, leader: 0, index: 3 };
        let error = file.update(|state| state.membership = Some((id, vec![0; SLOT_BYTES]))).unwrap_err();
        assert!(matches!(error, HardStateError::TooLarge { .. }), "{error}");
        assert_eq!(file.state(), &sample());
    }
}
