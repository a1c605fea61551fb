//! Recovery of a Raft store.

use std::sync::Arc;

use raftmq_model::offset::PhysicalOffset;
use raftmq_sys::Seams;

use super::reader::LogReader;
use super::{RecoveryReport, end};
use crate::background::{Background, Setup};
use crate::commit_log::CommitLog;
use crate::config::StoreConfig;
use crate::consume_queue::{
    AppliedPoint, ConsumeQueues, Cut, Fingerprint, QueueSetup, Survey, queue_files, read_applied, survey,
};
use crate::error::OpenError;
use crate::flush::Flusher;
use crate::folder::Folder;
use crate::mark::{Mark, MarkFile};
use crate::metrics::StoreMetrics;
use crate::raft_log::{
    EntryIndex, FrameHeader, FrameId, HEADER_BYTES, IndexFiles, RaftEntries, RaftStore, RaftWriter, last_message,
};
use crate::segments::Segments;
use crate::signal::Signal;
use crate::store_mode::Kind;

/// Opens a Raft store: see [`RaftStore::open`].
pub(crate) fn open_raft(config: StoreConfig, seams: &Seams) -> Result<RaftStore, OpenError> {
    config.check()?;
    let start = seams.clock.monotonic();
    let folder = Folder::open(Arc::clone(&seams.disk), &config, Kind::Raft)?;
    folder.mark_kind(&config, Kind::Raft)?;
    let mark_file = MarkFile::open(&*seams.disk, &folder.mark())?;
    let mark = mark_file.newest();
    let segments = Segments::load(Arc::clone(&seams.disk), config.commit_log_dir.clone(), config.segment_bytes)?;
    let index_files = IndexFiles::new(Arc::clone(&seams.disk), folder.raft_index());
    let applied_path = folder.consume_queues().join("applied");
    let applied = read_applied(&*seams.disk, &applied_path)?;
    let surveys = survey(&*seams.disk, &folder.consume_queues(), config.queue_file_bytes)?;
    if mark.is_none() {
        check_never_used(&folder, &segments)?;
    }
    let scan = Scan::run(&segments, mark, &index_files)?;

    // From here on files change.
    mark_file.rewrite().map_err(OpenError::io("write again", &folder.mark()))?;
    let durable = mark.map_or(0, |mark| mark.flushed);
    let nothing_behind = mark.is_some_and(|mark| mark.is_closed && mark.flushed == scan.end);
    let cut_bytes = end::cut(&segments, scan.end, nothing_behind)?;
    let rewritten_bytes = end::rewrite(&segments, durable, scan.end)?;
    end::sync(&segments, durable)?;
    let metrics = StoreMetrics::new(&seams.metrics, &config.root.to_string_lossy());
    let wake = Arc::new(Signal::default());
    let clock = Arc::clone(&seams.clock);
    let hot = config.hot_window_bytes;
    let log = CommitLog::new(segments, scan.end, scan.timestamp, hot, Arc::clone(&wake), clock, metrics.clone());
    let log = Arc::new(log);
    let entries = Arc::new(RaftEntries::new(Arc::clone(&log), scan.index));
    let load = Load { folder: &folder, config: &config, log: &log, entries: &entries, wake: &wake, surveys: &surveys };
    let queues = load.queues(applied, nothing_behind)?;

    let report = RecoveryReport {
        scanned_bytes: scan.scanned,
        cut_bytes,
        cut_at: (cut_bytes > 0).then_some(PhysicalOffset(scan.end)),
        entries: entries.first_index().zip(entries.last()).map_or(0, |(first, last)| last.index - first + 1),
        rewritten_bytes,
        dispatched: 0,
        took: seams.clock.monotonic().saturating_sub(start),
    };
    report.note(&metrics);
    let flusher = Flusher::start(Arc::clone(&log), config.flush, seams)?;
    let setup = Setup {
        config,
        folder,
        log: Arc::clone(&log),
        queues: Arc::clone(&queues),
        mark: mark_file,
        recovery_point: scan.recovery_point,
        checkpoint: None,
        raft: Some((Arc::clone(&entries), index_files)),
        wake,
    };
    let background = Background::start(setup, seams)?;
    let clock = Arc::clone(&seams.clock);
    let writer = RaftWriter::new(Arc::clone(&log), Arc::clone(&entries), Arc::clone(&queues), background, clock);
    Ok(RaftStore { writer, log, entries, queues, flusher, report })
}

