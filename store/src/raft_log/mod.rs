//! The Raft log in the commitlog: frames, their index, and the writer.

mod entries;
mod frame;
mod index_file;
mod writer;

pub(crate) use entries::EntryIndex;
pub use entries::RaftEntries;
pub(crate) use frame::HEADER_BYTES;
pub use frame::{Frame, FrameHeader, FrameId, FrameKind};
pub(crate) use index_file::IndexFiles;
pub use writer::{AppendEntry, RaftStore, RaftWriter};
pub(crate) use writer::{assign, check_messages, last_message};
