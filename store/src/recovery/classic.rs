//! Recovery of a classic store, ours or RocketMQ's.

use std::sync::Arc;

use raftmq_model::message_codec::{self, StoredMessage};
use raftmq_model::offset::PhysicalOffset;
use raftmq_sys::{Open, Seams};

use super::reader::LogReader;
use super::{RecoveryReport, end};
use crate::background::{Background, Setup};
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::classic::{ClassicStore, ClassicWriter};
use crate::commit_log::CommitLog;
use crate::config::{FlushMode, StoreConfig};
use crate::consume_queue::{ConsumeQueues, Cut, DispatchError, Fingerprint, QueueSetup, Survey, queue_files, survey};
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
    let scan = scan(&segments, &found, &surveys, &config, disk)?;

    // From here on files change. RocketMQ's sign of an unclean stop comes first.
    create_abort(&folder)?;
    let durable = found.mark.map_or(0, |mark| mark.flushed);
    let cut_bytes = end::cut(&segments, scan.end, found.nothing_behind(scan.end))?;
    end::sync(&segments, durable)?;
    let metrics = StoreMetrics::new(&seams.metrics, &config.root.to_string_lossy());
    let wake = Arc::new(Signal::default());
    let clock = Arc::clone(&seams.clock);
    let log = CommitLog::new(segments, scan.end, scan.timestamp, Arc::clone(&wake), clock, metrics.clone());
    let log = Arc::new(log);
    let (queues, dispatched) = load_queues(&folder, &config, &found, &surveys, &scan, &log, &wake)?;

    folder.mark_kind(&config, Kind::Classic)?;
    let report = RecoveryReport {
        scanned_bytes: scan.scanned,
        cut_bytes,
        cut_at: (cut_bytes > 0).then_some(PhysicalOffset(scan.end)),
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

    /// Whether the last run said that the log ends exactly here.
    fn nothing_behind(&self, end: u64) -> bool {
        self.was_clean && self.mark.is_some_and(|mark| mark.is_closed && mark.flushed == end)
    }
}

/// What the log holds.
struct Scan {
    end: u64,
    /// Not smaller than the store time of any record.
    timestamp: i64,
    recovery_point: u64,
    /// Consume queues have to be built from here on.
    dispatch_from: u64,
    scanned: u64,
    records: u64,
}

fn scan(
    segments: &Segments,
    found: &Found,
    surveys: &[Survey],
    config: &StoreConfig,
    disk: &dyn raftmq_sys::Disk,
) -> Result<Scan, OpenError> {
    let mut reader = LogReader::new(segments);
    let first = reader.first();
    let Some(mark) = found.mark else {
        return scan_foreign(reader, found, surveys, config, disk);
    };
    reader.check_present(mark.flushed)?;
    let from = mark.recovery_point.min(mark.dispatched).max(first);
    let walk = walk(&mut reader, from, mark.flushed, config.check_crc_on_recover)?;
    if walk.end < mark.flushed {
        return Err(reader.damaged(walk.stop.min(mark.flushed), walk.what));
    }
    let records = walk.records;
    Ok(Scan {
        end: walk.end,
        timestamp: walk.timestamp.max(mark.store_timestamp),
        recovery_point: mark.recovery_point.max(first),
        dispatch_from: mark.dispatched.max(first),
        scanned: reader.scanned,
        records,
    })
}

/// A store without a mark of ours: RocketMQ's checkpoint stands in for it.
fn scan_foreign(
    mut reader: LogReader,
    found: &Found,
    surveys: &[Survey],
    config: &StoreConfig,
    disk: &dyn raftmq_sys::Disk,
) -> Result<Scan, OpenError> {
    for segment in reader.segments().iter().filter(|segment| segment.found_bytes < segment.length) {
        // RocketMQ refuses such a file; only one that nothing was written to may be a creation cut off.
        if end::last_nonzero(segment, 0)?.0 > 0 {
            return Err(OpenError::FileSize {
                path: segment.path.clone(),
                found_bytes: segment.found_bytes,
                expected_bytes: segment.length,
            });
        }
    }
    let mut queue_end = 0;
    for survey in surveys {
        queue_end = queue_end.max(survey.physical_end(disk)?);
    }
    let checkpoint = found.checkpoint.current;
    let from = match found.was_clean {
        true => reader.segments().iter().rev().take(RECOVERED_SEGMENTS).last().map_or(0, |segment| segment.base),
        false => unclean_start(&mut reader, &checkpoint)?,
    };
    let walk = walk(&mut reader, from, 0, config.check_crc_on_recover)?;
    // Every record up to the checkpoint's time was durable; after a clean stop everything that a queue points to.
    let is_short = !reader.segments().is_empty() && walk.timestamp < checkpoint.physic_msg_timestamp;
    let is_damage = is_short || found.was_clean && walk.end < queue_end;
    if is_damage {
        return Err(reader.damaged(walk.stop, walk.what));
    }
    let dispatch_from = match found.was_clean {
        true if queue_end > 0 => queue_end.clamp(reader.first(), walk.end),
        false if queue_end > 0 => from,
        _ => reader.first(),
    };
    Ok(Scan {
        end: walk.end,
        timestamp: walk.timestamp,
        recovery_point: from,
        dispatch_from,
        scanned: reader.scanned,
        records: walk.records,
    })
}

