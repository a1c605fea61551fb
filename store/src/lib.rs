//! The files of a broker group: commitlog, consume queues and the small files around them.
//!
//! Two stores share one log format. [`ClassicStore`] writes RocketMQ's files byte for byte; [`RaftStore`] writes the
//! same records inside Raft frames, so that the commitlog *is* the Raft log. Both hand out a [`CommitLog`] and
//! [`ConsumeQueues`] for reading. This crate knows bytes and durability, never roles, sockets or consumers.
//! Layouts are in docs/on-disk-format.md.

mod background;
mod batch;
mod checkpoint;
mod classic;
mod commit_log;
mod config;
mod consume_queue;
mod error;
mod flush;
mod folder;
mod mark;
mod metrics;
mod offset_search;
mod placement;
mod raft_log;
mod records;
mod recovery;
mod segments;
mod signal;
mod store_mode;
mod zero_ahead;

pub use batch::{Appended, EncodedMessages, ProposalRecord, QueueOffsets};
pub use checkpoint::Checkpoint;
pub use classic::{ClassicStore, ClassicWriter};
pub use commit_log::CommitLog;
pub use config::{FlushMode, StoreConfig};
pub use consume_queue::{AppliedPoint, ConsumeQueue, ConsumeQueues, DispatchError, Unit};
pub use error::{AppendError, FlushError, OpenError, ReadError};
pub use flush::{FlushDone, Flusher};
pub use mark::Mark;
pub use offset_search::{earliest_store_time, offset_by_time, read_message};
pub use raft_log::{AppendEntry, Frame, FrameHeader, FrameId, FrameKind, RaftEntries, RaftStore, RaftWriter};
pub use records::{LogRecord, RecordError, Records, records};
pub use recovery::RecoveryReport;
