//! What a broker group keeps beside its messages, as a deterministic machine over the log.
//!
//! [`Command`]s are records in the log; [`Machine`] applies them and the messages in log order; [`Tables`] is what
//! they change and everybody else reads. Apply reads no clock and no random number, so equal logs give equal tables.

mod auto_create;
mod command;
mod defaults;
mod machine;
mod raft_adapter;
mod sled_store;
mod snapshot;
mod table_store;
pub mod tables;
mod wire;

pub use auto_create::{AutoCreate, SendCreation, decide_for_send, retry_topic_config};
pub use command::{Command, DecodeError, OffsetCommit};
pub use defaults::{PREDEFINED_GROUPS, SYSTEM_GROUP_PREFIX, TopicDefaults, bootstrap_commands, bootstrap_topics};
pub use machine::{ApplyError, ApplySink, Machine, queue_ends};
pub use sled_store::{SledStoreError, SledTableStore};
pub use snapshot::SnapshotError;
pub use table_store::{Loaded, MemoryTableStore, TableBatch, TableStore};
pub use tables::{
    Changes, ConsumerOffsetTable, GroupTable, TableId, Tables, Topic, TopicTable, consumer_offsets::QueueOffsets,
};
