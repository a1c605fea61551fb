//! Recovery of a classic store, ours or RocketMQ's.

use std::sync::Arc;

use raftmq_model::message_codec::{self, StoredMessage};
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_sys::{Disk, Open, Seams};

use super::queue_check::QueueCheck;
use super::reader::LogReader;
use super::{RecoveryReport, end};
use crate::background::{Background, Setup};
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::classic::{ClassicStore, ClassicWriter};
use crate::commit_log::CommitLog;
use crate::config::{FlushMode, StoreConfig};
use crate::consume_queue::{
    ConsumeQueues, Cut, DispatchError, Extent, Fingerprint, QUEUE_OFFSET_LIMIT, QueueSetup, Survey, queue_files, survey,
};
use crate::error::OpenError;
use crate::flush::Flusher;
use crate::folder::Folder;
use crate::mark::{Mark, MarkFile};
use crate::metrics::StoreMetrics;
use crate::segments::Segments;
use crate::signal::Signal;
use crate::store_mode::Kind;

/// Segments at the end that RocketMQ's recovery looks at after a clean stop.
const RECOVERED_SEGMENTS: usize = 3;

/// Opens a classic store: see [`ClassicStore::open`].
pub(crate) fn open_classic(config: StoreConfig, seams: &Seams) -> Result<ClassicStore, OpenError> {
    config.check()?;
    let start = seams.clock.monotonic();
    let folder = Folder::open(Arc::clone(&seams.disk), &config, Kind::Classic)?;
    let disk = &*seams.disk;
    let found = Found::read(&folder)?;
    let segments = Segments::load(Arc::clone(&seams.disk), config.commit_log_dir.clone(), config.segment_bytes)?;
    let surveys = survey(disk, &folder.consume_queues(), config.queue_file_bytes)?;
    let scanner = Scanner { found: &found, surveys: &surveys, check_crc: config.check_crc_on_recover, disk };
    let scan = scanner.run(&segments)?;

    // From here on files change. RocketMQ's sign of an unclean stop comes first.
    create_abort(&folder)?;
    found.rewrite(&folder)?;
    let durable = found.mark.map_or(0, |mark| mark.flushed);
    let cut_bytes = end::cut(&segments, scan.end, found.nothing_behind(scan.end))?;
    let rewritten_bytes = end::rewrite(&segments, scan.durable, scan.end)?;
    end::sync(&segments, durable)?;
    let metrics = StoreMetrics::new(&seams.metrics, &config.root.to_string_lossy());
    let wake = Arc::new(Signal::default());
    let clock = Arc::clone(&seams.clock);
    let hot = config.hot_window_bytes;
    let log = CommitLog::new(segments, scan.end, scan.timestamp, hot, Arc::clone(&wake), clock, metrics.clone());
    let log = Arc::new(log);
    let load = Load { folder: &folder, config: &config, found: &found, surveys: &surveys, log: &log, wake: &wake };
    let (queues, dispatched) = load.queues(&scan.queues)?;

    folder.mark_kind(&config, Kind::Classic)?;
    let report = RecoveryReport {
        scanned_bytes: scan.scanned,
        cut_bytes,
        cut_at: (cut_bytes > 0).then_some(PhysicalOffset(scan.end)),
        rewritten_bytes,
        entries: scan.records,
        dispatched,
        took: seams.clock.monotonic().saturating_sub(start),
    };
    report.note(&metrics);
    let flusher = match config.flush {
        FlushMode::Sync => None,
        FlushMode::Async { .. } => Some(Flusher::start(Arc::clone(&log), config.flush, seams)?),
    };
    let limit_bytes = config.max_record_bytes();
    let setup = Setup {
        config,
        folder,
        log: Arc::clone(&log),
        queues: Arc::clone(&queues),
        mark: found.mark_file,
        recovery_point: scan.recovery_point,
        checkpoint: Some(found.checkpoint),
        raft: None,
        wake,
    };
    let background = Background::start(setup, seams)?;
    let clock = Arc::clone(&seams.clock);
    let writer = ClassicWriter::new(Arc::clone(&log), Arc::clone(&queues), background, flusher, clock, limit_bytes);
    Ok(ClassicStore { writer, log, queues, report })
}

