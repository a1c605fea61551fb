//! Positions are types: bytes in the commitlog, messages in a queue and indexes in the Raft log never share a bare
//! integer.

use std::fmt;

/// Byte position in the commitlog, counted from the first byte ever written.
#[doc(alias = "physicalOffset")]
#[doc(alias = "commitLogOffset")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysicalOffset(pub u64);

/// Position of a message in its consume queue, counted from the first message ever queued.
#[doc(alias = "queueOffset")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(pub u64);

/// Index of an entry in the Raft log; the first entry has index 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftIndex(pub u64);

/// Raft term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )*};
}

display_number!(PhysicalOffset, QueueOffset, RaftIndex, Term);

impl PhysicalOffset {
    /// The position `bytes` further on.
    pub fn after(self, bytes: u64) -> PhysicalOffset {
        PhysicalOffset(self.0 + bytes)
    }
}
