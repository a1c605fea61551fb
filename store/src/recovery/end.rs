//! Making the found end of the log the real one: zeros behind it, no segments beyond it, all of it durable.
//!
//! What is read here may be in the page cache alone. After a failed fsync Linux marks the pages clean and keeps them;
//! a process that starts on the same boot reads them, and its fdatasync says Ok without writing anything. So
//! whatever was not known to be durable is written once more before that fdatasync counts.

use crate::error::OpenError;
use crate::segments::{Segment, Segments};

/// Zeros in a row after which the rest of a segment counts as never written, when the cut bytes are counted.
const QUIET_BYTES: u64 = 4 << 20;
const STEP_BYTES: u64 = 64 << 10;
const REWRITE_BYTES: u64 = 1 << 20;

/// Cuts the log at `end`. Nothing behind it is touched if `is_clean`: the last run said that nothing was there.
/// Returns how far non-zero bytes reached behind the end.
pub(super) fn cut(segments: &Segments, end: u64, is_clean: bool) -> Result<u64, OpenError> {
    let mut cut_bytes = 0;
    for segment in segments.all().iter().filter(|segment| segment.end() > end) {
        let from = end.max(segment.base);
        let nonzero = if is_clean { 0 } else { last_nonzero(segment, from - segment.base)? };
        if nonzero > 0 {
            cut_bytes = segment.base + nonzero - end;
        }
        if segment.base <= end {
            complete(segment)?;
            // Sectors of a torn write may lie behind a gap of any width, and zeros that are read may be the page
            // cache's alone.
            if !is_clean {
                let zeroed = segment.file.zero(from - segment.base, segment.end() - from);
                zeroed.map_err(OpenError::io("zero the tail of", &segment.path))?;
            }
        }
    }
    let behind = segments.containing(end).map_or(end, |segment| segment.end());
    segments.remove_from(behind).map_err(OpenError::io("remove segments from", segments.directory()))?;
    for segment in segments.all() {
        complete(&segment)?;
    }
    if segments.containing(end).is_none() {
        segments.roll(end).map_err(OpenError::io("create a segment in", segments.directory()))?;
    }
    Ok(cut_bytes)
}

/// Gives a file whose creation or content was cut off its full length.
fn complete(segment: &Segment) -> Result<(), OpenError> {
    if segment.found_bytes == segment.length {
        return Ok(());
    }
    segment.file.allocate(segment.length).map_err(OpenError::io("extend", &segment.path))
}

/// Behind the last non-zero byte at or after `from`, 0 if there is none.
pub(super) fn last_nonzero(segment: &Segment, from: u64) -> Result<u64, OpenError> {
    let mut last = 0;
    let mut position = from;
    while position < segment.found_bytes {
        if position - last.max(from) >= QUIET_BYTES {
            break;
        }
        let mut bytes = vec![0; STEP_BYTES.min(segment.found_bytes - position) as usize];
        segment.file.read_at(&mut bytes, position).map_err(OpenError::io("read", &segment.path))?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
            last = position + at as u64 + 1;
        }
        position += bytes.len() as u64;
    }
    Ok(last)
}

/// Writes what lies from `from` to `to` again, byte for byte, so that the fdatasync behind it has something to do.
/// Returns the number of bytes.
pub(super) fn rewrite(segments: &Segments, from: u64, to: u64) -> Result<u64, OpenError> {
    let mut rewritten = 0;
    for segment in segments.all().iter().filter(|segment| segment.base < to && segment.end() > from) {
        let (mut position, end) = (from.max(segment.base) - segment.base, to.min(segment.end()) - segment.base);
        while position < end {
            let mut bytes = vec![0; REWRITE_BYTES.min(end - position) as usize];
            segment.file.read_at(&mut bytes, position).map_err(OpenError::io("read", &segment.path))?;
            segment.file.write_at(&bytes, position).map_err(OpenError::io("write again", &segment.path))?;
            position += bytes.len() as u64;
            rewritten += bytes.len() as u64;
        }
    }
    Ok(rewritten)
}

/// Makes durable what is kept. Segments that end at or below `durable` are.
pub(super) fn sync(segments: &Segments, durable: u64) -> Result<(), OpenError> {
    for segment in segments.all().iter().filter(|segment| segment.end() > durable) {
        segment.file.sync_data().map_err(OpenError::io("flush", &segment.path))?;
    }
    segments.sync_directory().map_err(OpenError::io("sync", segments.directory()))
}
