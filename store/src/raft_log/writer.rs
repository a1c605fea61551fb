use std::sync::Arc;

use raftmq_model::message_codec::{self, StoredMessage};
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_model::{command_record, sys_flag};
use raftmq_sys::{Clock, Seams};

use super::entries::RaftEntries;
use super::frame::{FrameHeader, FrameId, FrameKind, HEADER_BYTES};
use crate::background::Background;
use crate::batch::{Appended, EncodedMessages, ProposalRecord, QueueOffsets};
use crate::commit_log::CommitLog;
use crate::config::StoreConfig;
use crate::consume_queue::ConsumeQueues;
use crate::error::{AppendError, FlushError, OpenError};
use crate::flush::Flusher;
use crate::placement::{Placement, needed};
use crate::records::size_and_magic;
use crate::recovery::{self, RecoveryReport};

/// A store whose commitlog is a Raft log.
pub struct RaftStore {
    pub writer: RaftWriter,
    pub log: Arc<CommitLog>,
    pub entries: Arc<RaftEntries>,
    pub queues: Arc<ConsumeQueues>,
    pub flusher: Flusher,
    pub report: RecoveryReport,
}

impl RaftStore {
    /// Opens or creates the store. Everything kept is durable when this returns. Consume queues are complete up to
    /// [`ConsumeQueues::applied`]; entries behind it have to be applied again.
    pub fn open(config: StoreConfig, seams: Seams) -> Result<RaftStore, OpenError> {
        recovery::open_raft(config, &seams)
    }
}

