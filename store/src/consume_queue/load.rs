//! Finding the queues that lie on disk, and cutting them back to what is certain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sys::{Disk, DiskFile, Open};

use super::queues::ConsumeQueues;
use super::unit::{UNIT_BYTES, Unit};
use crate::error::OpenError;
use crate::segments::{file_name, parse_file_name};

/// Files at the end of a queue that RocketMQ's recovery looks at.
const RECOVERED_FILES: usize = 3;
const SCAN_BYTES: usize = 64 << 10;

/// The files of one queue, oldest first, without gaps.
pub(crate) struct Survey {
    topic: String,
    queue_id: i32,
    directory: PathBuf,
    bases: Vec<u64>,
    file_bytes: u64,
}

/// What a cut leaves of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// First offset and end.
    pub(crate) span: (u64, u64),
    /// Behind the last message, 0 if there is none.
    pub(crate) physical_end: u64,
    /// There is more behind it.
    has_rest: bool,
}

/// Which units of a queue are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Those of messages below this position: all of them are durable, whatever comes behind them is not.
    Below(u64),
    /// RocketMQ's: the last files up to the first invalid unit, and of those the ones of messages below this
    /// position.
    FirstInvalid(u64),
}

/// The queues under `root` (`<root>/consumequeue`). Nothing is changed. What is not named like a queue is ignored.
pub(crate) fn survey(disk: &dyn Disk, root: &Path, file_bytes: u64) -> Result<Vec<Survey>, OpenError> {
    let list = |path: &Path| disk.list(path).map_err(OpenError::io("list", path));
    let mut found = Vec::new();
    if !disk.exists(root) {
        return Ok(found);
    }
    for topic in list(root)?.into_iter().filter(|entry| entry.is_dir) {
        let topic_directory = root.join(&topic.name);
        for queue in list(&topic_directory)?.into_iter().filter(|entry| entry.is_dir) {
            let Ok(queue_id) = queue.name.parse() else { continue };
            let directory = topic_directory.join(&queue.name);
            let names = list(&directory)?;
            let bases = names.iter().filter_map(|entry| parse_file_name(&entry.name)).collect();
            found.push(Survey { topic: topic.name.clone(), queue_id, directory, bases, file_bytes });
        }
    }
    Ok(found)
}

impl Survey {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn queue_id(&self) -> i32 {
        self.queue_id
    }

    /// What a cut leaves. Nothing is changed.
    pub(crate) fn extent(&self, disk: &dyn Disk, cut: Cut) -> Result<Extent, OpenError> {
        let reader = Reader::new(self, disk)?;
        let (min, end) = reader.span(cut).map_err(self.failed("read"))?;
        let last = if end > min { reader.unit(end - 1).map_err(self.failed("read"))? } else { None };
        Ok(Extent {
            span: (min, end.max(min)),
            physical_end: last.map_or(0, |unit| unit.end()),
            has_rest: reader.files.len() < self.bases.len() || reader.unit(end).map_err(self.failed("read"))?.is_some(),
        })
    }

    /// First byte of the file that holds an offset.
    pub(crate) fn file_base(&self, offset: u64) -> u64 {
        offset / (self.file_bytes / UNIT_BYTES as u64) * self.file_bytes
    }

    pub(crate) fn open(&self, disk: &dyn Disk, base: u64) -> Result<Arc<dyn DiskFile>, OpenError> {
        disk.open(&self.directory.join(file_name(base)), Open::Read).map_err(self.failed("open a file of"))
    }

    /// The unit at an offset, from its file.
    pub(crate) fn unit(&self, file: &dyn DiskFile, offset: u64) -> Result<Option<Unit>, OpenError> {
        let mut bytes = [0; UNIT_BYTES];
        let within = offset * UNIT_BYTES as u64 - self.file_base(offset);
        file.read_at(&mut bytes, within).map_err(self.failed("read a file of"))?;
        Ok(Unit::decode(&bytes))
    }

    /// Cuts the queue to `extent` and adds it to `queues`; one of which nothing is left is removed.
    ///
    /// `cut` is what the extent was found with; `was_clean`: there is nothing behind but what begins right there.
    pub(crate) fn load(
        &self,
        extent: &Extent,
        cut: Cut,
        was_clean: bool,
        queues: &ConsumeQueues,
    ) -> Result<(), OpenError> {
        let disk = &*queues.files().disk;
        let (min, end) = extent.span;
        if min >= end {
            return self.remove(disk);
        }
        let is_cut = !was_clean || extent.has_rest;
        if is_cut {
            self.cut_files(disk, end).map_err(self.failed("cut"))?;
        }
        let synced = match cut {
            // Names and units below are durable; the cut is not.
            Cut::Below(_) => end - u64::from(is_cut),
            // RocketMQ's: nothing is known to be.
            Cut::FirstInvalid(_) => {
                queues.files().note_names(&self.directory);
                min
            }
        };
        queues.add_loaded(&self.topic, self.queue_id, extent.span, synced);
        Ok(())
    }