fn create_abort(folder: &Folder) -> Result<(), OpenError> {
    let path = folder.abort();
    if folder.disk.exists(&path) {
        return Ok(());
    }
    folder.disk.open(&path, Open::Create).map_err(OpenError::io("create", &path))?;
    folder.disk.sync_dir(folder.root()).map_err(OpenError::io("sync", folder.root()))
}

/// The small files as the last run left them.
struct Found {
    mark_file: MarkFile,
    /// `None`: there is none, or RocketMQ has written to the store since.
    mark: Option<Mark>,
    checkpoint: CheckpointFile,
    /// There is no `abort` file.
    was_clean: bool,
}

impl Found {
    fn read(folder: &Folder) -> Result<Found, OpenError> {
        let disk = &*folder.disk;
        let mark_file = MarkFile::open(disk, &folder.mark())?;
        let has_checkpoint = disk.exists(&folder.checkpoint());
        let checkpoint = CheckpointFile::open(disk, &folder.checkpoint())?;
        let head = checkpoint.current.encode();
        let is_ours = |mark: &Mark| !has_checkpoint || mark.checkpoint == head || mark.checkpoint_before == head;
        let mark = mark_file.newest().filter(is_ours);
        Ok(Found { mark, mark_file, checkpoint, was_clean: !disk.exists(&folder.abort()) })
    }

    /// What was trusted here may be in the page cache alone.
    fn rewrite(&self, folder: &Folder) -> Result<(), OpenError> {
        self.mark_file.rewrite().map_err(OpenError::io("write again", &folder.mark()))?;
        self.checkpoint.rewrite().map_err(OpenError::io("write again", &folder.checkpoint()))
    }

    /// Whether the last run said that the log ends exactly here.
    fn nothing_behind(&self, end: u64) -> bool {
        self.was_clean && self.mark.is_some_and(|mark| mark.is_closed && mark.flushed == end)
    }
}

/// What the log and the queues hold.
struct Scan {
    end: u64,
    /// What lies below was durable.
    durable: u64,
    /// Not smaller than the store time of any record.
    timestamp: i64,
    recovery_point: u64,
    queues: QueuePlan,
    scanned: u64,
    records: u64,
}

/// What becomes of the consume queues.
enum QueuePlan {
    /// Each is cut to its extent, and messages from a position on are entered again.
    Keep { cut: Cut, extents: Vec<Extent>, dispatch_from: u64 },
    /// A file is missing: all are built anew.
    Rebuild,
}

struct Scanner<'a> {
    found: &'a Found,
    surveys: &'a [Survey],
    check_crc: bool,
    disk: &'a dyn Disk,
}