/// One entry to append.
pub enum AppendEntry<'a> {
    Blank(FrameId),
    /// With the membership in the encoding of the `raft` crate.
    Membership(FrameId, &'a [u8]),
    /// On the leader: offsets and store time are filled in place.
    Proposal(FrameId, &'a mut [ProposalRecord]),
    /// On a follower: a whole frame as the leader wrote it.
    Frame(&'a [u8]),
}

/// The one writer of a Raft log.
///
/// Dropping it without [`close`](RaftWriter::close) is like killing the process: the background work ends and
/// nothing more is written.
pub struct RaftWriter {
    log: Arc<CommitLog>,
    entries: Arc<RaftEntries>,
    queues: Arc<ConsumeQueues>,
    background: Background,
    clock: Arc<dyn Clock>,
    limit_bytes: usize,
    placement: Placement,
    /// Headers of what is buffered, with the position of their segments.
    pending: Vec<(u64, FrameHeader)>,
    last: Option<FrameId>,
    last_header_crc: u32,
    offsets: QueueOffsets,
    store_timestamp: i64,
}

impl RaftWriter {
    pub(crate) fn new(
        log: Arc<CommitLog>,
        entries: Arc<RaftEntries>,
        queues: Arc<ConsumeQueues>,
        background: Background,
        clock: Arc<dyn Clock>,
    ) -> RaftWriter {
        // A frame needs its header, and behind it there must be room for a blank.
        let limit_bytes = log.segments().segment_bytes() as usize - needed(HEADER_BYTES) as usize;
        let last_header_crc = entries.index().last_header_crc();
        RaftWriter {
            placement: Placement::new(&log),
            last: entries.last(),
            last_header_crc,
            store_timestamp: log.store_timestamp(),
            offsets: QueueOffsets::default(),
            pending: Vec::new(),
            limit_bytes,
            log,
            entries,
            queues,
            background,
            clock,
        }
    }

    /// Buffers one entry; [`write`](RaftWriter::write) writes it. Of a proposal, one [`Appended`] is pushed for each
    /// [`ProposalRecord::Messages`]. After an error nothing of this entry is buffered.
    ///
    /// The first entry of an empty log may have any index.
    pub fn append(&mut self, entry: AppendEntry<'_>, appended: &mut Vec<Appended>) -> Result<(), AppendError> {
        self.log.check_poison()?;
        match entry {
            AppendEntry::Blank(id) => self.append_body(id, FrameKind::Blank, &[]),
            AppendEntry::Membership(id, body) => self.append_body(id, FrameKind::Membership, body),
            AppendEntry::Proposal(id, records) => self.append_proposal(id, records, appended),
            AppendEntry::Frame(bytes) => self.append_frame(bytes),
        }
    }

    /// Writes everything buffered, one write per contiguous run, and lets readers see it. Returns the new end.
    pub fn write(&mut self) -> Result<PhysicalOffset, AppendError> {
        if self.placement.has_buffered() {
            self.placement.write(&self.log)?;
            self.log.publish(self.placement.position(), self.store_timestamp);
            let mut index = self.entries.index_mut();
            for (base, header) in self.pending.drain(..) {
                index.push(base, &header);
            }
        }
        Ok(self.log.end())
    }

    /// Removes every entry behind `last_kept`; all entries for `None`. The caller has waited for the flusher's
    /// barrier. Zeros take their place, and later segments go.
    pub fn truncate_after(&mut self, last_kept: Option<u64>) -> Result<(), AppendError> {
        self.write()?;
        self.log.check_poison()?;
        let kept = last_kept.and_then(|index| Some((self.entries.id(index)?, self.entries.end_of(index)?.0)));
        let (last, end) = match (kept, last_kept) {
            (Some((id, end)), _) => (Some(id), end),
            // Behind the last entry nothing is to be removed.
            (None, Some(index)) if self.last.is_some_and(|last| index > last.index) => return Ok(()),
            (None, _) => (None, self.log.min_offset().0),
        };
        if end < self.log.end().0 {
            let header_crc = match last {
                Some(id) => self.header_crc_of(id.index)?,
                None => 0,
            };
            self.background.truncate(end, last.map(|id| id.index), header_crc)?;
            self.last_header_crc = header_crc;
        }
        self.last = last;
        self.placement.reset(&self.log);
        Ok(())
    }

    fn header_crc_of(&self, index: u64) -> Result<u32, AppendError> {
        let frames = self.entries.read(index, index + 1, 0);
        let frames = frames.map_err(|error| AppendError::Malformed { what: error.to_string() })?;
        Ok(frames.first().map_or(0, |frame| frame.header.header_crc))
    }

    /// At a change of leader: the next offsets come from the consume queues again, which by then hold every message
    /// of earlier leaders.
    pub fn reset_queue_offsets(&mut self) {
        self.offsets.clear();
    }

    /// The last entry, buffered ones included.
    pub fn last(&self) -> Option<FrameId> {
        self.last
    }

    /// Behind the last byte, buffered ones included.
    pub fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.placement.position())
    }

    /// Writes and flushes what is left, makes queues and mark durable and gives the folder free.
    pub fn close(mut self) -> Result<(), FlushError> {
        self.write().map_err(|_| FlushError::Poisoned)?;
        self.background.close()
    }

    fn append_body(&mut self, id: FrameId, kind: FrameKind, body: &[u8]) -> Result<(), AppendError> {
        let position = self.begin(id, body.len())?;
        self.placement.push(&[0; HEADER_BYTES]);
        self.placement.push(body);
        self.finish(id, kind, 0, position, body.len());
        Ok(())
    }

    fn append_proposal(
        &mut self,
        id: FrameId,
        records: &mut [ProposalRecord],
        appended: &mut Vec<Appended>,
    ) -> Result<(), AppendError> {
        for record in records.iter() {
            check_record(record)?;
        }
        let body_len = records.iter().map(|record| record.bytes().len()).sum();
        let count = records.iter().map(ProposalRecord::count).sum();
        let position = self.begin(id, body_len)?;
        self.store_timestamp = self.store_timestamp.max(self.clock.unix_ms());
        self.placement.push(&[0; HEADER_BYTES]);
        let mut at = position + HEADER_BYTES as u64;
        for record in records {
            if let ProposalRecord::Messages(messages) = record {
                appended.push(assign(messages, at, self.store_timestamp, &mut self.offsets, &self.queues));
            }
            self.placement.push(record.bytes());
            at += record.bytes().len() as u64;
        }
        self.finish(id, FrameKind::Data, count, position, body_len);
        Ok(())
    }

    /// Checks that the entry follows and makes room for it.
    fn begin(&mut self, id: FrameId, body_len: usize) -> Result<u64, AppendError> {
        if let Some(last) = self.last.filter(|last| last.index + 1 != id.index) {
            return Err(AppendError::NotConsecutive { last: last.index, found: id.index });
        }
        if body_len > self.limit_bytes {
            return Err(AppendError::MessageTooLarge { size_bytes: body_len, limit_bytes: self.limit_bytes });
        }
        self.placement.place(&self.log, HEADER_BYTES + body_len)
    }

    /// Fills the header of the entry that was just pushed.
    fn finish(&mut self, id: FrameId, kind: FrameKind, record_count: u32, position: u64, body_len: usize) {
        let frame = self.placement.last_pushed(HEADER_BYTES + body_len);
        let mut header = FrameHeader {
            kind,
            id,
            record_count,
            physical_offset: PhysicalOffset(position),
            prev_header_crc: self.last_header_crc,
            body_crc: crc32c::crc32c(&frame[HEADER_BYTES..]),
            body_len: body_len as u32,
            header_crc: 0,
        };
        let bytes = header.encode();
        frame[..HEADER_BYTES].copy_from_slice(&bytes);
        self.buffered(header);
    }

    fn buffered(&mut self, header: FrameHeader) {
        let segment_bytes = self.log.segments().segment_bytes();
        let base = header.physical_offset.0 / segment_bytes * segment_bytes;
        self.last = Some(header.id);
        self.last_header_crc = header.header_crc;
        self.pending.push((base, header));
    }

    /// A frame from the leader goes exactly where the leader has it, or the logs differ.
    fn append_frame(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let next = self.last.map_or(0, |last| last.index + 1);
        let diverged = |index, what, expected, found| Err(AppendError::Diverged { index, what, expected, found });
        let Some(header) = FrameHeader::decode(bytes) else {
            return diverged(next, "the header", 0, 0);
        };
        let index = header.id.index;
        if header.frame_len() != bytes.len() {
            return diverged(index, "its length", header.frame_len() as u64, bytes.len() as u64);
        }
        if self.last.is_some() && index != next {
            return diverged(index, "its index", next, index);
        }
        let place = self.placement.place_of(bytes.len());
        if header.physical_offset.0 != place {
            return diverged(index, "its position", place, header.physical_offset.0);
        }
        if header.prev_header_crc != self.last_header_crc {
            return diverged(index, "its chain", self.last_header_crc.into(), header.prev_header_crc.into());
        }
        let body_crc = crc32c::crc32c(&bytes[HEADER_BYTES..]);
        if body_crc != header.body_crc {
            return diverged(index, "the CRC of its body", header.body_crc.into(), body_crc.into());
        }
        if header.body_len as usize > self.limit_bytes {
            return Err(AppendError::MessageTooLarge { size_bytes: bytes.len(), limit_bytes: self.limit_bytes });
        }
        self.placement.place(&self.log, bytes.len())?;
        self.placement.push(bytes);
        if let Some(message) = last_message(&bytes[HEADER_BYTES..]) {
            self.store_timestamp = self.store_timestamp.max(message.store_timestamp);
        }
        self.buffered(header);
        Ok(())
    }
}

