//! Zeros written ahead of the tail, so that an fsync finds blocks that were written before and needs no journal
//! entry for them.

use std::sync::{Mutex, PoisonError};

use raftmq_sys::DiskFile;

/// Zeros written at once, and the most that an append may have to wait for.
const STEP_BYTES: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;

/// How far one segment has been zeroed, as a position within the file.
///
/// Nobody zeroes below `zeroed`, and an append raises it before it writes beyond it; both under the lock. So zeros
/// can never fall on data.
#[derive(Default)]
pub(crate) struct ZeroAhead {
    zeroed: Mutex<u64>,
}

impl ZeroAhead {
    /// The append is about to write up to `end`.
    pub(crate) fn claim(&self, end: u64) {
        let mut zeroed = self.zeroed.lock().unwrap_or_else(PoisonError::into_inner);
        *zeroed = (*zeroed).max(end);
    }

    /// Behind the last zero (or byte) known to be written.
    pub(crate) fn zeroed(&self) -> u64 {
        *self.zeroed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one step of zeros towards `window` bytes ahead of `tail`. Returns the bytes written; 0 when there is
    /// nothing to do. A tail that has run over the zeros is fast: its batches are large and gain nothing, so the window
    /// begins anew only when `restart` says so.
    pub(crate) fn extend(
        &self,
        file: &dyn DiskFile,
        length: u64,
        tail: u64,
        window: u64,
        restart: bool,
    ) -> std::io::Result<u64> {
        let mut zeroed = self.zeroed.lock().unwrap_or_else(PoisonError::into_inner);
        if *zeroed <= tail && !restart {
            return Ok(0);
        }
        let start = (*zeroed).max(tail).next_multiple_of(PAGE_BYTES).max(*zeroed);
        let end = length.min(tail.saturating_add(window)).min(start.saturating_add(STEP_BYTES));
        // Small steps behind a moving tail would cost an fsync each.
        let worth = if end == length { 1 } else { STEP_BYTES.min(window / 2).max(1) };
        if end.saturating_sub(start) < worth {
            return Ok(0);
        }
        file.write_at(&vec![0; (end - start) as usize], start)?;
        *zeroed = end;
        Ok(end - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftmq_sys::{Disk, Open, RealDisk};

    #[test]
    fn zeros_never_fall_on_claimed_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = RealDisk::new().open(&folder.path().join("s"), Open::Create).unwrap();
        file.allocate(64 << 10).unwrap();
        let ahead = ZeroAhead::default();
        ahead.claim(10_000);
        file.write_at(&[7; 10_000], 0).unwrap();
        assert_eq!(ahead.extend(&*file, 64 << 10, 5_000, 32 << 10, true).unwrap(), 5_000 + (32 << 10) - 12_288);
        let mut bytes = vec![0; 10_000];
        file.read_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert_eq!(ahead.extend(&*file, 64 << 10, 15_000, 32 << 10, false).unwrap(), 0, "too little to be worth it");
        ahead.claim(60_000);
        assert_eq!(ahead.extend(&*file, 64 << 10, 60_000, 32 << 10, false).unwrap(), 0, "a fast tail is left alone");
    }
}