impl Scanner<'_> {
    fn run(&self, segments: &Segments) -> Result<Scan, OpenError> {
        let reader = LogReader::new(segments);
        match self.found.mark {
            Some(mark) => self.own(reader, &mark),
            None => self.foreign(reader),
        }
    }

    fn extents(&self, cut: Cut) -> Result<Vec<Extent>, OpenError> {
        self.surveys.iter().map(|survey| survey.extent(self.disk, cut)).collect()
    }

    /// A store with a mark of ours.
    fn own(&self, mut reader: LogReader, mark: &Mark) -> Result<Scan, OpenError> {
        let first = reader.first();
        reader.check_present(mark.flushed)?;
        let cut = Cut::Below(mark.dispatched);
        let extents = self.extents(cut)?;
        let mut found = Fingerprint::default();
        for (survey, extent) in self.surveys.iter().zip(&extents) {
            found.add(survey.topic(), survey.queue_id(), extent.span);
        }
        let is_complete = found == Fingerprint { count: mark.queue_count, hash: mark.queue_fingerprint };
        let from = if is_complete { mark.recovery_point.min(mark.dispatched).max(first) } else { first };
        let queues = self.surveys.iter().zip(&extents);
        let mut check = match is_complete {
            true => QueueCheck::new(self.disk, queues, from, mark.dispatched)?,
            false => QueueCheck::of_order(self.disk),
        };
        let mut visit = |message: &StoredMessage<'_>| check.contradiction(message);
        let walk = walk(&mut reader, from, mark.flushed, self.check_crc, &mut visit)?;
        if walk.end < mark.flushed {
            return Err(reader.damaged(walk.stop.min(mark.flushed), walk.what));
        }
        if let Some(unmet) = check.unmet()? {
            return Err(reader.damaged(unmet.at, unmet.what));
        }
        let dispatch_from = mark.dispatched.max(first);
        Ok(Scan {
            end: walk.end,
            durable: mark.flushed,
            timestamp: walk.timestamp.max(mark.store_timestamp),
            recovery_point: mark.recovery_point.max(first),
            queues: match is_complete {
                true => QueuePlan::Keep { cut, extents, dispatch_from },
                false => QueuePlan::Rebuild,
            },
            scanned: reader.scanned,
            records: walk.records,
        })
    }

    /// A store without a mark of ours: RocketMQ's checkpoint stands in for it.
    fn foreign(&self, mut reader: LogReader) -> Result<Scan, OpenError> {
        check_sizes(&reader)?;
        let queue_end = self.extents(Cut::FirstInvalid(u64::MAX))?.iter().map(|extent| extent.physical_end).max();
        let queue_end = queue_end.unwrap_or(0);
        let (checkpoint, was_clean) = (self.found.checkpoint.current, self.found.was_clean);
        let from = match was_clean {
            true => {
                let skipped = reader.segments().len().saturating_sub(RECOVERED_SEGMENTS);
                reader.segments().get(skipped).map_or(0, |segment| segment.base)
            }
            false => unclean_start(&mut reader, &checkpoint)?,
        };
        let walk = walk(&mut reader, from, 0, self.check_crc, &mut |_| Ok(None))?;
        // Every record up to the checkpoint's time was durable; after a clean stop everything that a queue points to.
        let is_short = !reader.segments().is_empty() && walk.timestamp < checkpoint.physic_msg_timestamp;
        if is_short || was_clean && walk.end < queue_end {
            return Err(reader.damaged(walk.stop, walk.what));
        }
        let cut = Cut::FirstInvalid(walk.end);
        let dispatch_from = match was_clean {
            true => queue_end.clamp(reader.first(), walk.end),
            false => from,
        };
        Ok(Scan {
            end: walk.end,
            // RocketMQ removes `abort` behind its last flush; else its checkpoint says what was flushed.
            durable: if was_clean { walk.end } else { from },
            timestamp: walk.timestamp,
            // What RocketMQ wrote has been looked at now. Its queues are not held against the log later: they may
            // have units that ours would not have (extended tags, other delay levels, several per message).
            recovery_point: walk.end,
            queues: match queue_end {
                0 => QueuePlan::Rebuild,
                _ => QueuePlan::Keep { cut, extents: self.extents(cut)?, dispatch_from },
            },
            scanned: reader.scanned,
            records: walk.records,
        })
    }
}

/// RocketMQ refuses a file of another size; only one that nothing was written to may be a creation cut off.
fn check_sizes(reader: &LogReader) -> Result<(), OpenError> {
    for segment in reader.segments().iter().filter(|segment| segment.found_bytes < segment.length) {
        if end::last_nonzero(segment, 0)? > 0 {
            return Err(OpenError::FileSize {
                path: segment.path.clone(),
                found_bytes: segment.found_bytes,
                expected_bytes: segment.length,
            });
        }
    }
    Ok(())
}

/// RocketMQ's start after an unclean stop: the last segment that begins at or before the checkpoint's time.
fn unclean_start(reader: &mut LogReader, checkpoint: &Checkpoint) -> Result<u64, OpenError> {
    let bases: Vec<u64> = reader.segments().iter().map(|segment| segment.base).collect();
    for base in bases.iter().rev().copied() {
        if let Step::Record { timestamp, .. } = step(reader, base, false, &mut |_| Ok(None))?
            && timestamp <= checkpoint.recovery_timestamp()
        {
            return Ok(base);
        }
    }
    Ok(reader.first())
}

struct Walk {
    /// Behind the last record.
    end: u64,
    /// Where the next record should have begun: `end`, or the start of the segment behind a blank.
    stop: u64,
    what: String,
    timestamp: i64,
    records: u64,
}

