//! What a member must never forget, beside the log: its vote, who it is, where its log begins.
//!
//! The file `raft-state` has two slots of 4 KiB. A change is written to the first and made durable, then to the second
//! and made durable, and only then it counts. So both slots hold whatever anybody has acted on: a slot that is torn or
//! damaged is never the only one, and no vote is forgotten with it. Votes are rare enough for the second fdatasync.
//! Layout: `docs/on-disk-format.md`, "Hard state".

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
const FOUNDER: u16 = 1 << 5;

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
    /// The incarnation of the member that initialised the group: tells it from another group of the same name.
    pub(crate) founder: Option<u128>,
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
    #[error("{path} was written by a newer version: a slot has format {format}, this version reads {FORMAT}")]
    Newer { path: PathBuf, format: u16 },
    #[error("{path} is damaged: its slots hold different states under the sequence number {sequence}")]
    Contradictory { path: PathBuf, sequence: u64 },
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
    /// The state of an existing directory; `None` if it was never made. Durable when this returns, whatever the process
    /// before left: what was found is written again, for after a failed fsync Linux shows pages that never reached the
    /// disk and calls them clean, and an fsync of them would say Ok and do nothing.
    pub(crate) fn open(disk: &dyn Disk, directory: &Path) -> Result<Option<HardStateFile>, HardStateError> {
        let path = directory.join(FILE_NAME);
        if !disk.exists(&path) {
            return Ok(None);
        }
        let file = disk.open(&path, Open::Write)?;
        let slots = [read_slot(&*file, 0)?, read_slot(&*file, 1)?];
        let (newest, sequence, state) = choose(&path, slots)?;
        // The slot that was found newest goes first: until it is durable the other one may be the only one that is.
        write_slots(&*file, [newest, 1 - newest], &encode(sequence, &state)?)?;
        disk.sync_dir(directory)?;
        Ok(Some(HardStateFile { file, sequence, state, poisoned: false }))
    }

    /// Makes the file durable with its first state, all or nothing.
    pub(crate) fn create(disk: &dyn Disk, directory: &Path, state: HardState) -> Result<HardStateFile, HardStateError> {
        let path = directory.join(FILE_NAME);
        let sequence = 1;
        let slot = encode(sequence, &state)?;
        disk.replace(&path, &[slot.as_slice(), slot.as_slice()].concat())?;
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
        if let Err(error) = write_slots(&*self.file, [0, 1], &slot) {
            self.poisoned = true;
            return Err(error.into());
        }
        self.sequence = sequence;
        self.state = state;
        Ok(())
    }
}

/// Writes one state to both slots in this order, each durable before the next is touched.
fn write_slots(file: &dyn DiskFile, order: [usize; 2], slot: &[u8]) -> io::Result<()> {
    for index in order {
        file.write_at(slot, slot_position(index))?;
        file.sync_data()?;
    }
    Ok(())
}

/// The slot that holds the newest state, its sequence number and the state.
///
/// A slot that does not count was torn, before anybody acted on it, or is damaged; in both cases the other one holds
/// everything that anybody has acted on.
fn choose(path: &Path, slots: [Slot; 2]) -> Result<(usize, u64, HardState), HardStateError> {
    for (slot, content) in slots.iter().enumerate() {
        match content {
            Err(SlotError::Format(format)) => {
                return Err(HardStateError::Newer { path: path.to_owned(), format: *format });
            }
            Err(error) => tracing::warn!(path = %path.display(), slot, %error, "a slot of the hard state is bad"),
            Ok(_) => {}
        }
    }
    match slots {
        [Ok(first), Ok(second)] if first.0 == second.0 && first.1 != second.1 => {
            Err(HardStateError::Contradictory { path: path.to_owned(), sequence: first.0 })
        }
        [Ok(first), Ok(second)] if first.0 < second.0 => Ok((1, second.0, second.1)),
        [Ok(first), _] => Ok((0, first.0, first.1)),
        [Err(_), Ok(second)] => Ok((1, second.0, second.1)),
        [Err(first), Err(second)] => Err(HardStateError::Damaged { path: path.to_owned(), first, second }),
    }
}

fn slot_position(slot: usize) -> u64 {
    (slot * SLOT_BYTES) as u64
}

/// What a slot says: sequence number and state.
type Slot = Result<(u64, HardState), SlotError>;

