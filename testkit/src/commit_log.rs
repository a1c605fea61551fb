//! The commitlog of a member as files, of a running one or of a stopped one.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::record::{BLANK, FRAME_HEADER, MESSAGE, Message, RecordHead};

/// How much is compared at once.
const CHUNK: usize = 1 << 20;

/// What is wrong with a commitlog, or why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("read {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: record at {at} {problem}")]
    Record { path: PathBuf, at: u64, problem: String },
    #[error("{left} and {right} differ from offset {at}")]
    Differ { left: PathBuf, right: PathBuf, at: u64 },
    #[error("{left} and {right} have no offset in common: {left_range:?} and {right_range:?}")]
    Apart { left: PathBuf, right: PathBuf, left_range: (u64, u64), right_range: (u64, u64) },
}

/// The segments of one commitlog.
pub struct CommitLogFiles {
    directory: PathBuf,
    /// By the offset that each begins at, with its length in bytes.
    segments: BTreeMap<u64, (File, u64)>,
}

impl CommitLogFiles {
    /// Opens the segments under `<store>/commitlog`.
    pub fn open(store: &Path) -> Result<CommitLogFiles, LogError> {
        let directory = store.join("commitlog");
        let io = |source| LogError::Io { path: directory.clone(), source };
        let mut segments = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Some(base) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let file = File::open(entry.path()).map_err(io)?;
            let length = file.metadata().map_err(io)?.len();
            segments.insert(base, (file, length));
        }
        Ok(CommitLogFiles { directory, segments })
    }

    /// Offset of the first segment.
    pub fn begin(&self) -> u64 {
        self.segments.keys().next().copied().unwrap_or(0)
    }

    /// Where the records end. Walks the last segment that has any.
    pub fn end(&self) -> Result<u64, LogError> {
        for (&base, &(_, length)) in self.segments.iter().rev() {
            let mut end = base;
            self.walk_segment(base, length, &mut |at, head| {
                end = at + u64::from(head.size);
                Ok(())
            })?;
            if end > base {
                return Ok(end);
            }
        }
        Ok(self.begin())
    }

    /// Every message from the first segment on, in order; each must lie where it says.
    pub fn messages(&self, visit: &mut dyn FnMut(u64, Message)) -> Result<(), LogError> {
        for (&base, &(_, length)) in &self.segments {
            self.walk_segment(base, length, &mut |at, head| {
                if head.magic == MESSAGE {
                    visit(at, self.message(at, head.size)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The message record of `size` bytes at `at`.
    pub fn message(&self, at: u64, size: u32) -> Result<Message, LogError> {
        let problem = |problem: String| LogError::Record { path: self.directory.clone(), at, problem };
        let bytes = self.read(at, size as usize)?;
        match RecordHead::read(&bytes) {
            Some(head) if head == (RecordHead { size, magic: MESSAGE }) => {}
            head => return Err(problem(format!("is no message of {size} bytes: {head:x?}"))),
        }
        let message = Message::read(&bytes).ok_or_else(|| problem("is longer than it says".to_owned()))?;
        if message.physical_offset != at {
            return Err(problem(format!("says that it lies at {}", message.physical_offset)));
        }
        Ok(message)
    }

    fn walk_segment(
        &self,
        base: u64,
        length: u64,
        visit: &mut dyn FnMut(u64, RecordHead) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        // Whole chunks, as a system call for each record would be slow.
        let mut chunk = Vec::new();
        let mut chunk_at = base;
        let mut at = base;
        while at + 8 <= base + length {
            let wanted = (at + FRAME_HEADER as u64).min(base + length);
            if wanted > chunk_at + chunk.len() as u64 {
                chunk_at = at;
                chunk = self.read(at, CHUNK.min((base + length - at) as usize))?;
            }
            let Some(head) = RecordHead::read(&chunk[(at - chunk_at) as usize..]) else { break };
            if head.magic == BLANK {
                // The blank counts up to the end of the segment.
                visit(at, RecordHead { size: (base + length - at) as u32, magic: BLANK })?;
                break;
            }
            if at + u64::from(head.size) > base + length {
                let problem = format!("of {} bytes crosses the end of its segment", head.size);
                return Err(LogError::Record { path: self.directory.clone(), at, problem });
            }
            visit(at, head)?;
            at += u64::from(head.size);
        }
        Ok(())
    }

    /// `length` bytes from `at`, which lie in one segment.
    pub fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, LogError> {
        let outside =
            || LogError::Record { path: self.directory.clone(), at, problem: "lies outside every segment".into() };
        let (base, (file, size)) = self.segments.range(..=at).next_back().ok_or_else(outside)?;
        if at + length as u64 > base + size {
            return Err(outside());
        }
        let mut bytes = vec![0; length];
        let path = || self.directory.join(format!("{base:020}"));
        file.read_exact_at(&mut bytes, at - base).map_err(|source| LogError::Io { path: path(), source })?;
        Ok(bytes)
    }
}

/// Checks that two commitlogs are byte-equal over the range that both have; returns that range.
pub fn compare(left: &CommitLogFiles, right: &CommitLogFiles) -> Result<(u64, u64), LogError> {
    let (left_range, right_range) = ((left.begin(), left.end()?), (right.begin(), right.end()?));
    let begin = left_range.0.max(right_range.0);
    let end = left_range.1.min(right_range.1);
    let paths = || (left.directory.clone(), right.directory.clone());
    if begin >= end {
        let (left, right) = paths();
        return Err(LogError::Apart { left, right, left_range, right_range });
    }
    let mut at = begin;
    while at < end {
        let segment_end = |log: &CommitLogFiles| {
            log.segments.range(..=at).next_back().map_or(at + 1, |(base, (_, length))| base + length)
        };
        let until = end.min(segment_end(left)).min(segment_end(right)).min(at + CHUNK as u64);
        let length = (until - at) as usize;
        let (a, b) = (left.read(at, length)?, right.read(at, length)?);
        if let Some(first) = a.iter().zip(&b).position(|(a, b)| a != b) {
            let (left, right) = paths();
            return Err(LogError::Differ { left, right, at: at + first as u64 });
        }
        at = until;
    }
    Ok((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: usize = 64;

    fn log_of(records: &[&[(u32, u32)]]) -> tempfile::TempDir {
        let store = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(store.path().join("commitlog")).expect("directory");
        for (index, segment) in records.iter().enumerate() {
            let mut bytes = Vec::new();
            for &(size, magic) in *segment {
                let begin = bytes.len();
                bytes.extend(size.to_be_bytes());
                bytes.extend(magic.to_be_bytes());
                bytes.resize(begin + size as usize, index as u8 + 1);
            }
            bytes.resize(SEGMENT, 0);
            let name = format!("commitlog/{:020}", index * SEGMENT);
            std::fs::write(store.path().join(name), bytes).expect("segment");
        }
        store
    }

    fn open(store: &tempfile::TempDir) -> CommitLogFiles {
        CommitLogFiles::open(store.path()).expect("opens")
    }

    #[test]
    fn the_end_is_behind_the_last_record_and_a_blank_fills_its_segment() {
        assert_eq!(open(&log_of(&[&[(16, 7), (20, 7)]])).end().expect("end"), 36);
        assert_eq!(open(&log_of(&[&[(16, 7), (48, BLANK)], &[]])).end().expect("end"), 64);
        assert_eq!(open(&log_of(&[&[(16, 7), (48, BLANK)], &[(8, 9)]])).end().expect("end"), 72);
    }

    #[test]
    fn equal_logs_of_different_length_compare_over_what_both_have() {
        let long = log_of(&[&[(16, 7), (48, BLANK)], &[(8, 9), (10, 9)]]);
        let short = log_of(&[&[(16, 7), (48, BLANK)], &[(8, 9)]]);
        assert_eq!(compare(&open(&long), &open(&short)).expect("equal"), (0, 72));
    }

    #[test]
    fn a_flipped_byte_is_found_where_it_is() {
        let (good, bad) = (log_of(&[&[(16, 7), (20, 7)]]), log_of(&[&[(16, 7), (20, 7)]]));
        let path = bad.path().join("commitlog/00000000000000000000");
        let mut bytes = std::fs::read(&path).expect("segment");
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).expect("segment");
        assert!(matches!(compare(&open(&good), &open(&bad)), Err(LogError::Differ { at: 30, .. })));
    }
}