/// A store without a valid mark must be one that was never used. The first segment is made before the first mark, and
/// the writer is handed out behind both: frames beside no mark mean that the mark was lost, and with it the knowledge
/// which of them were durable.
fn check_never_used(folder: &Folder, segments: &Segments) -> Result<(), OpenError> {
    let damaged = |offset: u64, what: &str| OpenError::Damaged {
        file: folder.mark(),
        position: 0,
        offset: PhysicalOffset(offset),
        what: what.to_owned(),
    };
    if folder.disk.exists(&folder.mark()) {
        return Err(damaged(0, "neither of its two slots holds a mark"));
    }
    for segment in segments.all() {
        if segment.base > 0 || end::last_nonzero(&segment, 0)? > 0 {
            return Err(damaged(segment.base, "the file is missing beside frames in the commitlog"));
        }
    }
    Ok(())
}

/// The entries that the log holds.
struct Scan {
    index: EntryIndex,
    end: u64,
    timestamp: i64,
    recovery_point: u64,
    scanned: u64,
}

/// How one segment ended.
enum SegmentEnd {
    /// With a blank: the log goes on in the next one.
    Full,
    /// Here, and why.
    Stops { at: u64, what: String },
}

impl Scan {
    /// Bodies are checked from the mark's recovery point on. Segments below it are taken from their index files, if
    /// those fit; of the others all headers are walked.
    fn run(segments: &Segments, mark: Option<Mark>, index_files: &IndexFiles) -> Result<Scan, OpenError> {
        let mut reader = LogReader::new(segments);
        let flushed = mark.map_or(0, |mark| mark.flushed);
        reader.check_present(flushed)?;
        let first = reader.first();
        let mut scan = Scan {
            index: EntryIndex::default(),
            end: first,
            timestamp: mark.map_or(0, |mark| mark.store_timestamp),
            recovery_point: mark.map_or(0, |mark| mark.recovery_point).max(first),
            scanned: 0,
        };
        let bases: Vec<u64> = reader.segments().iter().map(|segment| segment.base).collect();
        let mut stop = (first, "no frame".to_owned());
        for base in bases {
            let segment_end = base + segments.segment_bytes();
            stop = (base, stop.1);
            if segment_end <= scan.recovery_point && scan.take_index_file(&mut reader, base, index_files)? {
                continue;
            }
            match scan.walk(&mut reader, base, flushed)? {
                SegmentEnd::Full => {}
                SegmentEnd::Stops { at, what } => {
                    stop = (at, what);
                    break;
                }
            }
        }
        if scan.end < flushed {
            return Err(reader.damaged(stop.0.min(flushed), stop.1));
        }
        scan.scanned = reader.scanned;
        Ok(scan)
    }

    /// Whether the index file of a segment exists and fits to what lies before it, to the segment's first and last
    /// header, and (by the caller's next step) to what comes behind it.
    fn take_index_file(&mut self, reader: &mut LogReader, base: u64, files: &IndexFiles) -> Result<bool, OpenError> {
        let Some((segment, reigns)) = files.read(base) else { return Ok(false) };
        let header_at = |reader: &mut LogReader, at: u64| -> Result<Option<FrameHeader>, OpenError> {
            Ok(reader.bytes(at, HEADER_BYTES)?.and_then(FrameHeader::decode))
        };
        let first = header_at(reader, base + u64::from(segment.offsets[0]))?;
        let last = header_at(reader, base + u64::from(segment.offsets[segment.offsets.len() - 1]))?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(false) };
        let end = base + u64::from(segment.end);
        let fits = segment.offsets[0] == 0
            && self.follows(&first)
            && first.id.index == segment.first_index
            && last.id.index == segment.last_index()
            && last.header_crc == segment.last_header_crc
            && last.physical_offset.0 + last.frame_len() as u64 == end
            && self.closes(reader, end)?;
        if fits {
            self.end = end;
            reigns.into_iter().for_each(|reign| self.index.note_reign(reign));
            self.index.segments.push_back(segment);
        }
        Ok(fits)
    }

    fn closes(&self, reader: &mut LogReader, at: u64) -> Result<bool, OpenError> {
        let head = reader.head(at)?;
        Ok(reader.is_blank(at, head))
    }

    /// Whether a header is that of the entry behind the last one. Of the first one in the log, only its own checks
    /// count.
    fn follows(&self, header: &FrameHeader) -> bool {
        self.index
            .last()
            .is_none_or(|last| header.id.index == last + 1 && header.prev_header_crc == self.index.last_header_crc())
    }

    fn walk(&mut self, reader: &mut LogReader, base: u64, flushed: u64) -> Result<SegmentEnd, OpenError> {
        let mut at = base;
        loop {
            let here = at;
            let stops = |what: &str| Ok(SegmentEnd::Stops { at: here, what: what.to_owned() });
            let head = reader.head(at)?;
            if reader.is_blank(at, head) {
                self.set_verified(base);
                return Ok(SegmentEnd::Full);
            }
            let header = reader.bytes(at, HEADER_BYTES)?.and_then(FrameHeader::decode);
            let Some(header) = header else { return stops("no frame") };
            let frame_end = at + header.frame_len() as u64;
            if header.physical_offset.0 != at {
                return stops("the frame says it lies elsewhere");
            }
            if !self.follows(&header) {
                return stops("the frame does not follow the one before it");
            }
            if at < flushed && frame_end > flushed {
                return stops("the frame reaches over the flushed mark");
            }
            if header.frame_len() as u64 + 8 > reader.left(at) {
                return stops("the frame does not fit its segment");
            }
            if at >= self.recovery_point && !self.check_body(reader, &header)? {
                return stops("the body does not match its CRC");
            }
            self.index.push(base, &header);
            at = frame_end;
            self.end = at;
            self.set_verified(base);
        }
    }

    fn set_verified(&mut self, base: u64) {
        let is_verified = base >= self.recovery_point;
        if let Some(segment) = self.index.segments.back_mut().filter(|segment| segment.base == base) {
            segment.is_verified = is_verified;
        }
    }

    fn check_body(&mut self, reader: &mut LogReader, header: &FrameHeader) -> Result<bool, OpenError> {
        let at = header.physical_offset.0 + HEADER_BYTES as u64;
        let Some(body) = reader.bytes(at, header.body_len as usize)? else { return Ok(false) };
        if crc32c::crc32c(body) != header.body_crc {
            return Ok(false);
        }
        let timestamp = last_message(body).map_or(0, |message| message.store_timestamp);
        self.timestamp = self.timestamp.max(timestamp);
        Ok(true)
    }
}

