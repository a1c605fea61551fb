use std::sync::Arc;

use raftmq_store::{CommitLog, ConsumeQueues, Frame, FrameId, RaftEntries};

/// What applies committed entries. Called by one task, in log order, each entry once.
///
/// What breaks if an implementation cheats: an `apply` that reads a clock or a random number, or that fails for
/// reasons that other replicas do not share, makes replicas differ for ever.
pub trait StateMachine: Send + 'static {
    /// The last entry that the tables hold, at open. Entries after it are applied again; `None`: all of them, after
    /// the newest snapshot was installed.
    fn applied(&self) -> Option<FrameId>;
    /// One committed entry of kind Data: puts messages into the consume queues and commands into the tables.
    ///
    /// After an unclean stop entries are replayed from the older of tables and consume queues, so each side skips
    /// what it already has. `Err` stops this member for good (a command that this version does not know).
    fn apply(&mut self, entry: &AppliedEntry<'_>) -> Result<(), String>;
    /// After each run of entries: wakes whoever waits for them, once.
    fn apply_done(&mut self);
    /// All tables as bytes for [`StateMachine::install`].
    fn snapshot(&mut self) -> Result<Vec<u8>, String>;
    /// Replaces all tables by those of a snapshot, whose last entry is `applied`.
    fn install(&mut self, applied: FrameId, snapshot: &[u8]) -> Result<(), String>;
}

/// A committed entry, read back from the log.
pub struct AppliedEntry<'a> {
    pub id: FrameId,
    pub frame: &'a Frame,
}

/// The opened log, for whoever makes the state machine.
pub struct OpenedStore {
    pub log: Arc<CommitLog>,
    pub queues: Arc<ConsumeQueues>,
    pub entries: Arc<RaftEntries>,
    pub report: raftmq_store::RecoveryReport,
}
