//! Consume queues: per topic and queue, where each message lies. Derived from the log and rebuilt from it.

mod applied;
mod files;
mod load;
mod queue;
mod queues;
mod unit;

pub use applied::AppliedPoint;
pub(crate) use applied::read as read_applied;
pub(crate) use load::{Cut, Extent, Survey, survey};
pub use queue::{ConsumeQueue, DispatchError};
pub use queues::ConsumeQueues;
pub(crate) use queues::{Fingerprint, QueueSetup, queue_files};
pub(crate) use unit::QUEUE_OFFSET_LIMIT;
pub use unit::Unit;