fn read_slot(file: &dyn DiskFile, slot: usize) -> io::Result<Slot> {
    let mut bytes = vec![0; SLOT_BYTES];
    match file.read_at(&mut bytes, slot_position(slot)) {
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
    let founder = state.founder.map(u128::to_be_bytes);
    if founder.is_some() {
        flags |= FOUNDER;
    }
    let nothing = FrameId { term: 0, leader: 0, index: 0 };
    let purged = state.purged.unwrap_or(nothing);
    let (membership_id, membership) = match &state.membership {
        Some((id, bytes)) => (*id, bytes.as_slice()),
        None => (nothing, &[][..]),
    };
    let variable = [state.cluster.as_bytes(), state.group.as_bytes(), membership];
    let founder = founder.as_ref().map_or(&[][..], |founder| founder);
    let length = FIXED_BYTES + variable.iter().map(|part| 2 + part.len()).sum::<usize>() + founder.len();
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
    slot.extend_from_slice(founder);
    let crc = crc32c::crc32c(&slot);
    slot.extend_from_slice(&crc.to_be_bytes());
    slot.resize(SLOT_BYTES, 0);
    Ok(slot)
}

fn decode(slot: &[u8]) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Err(SlotError::Empty);
    }
    let mut fields = Fields { bytes: slot, at: 0 };
    let magic = u32::from_be_bytes(fields.array()?);
    if magic != MAGIC {
        return Err(SlotError::Magic(magic));
    }
    let format = u16::from_be_bytes(fields.array()?);
    let length = u16::from_be_bytes(fields.array()?);
    let end = usize::from(length);
    if end < FIXED_BYTES || end + CRC_BYTES > slot.len() {
        return Err(SlotError::Length(length));
    }
    if crc32c::crc32c(&slot[..end]).to_be_bytes() != slot[end..end + CRC_BYTES] {
        return Err(SlotError::Crc);
    }
    // Only now: every format keeps length and checksum where they are, so this is another version and not a flip.
    if format != FORMAT {
        return Err(SlotError::Format(format));
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
    let founder = if flags & FOUNDER != 0 { Some(u128::from_be_bytes(fields.array()?)) } else { None };
    let state = HardState {
        incarnation,
        node,
        slot: own_slot,
        cluster,
        group,
        joined: flags & JOINED != 0,
        founder,
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
    use raftmq_sim::disk::{Faults, Lies, Moment};
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
            founder: Some(0x1112_1314_1516_1718_191A_1B1C_1D1E_1F20),
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
            0x52, 0x4D, 0x51, 0x48, 0, 1, 0, 138, // magic, format, length
            0, 0, 0, 0, 0, 0, 0, 5, // sequence
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // incarnation
            0, 0, 0, 0, 0, 0, 0, 2, // node
            0, 2, 0, 0b11_0111, 0, 0, 0, 0, // slot, flags, reserved
            0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, // vote: term, node
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // purged
            0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // membership's entry
            0, 1, b'c', 0, 1, b'g', 0, 2, 0xAA, 0xBB, // cluster, group, membership
            17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, // founder
        ];
        assert_eq!(slot[..golden.len()], golden);
        assert_eq!(slot[golden.len()..golden.len() + 4], crc32c::crc32c(&golden).to_be_bytes());
        assert_eq!(slot.len(), SLOT_BYTES);
        assert_eq!(decode(&slot).unwrap(), (5, sample()));
        let unknown = HardState { founder: None, ..sample() };
        assert_eq!(decode(&encode(5, &unknown).unwrap()).unwrap(), (5, unknown));
    }

    #[test]
    fn a_flip_of_any_used_byte_is_noticed() {
        let slot = encode(5, &sample()).unwrap();
        for at in 0..142 {
            let mut flipped = slot.clone();
            flipped[at] ^= 0x40;
            assert!(decode(&flipped).is_err(), "byte {at}");
        }
    }

    const ROOT: &str = "/r";

    fn vote(term: u64) -> Option<StoredVote> {
        Some(StoredVote { term, node: term % 3, committed: false })
    }

    fn in_term(term: u64) -> HardState {
        HardState { vote: vote(term), ..sample() }
    }

    fn machine() -> SimMachine {
        let machine = SimMachine::new(0);
        machine.make_directory(Path::new(ROOT)).unwrap();
        machine
    }

    /// A machine whose file holds these slots, as they are.
    fn with_slots(slots: [Vec<u8>; 2]) -> SimMachine {
        let machine = machine();
        drop(HardStateFile::create(&*machine.disk, Path::new(ROOT), sample()).unwrap());
        machine.disk.edit_at_rest(&Path::new(ROOT).join(FILE_NAME), |bytes| *bytes = slots.concat());
        machine
    }

    /// The state that the next process finds; it finds the same when it is started again, and after a power cut.
    fn found(machine: &SimMachine) -> Result<HardState, String> {
        let open = |machine: &SimMachine| {
            let opened = HardStateFile::open(&*machine.disk, Path::new(ROOT));
            opened.map(|file| file.expect("the file exists").state().clone()).map_err(|error| error.to_string())
        };
        let up = machine.restart();
        let state = open(&up);
        let again = up.restart();
        assert_eq!(open(&again), state, "a second open finds something else");
        again.disk.power_cut(1);
        assert_eq!(open(&again.restart()), state, "a power cut changes what was found");
        state
    }

    #[test]
    fn both_slots_hold_whatever_was_reported() {
        let machine = machine();
        let mut file = HardStateFile::create(&*machine.disk, Path::new(ROOT), sample()).unwrap();
        for term in 8..11 {
            file.update(|state| state.vote = vote(term)).unwrap();
            let bytes = machine.disk.durable_files().remove(&Path::new(ROOT).join(FILE_NAME)).unwrap();
            assert_eq!(bytes.len(), 2 * SLOT_BYTES);
            for slot in bytes.chunks(SLOT_BYTES) {
                assert_eq!(decode(slot).unwrap().1, in_term(term));
            }
        }
    }

    /// The damage suite. In each case the last reported state is in term 9.
    #[test]
    fn a_flip_of_any_bit_or_a_cut_at_any_length_forgets_no_vote() {
        let slot = |sequence, term| encode(sequence, &in_term(term)).unwrap();
        let up = machine();
        let mut file = HardStateFile::create(&*up.disk, Path::new(ROOT), sample()).unwrap();
        (8..10).for_each(|term| file.update(|state| state.vote = vote(term)).unwrap());
        let bytes = up.disk.durable_files().remove(&Path::new(ROOT).join(FILE_NAME)).unwrap();
        let at_rest = [bytes[..SLOT_BYTES].to_vec(), bytes[SLOT_BYTES..].to_vec()];
        let flip = |slots: &[Vec<u8>; 2], at: usize, bit: usize| {
            let mut flipped = slots.clone();
            flipped[at / SLOT_BYTES][at % SLOT_BYTES] ^= 1 << bit;
            with_slots(flipped)
        };
        for at in 0..2 * SLOT_BYTES {
            for bit in 0..8 {
                assert_eq!(found(&flip(&at_rest, at, bit)), Ok(in_term(9)), "bit {bit} of byte {at}");
            }
        }
        // Killed while it wrote term 10: nobody knows of that one, so it may be there or not.
        let torn = [slot(4, 10), slot(3, 9)];
        for at in 0..2 * SLOT_BYTES {
            let state = found(&flip(&torn, at, 0));
            assert!(state == Ok(in_term(9)) || state == Ok(in_term(10)), "byte {at}: {state:?}");
        }
        for length in 0..=2 * SLOT_BYTES {
            let machine = with_slots(at_rest.clone());
            machine.disk.edit_at_rest(&Path::new(ROOT).join(FILE_NAME), |bytes| bytes.truncate(length));
            let state = found(&machine);
            if length < SLOT_BYTES {
                assert!(state.clone().unwrap_err().contains("no valid slot"), "cut to {length}: {state:?}");
            } else {
                assert_eq!(state, Ok(in_term(9)), "cut to {length}");
            }
        }
    }

    #[test]
    fn a_torn_write_leaves_the_state_before() {
        let slot = |sequence, term| encode(sequence, &in_term(term)).unwrap();
        for torn in 0..SLOT_BYTES {
            let mix = |new: &[u8], old: &[u8]| [&new[..torn], &old[torn..]].concat();
            let state = found(&with_slots([mix(&slot(6, 10), &slot(5, 9)), slot(5, 9)]));
            let whole = mix(&slot(6, 10), &slot(5, 9)) == slot(6, 10);
            assert_eq!(state, Ok(in_term(if whole { 10 } else { 9 })), "the first slot torn after {torn} bytes");
            let state = found(&with_slots([slot(6, 10), mix(&slot(6, 10), &slot(5, 9))]));
            assert_eq!(state, Ok(in_term(10)), "the second slot torn after {torn} bytes");
        }
    }

    #[test]
    fn a_slot_of_a_newer_format_is_refused_and_left_alone() {
        let mut newer = encode(6, &in_term(10)).unwrap();
        newer[4..6].copy_from_slice(&2u16.to_be_bytes());
        let length = usize::from(u16::from_be_bytes([newer[6], newer[7]]));
        let crc = crc32c::crc32c(&newer[..length]);
        newer[length..length + CRC_BYTES].copy_from_slice(&crc.to_be_bytes());
        let old = encode(5, &in_term(9)).unwrap();
        for slots in [[newer.clone(), old.clone()], [old, newer.clone()], [newer, vec![0xFF; SLOT_BYTES]]] {
            let machine = with_slots(slots.clone());
            let error = found(&machine).unwrap_err();
            assert!(error.contains("written by a newer version"), "{error}");
            assert_eq!(machine.disk.files()[&Path::new(ROOT).join(FILE_NAME)], slots.concat());
        }
    }

    #[test]
    fn slots_that_contradict_each_other_are_damage() {
        let slot = |term| encode(5, &in_term(term)).unwrap();
        let error = found(&with_slots([slot(8), slot(9)])).unwrap_err();
        assert!(error.contains("different states"), "{error}");
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

    /// The process dies at every call to the disk. Then the power goes, at once or after a restart that has acted on the
    /// vote that it found. Returns how often a vote that somebody may have acted on was gone, with disks whose syncs lie
    /// while it runs, or while it starts again.
    fn lost_votes(running: &Lies, starting: &Lies) -> usize {
        let (directory, mut lost) = (Path::new("/r"), 0);
        let found = |machine: &SimMachine| {
            HardStateFile::open(&*machine.disk, directory).map(|file| file.map_or(0, |file| term(&file)))
        };
        let after_cut = |machine: &SimMachine, seed: u64| {
            let cut = machine.fork();
            cut.disk.power_cut(seed);
            found(&cut.restart())
        };
        for moment in [Moment::Before, Moment::Within { sectors: 1 }, Moment::Within { sectors: 4 }, Moment::After] {
            for at in 0.. {
                let machine = SimMachine::new(0);
                machine.make_directory(directory).unwrap();
                let dying = machine.restart();
                let kill = Some((at, moment));
                dying.disk.set_faults(Faults { kill, sync_data_lies: running.clone(), ..Faults::default() });
                let mut reported = 0;
                let ended = vote_on(&*dying.disk, directory, &mut reported);
                if dying.disk.is_alive() {
                    ended.unwrap();
                    break;
                }
                lost += (0..8).filter(|seed| after_cut(&dying, *seed).map_or(true, |term| term < reported)).count();
                let up = dying.restart();
                up.disk.set_faults(Faults { sync_data_lies: starting.clone(), ..Faults::default() });
                let promised = found(&up).unwrap();
                assert!(promised >= reported, "killed {moment:?} call {at}: {reported} was reported, {promised} found");
                lost += (0..8).filter(|seed| after_cut(&up, *seed).map_or(true, |term| term != promised)).count();
            }
        }
        lost
    }

    #[test]
    fn a_vote_once_reported_or_found_survives_kill_and_power_cut() {
        assert_eq!(lost_votes(&Lies::Nobody, &Lies::Nobody), 0);
    }

    /// What the test above must notice.
    #[test]
    fn without_syncs_while_it_runs_or_starts_votes_are_lost() {
        assert!(lost_votes(&Lies::Everybody, &Lies::Nobody) > 0);
        assert!(lost_votes(&Lies::Nobody, &Lies::Everybody) > 0);
    }

    /// An fsync fails and the process is started again on the same boot: the page cache shows the write and calls it
    /// clean, and what it acts on must still be there when the power goes.
    #[test]
    fn a_vote_found_after_a_failed_sync_survives_a_power_cut() {
        let directory = Path::new(ROOT);
        for (seed, failing) in (0..16).flat_map(|seed| (0..).map(move |failing| (seed, failing)).take(16)) {
            let machine = SimMachine::new(seed);
            machine.make_directory(directory).unwrap();
            let up = machine.restart();
            up.disk.set_faults(Faults { failing_sync: Some(failing), ..Faults::default() });
            let mut reported = 0;
            if vote_on(&*up.disk, directory, &mut reported).is_ok() {
                assert!(failing > 10, "two syncs for each of five votes");
                continue;
            }
            // The sync of the next start may fail too.
            for second in 0..3 {
                let up = up.fork().restart();
                up.disk.set_faults(Faults { failing_sync: Some(second), ..Faults::default() });
                let (up, found) = match HardStateFile::open(&*up.disk, directory) {
                    Ok(found) => (up, found),
                    Err(_) => {
                        let up = up.restart();
                        let found = HardStateFile::open(&*up.disk, directory).unwrap();
                        (up, found)
                    }
                };
                let promised = found.as_ref().map_or(0, term);
                assert!(promised >= reported, "sync {failing} failed: {reported} was reported, {promised} found");
                up.disk.power_cut(seed);
                let again = HardStateFile::open(&*up.restart().disk, directory).unwrap();
                assert_eq!(again.as_ref().map_or(0, term), promised, "seed {seed}, sync {failing}, then {second}");
            }
        }
    }

    #[test]
    fn two_bad_slots_are_damage_and_not_a_new_member() {
        let error = found(&with_slots([vec![0xFF; SLOT_BYTES], vec![0; SLOT_BYTES]])).unwrap_err();
        assert!(error.contains("no valid slot"), "{error}");
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