enum Step {
    /// `ends_in_zero`: no CRC guards its last bytes, and they may never have been written.
    Record {
        size: u32,
        timestamp: i64,
        ends_in_zero: bool,
    },
    Blank,
    /// Only zeros.
    Nothing,
    Bad(String),
}

/// Says what contradicts a message, if anything does.
type Visit<'a> = dyn FnMut(&StoredMessage<'_>) -> Result<Option<String>, OpenError> + 'a;

/// Goes from record to record until one is bad or the log ends. `mark` is an end of a record.
fn walk(
    reader: &mut LogReader,
    from: u64,
    mark: u64,
    check_crc: bool,
    visit: &mut Visit<'_>,
) -> Result<Walk, OpenError> {
    let mut walk = Walk { end: from, stop: from, what: String::new(), timestamp: 0, records: 0 };
    let mut unwritten_end = None;
    loop {
        match step(reader, walk.stop, check_crc, visit)? {
            Step::Record { size, .. } if walk.stop < mark && walk.stop + u64::from(size) > mark => {
                walk.what = format!("a record of {size} bytes reaches over the flushed mark at {mark}");
                return Ok(walk);
            }
            Step::Record { size, timestamp, ends_in_zero } => {
                unwritten_end = (ends_in_zero && walk.stop >= mark).then_some(walk.stop);
                walk.stop += u64::from(size);
                walk.end = walk.stop;
                walk.timestamp = walk.timestamp.max(timestamp);
                walk.records += 1;
            }
            Step::Blank => walk.stop += reader.left(walk.stop),
            // The last record behind the mark, with zeros for its last bytes and zeros behind it, was torn in its
            // properties.
            Step::Nothing => {
                walk.what = "no record".to_owned();
                if let Some(start) = unwritten_end {
                    (walk.end, walk.stop, walk.records) = (start, start, walk.records - 1);
                }
                return Ok(walk);
            }
            Step::Bad(what) => {
                walk.what = what;
                return Ok(walk);
            }
        }
    }
}

/// Looks at one record. `visit` sees it if it is whole and lies where it says.
fn step(reader: &mut LogReader, at: u64, check_crc: bool, visit: &mut Visit<'_>) -> Result<Step, OpenError> {
    let head = reader.head(at)?;
    if reader.is_blank(at, head) {
        return Ok(Step::Blank);
    }
    let (size, magic) = head;
    if head == (0, 0) {
        return Ok(Step::Nothing);
    }
    if magic != message_codec::MAGIC && magic != message_codec::MAGIC_V2 {
        return Ok(Step::Bad(format!("unknown magic {magic:#010x}")));
    }
    if u64::from(size) + message_codec::BLANK_BYTES as u64 > reader.left(at) {
        return Ok(Step::Bad(format!("a record of {size} bytes does not fit its segment")));
    }
    let Some(record) = reader.bytes(at, size as usize)? else {
        return Ok(Step::Bad(format!("a record of {size} bytes does not fit its segment")));
    };
    let message = match message_codec::decode(record) {
        Ok(message) => message,
        Err(error) => return Ok(Step::Bad(error.to_string())),
    };
    if message.physical_offset.0 != at {
        return Ok(Step::Bad(format!("the record says it lies at {}", message.physical_offset)));
    }
    if message.queue_offset.0 >= QUEUE_OFFSET_LIMIT {
        return Ok(Step::Bad(format!("no consume queue reaches the offset {}", message.queue_offset)));
    }
    if message.topic.contains('\0') {
        return Ok(Step::Bad("the topic holds zeros".to_owned()));
    }
    if check_crc && !message.crc_matches() {
        return Ok(Step::Bad("the body does not match its CRC".to_owned()));
    }
    let (timestamp, ends_in_zero) = (message.store_timestamp, message.properties.last() == Some(&0));
    match visit(&message)? {
        None => Ok(Step::Record { size, timestamp, ends_in_zero }),
        Some(what) => Ok(Step::Bad(what)),
    }
}

struct Load<'a> {
    folder: &'a Folder,
    config: &'a StoreConfig,
    found: &'a Found,
    surveys: &'a [Survey],
    log: &'a Arc<CommitLog>,
    wake: &'a Arc<Signal>,
}

