use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use tokio::sync::watch;

/// The queues that are ours, and how far each is consumed. Written by the coordinator (which queues) and by the
/// caller of `done` (how far).
#[derive(Default)]
pub(super) struct Assignment {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: HashMap<MessageQueue, Held>,
    turns: u64,
}

struct Held {
    turn: u64,
    /// Where the group goes on, once something was consumed.
    consumed: Option<QueueOffset>,
    committed: Option<QueueOffset>,
    /// Dropped with the queue, which ends its reader.
    _reader: watch::Sender<()>,
}

/// A queue that was just taken.
pub(super) struct Taken {
    pub(super) turn: u64,
    /// Ends (with an error) when the queue is given up.
    pub(super) until: watch::Receiver<()>,
}

impl Assignment {
    /// Takes a queue; `None` if it is ours already.
    pub(super) fn take(&self, queue: &MessageQueue) -> Option<Taken> {
        let mut state = self.lock();
        if state.held.contains_key(queue) {
            return None;
        }
        state.turns += 1;
        let turn = state.turns;
        let (reader, until) = watch::channel(());
        state.held.insert(queue.clone(), Held { turn, consumed: None, committed: None, _reader: reader });
        Some(Taken { turn, until })
    }

    /// Gives a queue up.
    pub(super) fn release(&self, queue: &MessageQueue) {
        self.lock().held.remove(queue);
    }

    pub(super) fn queues(&self) -> Vec<MessageQueue> {
        let mut queues: Vec<MessageQueue> = self.lock().held.keys().cloned().collect();
        queues.sort_unstable();
        queues
    }

    pub(super) fn is_current(&self, queue: &MessageQueue, turn: u64) -> bool {
        self.lock().held.get(queue).is_some_and(|held| held.turn == turn)
    }

    /// Ignored if the queue has left us since.
    pub(super) fn consumed(&self, queue: &MessageQueue, turn: u64, next_offset: QueueOffset) {
        if let Some(held) = self.lock().held.get_mut(queue).filter(|held| held.turn == turn) {
            held.consumed = Some(next_offset);
        }
    }

    /// What the broker does not know yet, of one queue.
    pub(super) fn uncommitted(&self, queue: &MessageQueue) -> Option<QueueOffset> {
        let state = self.lock();
        let held = state.held.get(queue)?;
        held.consumed.filter(|consumed| held.committed != Some(*consumed))
    }

    pub(super) fn committed(&self, queue: &MessageQueue, offset: QueueOffset) {
        if let Some(held) = self.lock().held.get_mut(queue) {
            held.committed = Some(offset);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> MessageQueue {
        MessageQueue { broker_name: "a".to_owned(), queue_id: 0, topic: "T".to_owned() }
    }

    #[test]
    fn only_what_is_new_is_committed() {
        let assignment = Assignment::default();
        let taken = assignment.take(&queue()).unwrap();
        assert!(assignment.take(&queue()).is_none());
        assert_eq!(assignment.uncommitted(&queue()), None);
        assignment.consumed(&queue(), taken.turn, QueueOffset(5));
        assert_eq!(assignment.uncommitted(&queue()), Some(QueueOffset(5)));
        assignment.committed(&queue(), QueueOffset(5));
        assert_eq!(assignment.uncommitted(&queue()), None);
    }

    #[test]
    fn a_batch_of_an_earlier_turn_changes_nothing() {
        let assignment = Assignment::default();
        let first = assignment.take(&queue()).unwrap();
        assignment.release(&queue());
        assert!(first.until.has_changed().is_err());
        let second = assignment.take(&queue()).unwrap();
        assignment.consumed(&queue(), first.turn, QueueOffset(9));
        assert_eq!(assignment.uncommitted(&queue()), None);
        assert!(!assignment.is_current(&queue(), first.turn) && assignment.is_current(&queue(), second.turn));
    }
}