/// The last message of a body, found by the records' lengths alone.
pub(crate) fn last_message(body: &[u8]) -> Option<StoredMessage<'_>> {
    let (mut at, mut last) = (0, None);
    while let Some((size, magic)) = size_and_magic(&body[at..]) {
        let Some(record) = body.get(at..at + size as usize).filter(|record| record.len() >= 8) else { break };
        if magic == message_codec::MAGIC {
            last = Some(record);
        }
        at += record.len();
    }
    last.and_then(|record| message_codec::decode(record).ok())
}

fn check_record(record: &ProposalRecord) -> Result<(), AppendError> {
    match record {
        ProposalRecord::Messages(messages) => check_messages(messages),
        ProposalRecord::Command(bytes) => match command_record::decode(bytes) {
            Some(_) => Ok(()),
            None => Err(AppendError::Malformed { what: "command record does not decode".to_owned() }),
        },
    }
}

/// Whether `bytes` are `count` whole message records.
pub(crate) fn check_messages(messages: &EncodedMessages) -> Result<(), AppendError> {
    let (mut at, mut count) = (0, 0);
    while at < messages.bytes.len() {
        let rest = &messages.bytes[at..];
        let size =
            size_and_magic(rest).filter(|(_, magic)| *magic == message_codec::MAGIC).map(|(size, _)| size as usize);
        match size.filter(|size| *size >= message_codec::OVERHEAD_V4_BYTES && *size <= rest.len()) {
            Some(size) => at += size,
            None => return Err(AppendError::Malformed { what: format!("no message record at {at}") }),
        }
        count += 1;
    }
    if count == 0 || count != messages.count {
        return Err(AppendError::Malformed { what: format!("{} records announced, {count} found", messages.count) });
    }
    Ok(())
}

/// Numbers the messages of a batch that begins at `position`.
pub(crate) fn assign(
    messages: &mut EncodedMessages,
    position: u64,
    store_timestamp: i64,
    offsets: &mut QueueOffsets,
    queues: &ConsumeQueues,
) -> Appended {
    const SYS_FLAG_AT: usize = 36;
    let (topic, queue_id) = (Arc::clone(&messages.topic), messages.queue_id);
    let next = offsets.next(&topic, queue_id, || queues.next_offset(&topic, queue_id));
    let mut appended =
        Appended { first: PhysicalOffset(position), rest: Vec::new(), queue_offset: QueueOffset(0), store_timestamp };
    let mut at = 0;
    while let Some((size, _)) = messages.bytes.get(at..).and_then(size_and_magic) {
        let record = &mut messages.bytes[at..at + size as usize];
        let flags = i32::from_be_bytes([
            record[SYS_FLAG_AT],
            record[SYS_FLAG_AT + 1],
            record[SYS_FLAG_AT + 2],
            record[SYS_FLAG_AT + 3],
        ]);
        let takes_offset = sys_flag::takes_queue_offset(flags);
        let queue_offset = QueueOffset(if takes_offset { *next } else { 0 });
        let physical_offset = PhysicalOffset(position + at as u64);
        message_codec::patch(record, queue_offset, physical_offset, store_timestamp);
        if at == 0 {
            appended.queue_offset = queue_offset;
        } else {
            appended.rest.push(physical_offset);
        }
        *next += u64::from(takes_offset);
        at += size as usize;
    }
    appended
}