/// RocketMQ's start after an unclean stop: the last segment that begins at or before the checkpoint's time.
fn unclean_start(reader: &mut LogReader, checkpoint: &Checkpoint) -> Result<u64, OpenError> {
    let bases: Vec<u64> = reader.segments().iter().map(|segment| segment.base).collect();
    for base in bases.iter().rev().copied() {
        if let Step::Record { timestamp, .. } = step(reader, base, false, &mut |_| Ok(()))?
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
    Record { size: u32, timestamp: i64 },
    Blank,
    Bad(String),
}

type Visit<'a> = dyn FnMut(&StoredMessage<'_>) -> Result<(), OpenError> + 'a;

/// Goes from record to record until one is bad or the log ends. `mark` is an end of a record.
fn walk(reader: &mut LogReader, from: u64, mark: u64, check_crc: bool) -> Result<Walk, OpenError> {
    let mut walk = Walk { end: from, stop: from, what: String::new(), timestamp: 0, records: 0 };
    loop {
        match step(reader, walk.stop, check_crc, &mut |_| Ok(()))? {
            Step::Record { size, .. } if walk.stop < mark && walk.stop + u64::from(size) > mark => {
                walk.what = format!("a record of {size} bytes reaches over the flushed mark at {mark}");
                return Ok(walk);
            }
            Step::Record { size, timestamp } => {
                walk.stop += u64::from(size);
                walk.end = walk.stop;
                walk.timestamp = walk.timestamp.max(timestamp);
                walk.records += 1;
            }
            Step::Blank => walk.stop += reader.left(walk.stop),
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
        return Ok(Step::Bad("no record".to_owned()));
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
    if check_crc && !message.crc_matches() {
        return Ok(Step::Bad("the body does not match its CRC".to_owned()));
    }
    visit(&message)?;
    Ok(Step::Record { size, timestamp: message.store_timestamp })
}

/// The queues, complete up to the end of the log, and how many messages had to be entered again.
fn load_queues(
    folder: &Folder,
    config: &StoreConfig,
    found: &Found,
    surveys: &[Survey],
    scan: &Scan,
    log: &Arc<CommitLog>,
    wake: &Arc<Signal>,
) -> Result<(Arc<ConsumeQueues>, u64), OpenError> {
    let make = |cut: Option<Cut>| -> Result<ConsumeQueues, OpenError> {
        let queues = ConsumeQueues::new(QueueSetup {
            files: queue_files(folder, config, log),
            log: Arc::clone(log),
            applied: None,
            applied_path: None,
            wake: Arc::clone(wake),
            dispatched: scan.end,
        });
        match cut {
            Some(cut) => surveys.iter().try_for_each(|survey| survey.load(cut, found.was_clean, &queues))?,
            None => surveys.iter().try_for_each(|survey| survey.remove(&*folder.disk))?,
        }
        Ok(queues)
    };
    let cut = match found.mark {
        Some(mark) => Cut::Below(mark.dispatched.min(scan.end)),
        None => Cut::FirstInvalid(scan.end),
    };
    let mut queues = make(Some(cut))?;
    let expected = found.mark.map(|mark| Fingerprint { count: mark.queue_count, hash: mark.queue_fingerprint });
    let from = match expected {
        Some(expected) if expected != queues.fingerprint() => None,
        _ => Some(scan.dispatch_from),
    };
    let dispatched = match from.map(|from| redispatch(log, from, config, &queues)) {
        Some(Ok(dispatched)) => dispatched,
        Some(Err(error @ Redispatch::Open(_))) => return Err(error.into_open_error()),
        // A queue is missing or does not fit: all of them are built anew.
        Some(Err(Redispatch::Queue(..))) | None => {
            queues = make(None)?;
            let first = log.min_offset().0;
            redispatch(log, first, config, &queues).map_err(Redispatch::into_open_error)?
        }
    };
    queues.set_dispatched(PhysicalOffset(scan.end), None);
    Ok((Arc::new(queues), dispatched))
}

/// Why messages could not be entered again.
enum Redispatch {
    Open(OpenError),
    Queue(OpenError),
}

impl Redispatch {
    fn into_open_error(self) -> OpenError {
        match self {
            Redispatch::Open(error) | Redispatch::Queue(error) => error,
        }
    }
}

fn redispatch(log: &CommitLog, from: u64, config: &StoreConfig, queues: &ConsumeQueues) -> Result<u64, Redispatch> {
    let mut reader = LogReader::new(log.segments());
    let end = log.end().0;
    let (mut count, mut refused) = (0, None);
    let mut visit = |message: &StoredMessage<'_>| {
        match queues.dispatch(message) {
            Ok(is_new) => count += u64::from(is_new),
            Err(error) => refused = refused.take().or(Some((message.physical_offset, error))),
        }
        Ok(())
    };
    let mut at = from;
    while at < end {
        match step(&mut reader, at, config.check_crc_on_recover, &mut visit).map_err(Redispatch::Open)? {
            Step::Record { size, .. } => at += u64::from(size),
            Step::Blank => at += reader.left(at),
            Step::Bad(what) => return Err(Redispatch::Open(reader.damaged(at, what))),
        }
    }
    match refused {
        None => Ok(count),
        Some((
            at,
            error @ (DispatchError::Gap { .. } | DispatchError::Mismatch { .. } | DispatchError::Read { .. }),
        )) => Err(Redispatch::Queue(reader.damaged(at.0, error.to_string()))),
        Some((at, error)) => Err(Redispatch::Open(reader.damaged(at.0, error.to_string()))),
    }
}