    /// Removes the queue's files.
    pub(crate) fn remove(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        if disk.exists(&self.directory) {
            disk.remove_dir_all(&self.directory).map_err(self.failed("remove"))?;
            let parent = self.directory.parent().unwrap_or(&self.directory);
            disk.sync_dir(parent).map_err(self.failed("sync"))?;
        }
        Ok(())
    }

    /// Leaves zeros behind unit `end`. Not by a zero range: that would reserve the sparse rest of every queue.
    fn cut_files(&self, disk: &dyn Disk, end: u64) -> io::Result<()> {
        let end_bytes = end * UNIT_BYTES as u64;
        let mut removed = false;
        for base in self.bases.iter().rev().filter(|base| **base >= end_bytes) {
            disk.remove_file(&self.directory.join(file_name(*base)))?;
            removed = true;
        }
        if removed {
            disk.sync_dir(&self.directory)?;
        }
        let within = end_bytes % self.file_bytes;
        if within > 0 {
            let file = disk.open(&self.directory.join(file_name(end_bytes - within)), Open::Write)?;
            file.set_len(within)?;
            file.set_len(self.file_bytes)?;
        }
        Ok(())
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        OpenError::io(what, &self.directory)
    }
}

/// Reads single units of a surveyed queue; absent bytes count as never written.
struct Reader {
    files: Vec<Arc<dyn DiskFile>>,
    lengths: Vec<u64>,
    first_unit: u64,
    per_file: u64,
}

impl Reader {
    fn new(survey: &Survey, disk: &dyn Disk) -> Result<Reader, OpenError> {
        let (mut files, mut lengths) = (Vec::new(), Vec::new());
        let first_base = survey.bases.first().copied().unwrap_or(0);
        for (index, base) in survey.bases.iter().enumerate() {
            // A gap ends the queue: what lies behind it is rebuilt from the log.
            if *base != first_base + index as u64 * survey.file_bytes || base % survey.file_bytes != 0 {
                break;
            }
            let path = survey.directory.join(file_name(*base));
            let file = disk.open(&path, Open::Read).map_err(OpenError::io("open", &path))?;
            lengths.push(file.len().map_err(OpenError::io("stat", &path))?);
            files.push(file);
        }
        let (first_unit, per_file) = (first_base / UNIT_BYTES as u64, survey.file_bytes / UNIT_BYTES as u64);
        Ok(Reader { files, lengths, first_unit, per_file })
    }

    fn end_unit(&self) -> u64 {
        self.first_unit + self.files.len() as u64 * self.per_file
    }

    fn unit(&self, index: u64) -> io::Result<Option<Unit>> {
        let Some(relative) = index.checked_sub(self.first_unit) else { return Ok(None) };
        let (file, within) = ((relative / self.per_file) as usize, relative % self.per_file * UNIT_BYTES as u64);
        let mut bytes = [0; UNIT_BYTES];
        if self.lengths.get(file).is_none_or(|length| within + UNIT_BYTES as u64 > *length) {
            return Ok(None);
        }
        self.files[file].read_at(&mut bytes, within)?;
        Ok(Unit::decode(&bytes))
    }

    /// First real unit and the end of those kept.
    fn span(&self, cut: Cut) -> io::Result<(u64, u64)> {
        let end = match cut {
            Cut::Below(position) => {
                self.partition(self.first_unit, self.end_unit(), |unit| is_below(unit, position))?
            }
            Cut::FirstInvalid(position) => {
                let valid_end = self.first_invalid()?;
                self.partition(self.first_unit, valid_end, |unit| is_below(unit, position))?
            }
        };
        let min = self.partition(self.first_unit, end, |unit| unit.is_some_and(|unit| unit.is_fill()))?;
        Ok((min, end))
    }

    /// The first unit that does not satisfy `holds`, which is true up to some unit and false from there on.
    fn partition(&self, mut low: u64, mut high: u64, holds: impl Fn(Option<Unit>) -> bool) -> io::Result<u64> {
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.unit(middle)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// RocketMQ's `ConsumeQueue.recover`: unit by unit from the third-last file on.
    fn first_invalid(&self) -> io::Result<u64> {
        let first_file = self.files.len().saturating_sub(RECOVERED_FILES);
        for (index, file) in self.files.iter().enumerate().skip(first_file) {
            let start = self.first_unit + index as u64 * self.per_file;
            let length = self.lengths[index].min(self.per_file * UNIT_BYTES as u64);
            let mut position = 0;
            while position < length {
                let mut bytes = vec![0; SCAN_BYTES.next_multiple_of(UNIT_BYTES).min((length - position) as usize)];
                file.read_at(&mut bytes, position)?;
                let units = bytes.chunks(UNIT_BYTES);
                if let Some(invalid) = units.enumerate().find(|(_, unit)| Unit::decode(unit).is_none()) {
                    return Ok(start + position / UNIT_BYTES as u64 + invalid.0 as u64);
                }
                position += bytes.len() as u64;
            }
            if length < self.per_file * UNIT_BYTES as u64 {
                return Ok(start + length / UNIT_BYTES as u64);
            }
        }
        Ok(self.end_unit())
    }
}

fn is_below(unit: Option<Unit>, position: u64) -> bool {
    unit.is_some_and(|unit| unit.is_fill() || unit.physical_offset.0 < position)
}