impl Load<'_> {
    /// The queues, complete up to the end of the log, and how many messages had to be entered again.
    fn queues(&self, plan: &QueuePlan) -> Result<(Arc<ConsumeQueues>, u64), OpenError> {
        let end = self.log.end();
        if let QueuePlan::Keep { cut, extents, dispatch_from } = plan {
            let queues = self.make();
            for (survey, extent) in self.surveys.iter().zip(extents) {
                survey.load(extent, *cut, self.found.was_clean, &queues)?;
            }
            if let Some(dispatched) = self.redispatch(*dispatch_from, &queues, false)? {
                queues.set_dispatched(end, None);
                return Ok((Arc::new(queues), dispatched));
            }
        }
        self.surveys.iter().try_for_each(|survey| survey.remove(&*self.folder.disk))?;
        let queues = self.make();
        let dispatched = self.redispatch(self.log.min_offset().0, &queues, true)?.unwrap_or(0);
        queues.set_dispatched(end, None);
        Ok((Arc::new(queues), dispatched))
    }

    fn make(&self) -> ConsumeQueues {
        ConsumeQueues::new(QueueSetup {
            files: queue_files(self.folder, self.config, self.log),
            log: Arc::clone(self.log),
            applied: None,
            applied_path: None,
            wake: Arc::clone(self.wake),
            dispatched: self.log.end().0,
        })
    }

    /// Enters messages from a position on. `None`: RocketMQ's queues lack messages before it, so all of them have to
    /// be built anew.
    fn redispatch(&self, from: u64, queues: &ConsumeQueues, is_rebuild: bool) -> Result<Option<u64>, OpenError> {
        let mut reader = LogReader::new(self.log.segments());
        let end = self.log.end().0;
        let (mut count, mut at, mut lacks) = (0, from, false);
        let mut visit = |message: &StoredMessage<'_>| {
            let entered = dispatch(queues, message, is_rebuild);
            match entered {
                Ok(Some(is_new)) => count += u64::from(is_new),
                Ok(None) => lacks = true,
                Err(error) => return Ok(Some(error.to_string())),
            }
            Ok(None)
        };
        while at < end {
            match step(&mut reader, at, self.config.check_crc_on_recover, &mut visit)? {
                Step::Record { size, .. } => at += u64::from(size),
                Step::Blank => at += reader.left(at),
                Step::Nothing => return Err(reader.damaged(at, "no record".to_owned())),
                Step::Bad(what) => return Err(reader.damaged(at, what)),
            }
        }
        Ok((!lacks).then_some(count))
    }
}

/// Enters a message. Where a topic was deleted and created again, its queues may count from 0 again: what the queue
/// has is then of the younger topic, or of the older one and has to go. `None`: messages before this one are missing.
fn dispatch(
    queues: &ConsumeQueues,
    message: &StoredMessage<'_>,
    is_rebuild: bool,
) -> Result<Option<bool>, DispatchError> {
    let is_gap = match queues.dispatch(message) {
        Ok(is_new) => return Ok(Some(is_new)),
        Err(DispatchError::Gap { .. }) => true,
        // RocketMQ may have other tag codes for a message than we.
        Err(DispatchError::Mismatch { found, expected, .. }) if found.physical_offset == expected.physical_offset => {
            return Ok(Some(false));
        }
        Err(DispatchError::Mismatch { .. }) => false,
        Err(error) => return Err(error),
    };
    if let Some(queue) = queues.queue(message.topic, message.queue_id) {
        let mut last = Vec::with_capacity(1);
        let offset = QueueOffset(queue.max_offset().0.saturating_sub(1));
        let read = queue.read(offset, 1, &mut last);
        read.map_err(|source| DispatchError::Read {
            topic: message.topic.to_owned(),
            queue_id: message.queue_id,
            source,
        })?;
        if last.first().is_some_and(|last| last.physical_offset > message.physical_offset) {
            return Ok(Some(false));
        }
    }
    if is_gap && !is_rebuild {
        return Ok(None);
    }
    queues.begin_anew(message.topic, message.queue_id).map_err(DispatchError::Write)?;
    queues.dispatch(message).map(Some)
}
