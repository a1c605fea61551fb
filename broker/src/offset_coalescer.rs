//! One-way offset commits and those that ride on pulls, merged until the proposer takes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raftmq_model::offset::QueueOffset;

use crate::state_machine::{Command, OffsetCommit};

/// The newest offset per group, topic and queue that is not yet proposed. Volatile: nobody was told that it is kept.
///
/// Bounded by what it merges: one number per queue and group. Over [`OffsetCoalescer::LIMIT`] queues further ones
/// are dropped; clients commit again within seconds.
#[derive(Default)]
pub struct OffsetCoalescer {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Topics>,
    queues: usize,
}

type Topics = BTreeMap<String, BTreeMap<i32, QueueOffset>>;

impl OffsetCoalescer {
    /// Most queues (times groups) that may wait.
    pub const LIMIT: usize = 1 << 20;

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a commit; it replaces an earlier one of the same queue, whichever is greater.
    pub fn add(&self, group: &str, topic: &str, queue_id: i32, offset: u64) {
        self.lock().add(group, topic, queue_id, QueueOffset(offset), true);
    }

    /// Forgets what waits for one queue: an acknowledged commit takes its place.
    pub fn remove(&self, group: &str, topic: &str, queue_id: i32) {
        self.lock().remove(group, |of, queue| of == topic && queue == queue_id);
    }

    /// Forgets what waits for a group: it is being deleted with its offsets.
    pub fn remove_group(&self, group: &str) {
        self.lock().remove(group, |_, _| true);
    }

    pub fn is_empty(&self) -> bool {
        self.lock().queues == 0
    }

    /// Takes everything that waits, as one command, and submits it before anybody else can take or replace anything.
    ///
    /// The lock is held over `submit`: an acknowledged commit that comes later is then also later in the log, else an
    /// older offset could be submitted after it. `submit` must not call this value again.
    pub fn drain_with<T>(&self, submit: impl FnOnce(Option<Command>) -> T) -> T {
        let mut state = self.lock();
        let taken = std::mem::take(&mut *state);
        submit(taken.into_command())
    }

    /// Gives back commits that were definitely not appended. Those that came since win.
    pub fn put_back(&self, command: Command) {
        let Command::CommitOffsets { commits } = command else { return };
        let mut state = self.lock();
        for commit in commits {
            state.add(&commit.group, &commit.topic, commit.queue_id, commit.offset, false);
        }
    }
}

impl State {
    fn add(&mut self, group: &str, topic: &str, queue_id: i32, offset: QueueOffset, replace: bool) {
        // Names are copied only when they are new.
        if let Some(known) =
            self.groups.get_mut(group).and_then(|topics| topics.get_mut(topic)).and_then(|of| of.get_mut(&queue_id))
        {
            if replace {
                *known = offset;
            }
            return;
        }
        if self.queues >= OffsetCoalescer::LIMIT {
            return;
        }
        let topics = self.groups.entry(group.to_owned()).or_default();
        topics.entry(topic.to_owned()).or_default().insert(queue_id, offset);
        self.queues += 1;
    }

    fn remove(&mut self, group: &str, which: impl Fn(&str, i32) -> bool) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        topics.retain(|topic, queues| {
            let before = queues.len();
            queues.retain(|queue_id, _| !which(topic, *queue_id));
            self.queues -= before - queues.len();
            !queues.is_empty()
        });
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    fn into_command(self) -> Option<Command> {
        let mut commits = Vec::with_capacity(self.queues);
        for (group, topics) in self.groups {
            for (topic, queues) in topics {
                commits.extend(queues.into_iter().map(|(queue_id, offset)| OffsetCommit {
                    group: group.clone(),
                    topic: topic.clone(),
                    queue_id,
                    offset,
                }));
            }
        }
        (!commits.is_empty()).then_some(Command::CommitOffsets { commits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(coalescer: &OffsetCoalescer) -> Vec<(String, i32, u64)> {
        let command = coalescer.drain_with(|command| command);
        let Some(Command::CommitOffsets { commits }) = command else { return Vec::new() };
        commits.into_iter().map(|commit| (commit.topic, commit.queue_id, commit.offset.0)).collect()
    }

    #[test]
    fn the_last_commit_of_a_queue_is_proposed_once() {
        let coalescer = OffsetCoalescer::default();
        coalescer.add("g", "T", 0, 5);
        coalescer.add("g", "T", 1, 6);
        coalescer.add("g", "T", 0, 3);
        assert!(!coalescer.is_empty());
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 3), ("T".to_owned(), 1, 6)]);
        assert!(coalescer.is_empty());
        assert_eq!(drained(&coalescer), []);
    }

    #[test]
    fn what_comes_back_does_not_replace_what_came_since() {
        let coalescer = OffsetCoalescer::default();
        coalescer.add("g", "T", 0, 5);
        coalescer.add("g", "T", 1, 6);
        let command = coalescer.drain_with(|command| command).unwrap();
        coalescer.add("g", "T", 0, 7);
        coalescer.put_back(command);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 7), ("T".to_owned(), 1, 6)]);
    }

    #[test]
    fn superseded_commits_are_forgotten() {
        let coalescer = OffsetCoalescer::default();
        coalescer.add("g", "T", 0, 5);
        coalescer.add("g", "U", 0, 6);
        coalescer.add("h", "T", 0, 7);
        coalescer.remove("g", "T", 0);
        coalescer.remove("g", "T", 0);
        coalescer.remove_group("h");
        assert_eq!(drained(&coalescer), [("U".to_owned(), 0, 6)]);
    }
}