struct Load<'a> {
    folder: &'a Folder,
    config: &'a StoreConfig,
    log: &'a Arc<CommitLog>,
    entries: &'a Arc<RaftEntries>,
    wake: &'a Arc<Signal>,
    surveys: &'a [Survey],
}

impl Load<'_> {
    /// The queues as of the durable applied point. If a file is missing, all go: whoever applies entries builds them
    /// anew from the first one, for only he knows which topics were deleted in between.
    fn queues(
        &self,
        stored: Option<(AppliedPoint, Fingerprint)>,
        was_clean: bool,
    ) -> Result<Arc<ConsumeQueues>, OpenError> {
        let applied = stored.and_then(|(point, _)| self.clamp(point));
        let end = applied.map_or(0, |point| point.end.0);
        let point = stored.map(|(point, _)| point);
        let cut = Cut::Below(end);
        let disk = &*self.folder.disk;
        let extents = self.surveys.iter().map(|survey| survey.extent(disk, cut)).collect::<Result<Vec<_>, _>>()?;
        let mut found = Fingerprint::default();
        for (survey, extent) in self.surveys.iter().zip(&extents) {
            found.add(survey.topic(), survey.queue_id(), extent.span);
        }
        // A point that was clamped comes with the fingerprint of a later one.
        if applied == point && found != stored.map(|(_, fingerprint)| fingerprint).unwrap_or_default() {
            tracing::warn!("consume queues are not what they were, all are built anew from the log");
            // First and durably: half of the new queues must not pass for the old ones.
            self.forget_applied_point()?;
            return self.queues(None, false);
        }
        let queues = self.make(applied, end);
        let was_clean = was_clean && applied == point;
        for (survey, extent) in self.surveys.iter().zip(&extents) {
            survey.load(extent, cut, was_clean, &queues)?;
        }
        Ok(Arc::new(queues))
    }

    fn forget_applied_point(&self) -> Result<(), OpenError> {
        let (disk, directory) = (&*self.folder.disk, self.folder.consume_queues());
        let path = directory.join("applied");
        disk.remove_file(&path).map_err(OpenError::io("remove", &path))?;
        disk.sync_dir(&directory).map_err(OpenError::io("sync", &directory))
    }

    fn make(&self, applied: Option<AppliedPoint>, end: u64) -> ConsumeQueues {
        ConsumeQueues::new(QueueSetup {
            files: queue_files(self.folder, self.config, self.log),
            log: Arc::clone(self.log),
            applied,
            applied_path: Some(self.folder.consume_queues().join("applied")),
            wake: Arc::clone(self.wake),
            dispatched: end,
        })
    }

    /// The applied point as far as the log has it (trap T4 of the Raft notes).
    fn clamp(&self, point: AppliedPoint) -> Option<AppliedPoint> {
        let at = |id: FrameId| self.entries.end_of(id.index).map(|end| AppliedPoint { id, end });
        let last = self.entries.last()?;
        if point.id.index > last.index {
            return at(last);
        }
        at(self.entries.id(point.id.index)?).filter(|found| *found == point)
    }
}
