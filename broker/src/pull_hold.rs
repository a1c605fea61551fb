//! Pulls that found nothing and wait for a message, by topic and queue.
//!
//! Volatile: a held pull belongs to a connection of this member. Whoever dispatches messages tells which queues got
//! some; pulls whose filter one of them passes are taken out and run again, the rest stays.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_model::offset::QueueOffset;
use tokio::sync::Notify;

/// A message that became readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub topic: Arc<str>,
    pub queue_id: i32,
    pub queue_offset: QueueOffset,
    pub tags_code: i64,
}

/// What waits: knows which messages it wants.
pub trait Waiter: Send + 'static {
    fn wants(&self, tags_code: i64) -> bool;
    fn is_gone(&self) -> bool;
}

/// The table of held pulls of one broker group.
pub struct PullHold<W> {
    state: Mutex<State<W>>,
    /// Told when a deadline comes that is earlier than all others.
    sooner: Notify,
    limit: usize,
}

struct State<W> {
    queues: HashMap<Arc<str>, HashMap<i32, Vec<Held<W>>>>,
    deadlines: BinaryHeap<Reverse<(Duration, u64)>>,
    /// Held pulls by number: where they are. A deadline whose number is missing is of a pull already woken.
    places: HashMap<u64, (Arc<str>, i32)>,
    next_number: u64,
}

struct Held<W> {
    number: u64,
    from: QueueOffset,
    waiter: W,
}

impl<W: Waiter> PullHold<W> {
    /// Holds at most `limit` pulls; a further one is given back at once, as if its time was over.
    pub fn new(limit: usize) -> PullHold<W> {
        let state =
            State { queues: HashMap::new(), deadlines: BinaryHeap::new(), places: HashMap::new(), next_number: 0 };
        PullHold { state: Mutex::new(state), sooner: Notify::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.lock().places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Holds a pull of `from` until a wanted message arrives or `deadline` (on the group's monotonic clock).
    ///
    /// `readable_end` is asked under the lock: a message that arrived between the caller's look and this call is
    /// noticed, and the waiter comes back at once.
    pub fn hold(
        &self,
        topic: &Arc<str>,
        queue_id: i32,
        from: QueueOffset,
        deadline: Duration,
        waiter: W,
        readable_end: impl FnOnce() -> QueueOffset,
    ) -> Result<(), W> {
        let mut state = self.lock();
        if state.places.len() >= self.limit || readable_end() > from {
            return Err(waiter);
        }
        let number = state.next_number;
        state.next_number += 1;
        let is_soonest = state.deadlines.peek().is_none_or(|Reverse((first, _))| deadline < *first);
        state.deadlines.push(Reverse((deadline, number)));
        state.places.insert(number, (topic.clone(), queue_id));
        let queues = state.queues.entry(topic.clone()).or_default();
        queues.entry(queue_id).or_default().push(Held { number, from, waiter });
        drop(state);
        if is_soonest {
            self.sooner.notify_one();
        }
        Ok(())
    }

    /// Takes out the pulls that one of the arrivals wakes.
    pub fn arrived(&self, arrivals: &[Arrival]) -> Vec<W> {
        let mut woken = Vec::new();
        let mut state = self.lock();
        if state.places.is_empty() {
            return woken;
        }
        let State { queues, places, .. } = &mut *state;
        for arrival in arrivals {
            let Some(held) = queues.get_mut(&arrival.topic).and_then(|of| of.get_mut(&arrival.queue_id)) else {
                continue;
            };
            let wakes = |held: &mut Held<W>| {
                held.waiter.is_gone() || (arrival.queue_offset >= held.from && held.waiter.wants(arrival.tags_code))
            };
            for held in held.extract_if(.., wakes) {
                places.remove(&held.number);
                if !held.waiter.is_gone() {
                    woken.push(held.waiter);
                }
            }
        }
        state.shrink();
        woken
    }

    /// Takes out the pulls whose time is over at `now`.
    pub fn expired(&self, now: Duration) -> Vec<W> {
        let mut over = Vec::new();
        let mut state = self.lock();
        while let Some(Reverse((deadline, number))) = state.deadlines.peek().copied() {
            let known = state.places.contains_key(&number);
            if known && deadline > now {
                break;
            }
            state.deadlines.pop();
            if known && let Some(waiter) = state.take(number) {
                over.push(waiter);
            }
        }
        over
    }

    /// Takes out all pulls of connections that are gone.
    pub fn forget_gone(&self) {
        let mut state = self.lock();
        let State { queues, places, .. } = &mut *state;
        for held in queues.values_mut().flat_map(HashMap::values_mut) {
            for held in held.extract_if(.., |held| held.waiter.is_gone()) {
                places.remove(&held.number);
            }
        }
        state.shrink();
    }

    /// Takes out everything, at shutdown or when this member can no longer tell whether it is behind.
    pub fn drain(&self) -> Vec<W> {
        let mut state = self.lock();
        state.places.clear();
        state.deadlines.clear();
        let queues = std::mem::take(&mut state.queues);
        queues.into_values().flat_map(HashMap::into_values).flatten().map(|held| held.waiter).collect()
    }

    /// The earliest deadline of a pull that is still held.
    pub fn next_deadline(&self) -> Option<Duration> {
        let mut state = self.lock();
        while let Some(Reverse((deadline, number))) = state.deadlines.peek().copied() {
            if state.places.contains_key(&number) {
                return Some(deadline);
            }
            state.deadlines.pop();
        }
        None
    }

    /// Waits until a deadline earlier than all others was added.
    pub async fn sooner(&self) {
        self.sooner.notified().await;
    }
}

impl<W> State<W> {
    fn take(&mut self, number: u64) -> Option<W> {
        let (topic, queue_id) = self.places.remove(&number)?;
        let held = self.queues.get_mut(&topic)?.get_mut(&queue_id)?;
        let place = held.iter().position(|held| held.number == number)?;
        Some(held.swap_remove(place).waiter)
    }

    /// Drops empty queues now and then, and deadlines of woken pulls when they are most of the heap.
    fn shrink(&mut self) {
        if self.deadlines.len() > 1024 && self.deadlines.len() > self.places.len() * 4 {
            let places = &self.places;
            self.deadlines.retain(|Reverse((_, number))| places.contains_key(number));
            self.queues.retain(|_, of| {
                of.retain(|_, held| !held.is_empty());
                !of.is_empty()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wants(i64);

    impl Waiter for Wants {
        fn wants(&self, tags_code: i64) -> bool {
            self.0 == tags_code
        }

        fn is_gone(&self) -> bool {
            self.0 < 0
        }
    }

    fn arrival(queue_offset: u64, tags_code: i64) -> Arrival {
        Arrival { topic: "T".into(), queue_id: 0, queue_offset: QueueOffset(queue_offset), tags_code }
    }

    fn hold(table: &PullHold<Wants>, from: u64, deadline_ms: u64, tags_code: i64) -> bool {
        let deadline = Duration::from_millis(deadline_ms);
        let end = || QueueOffset(5);
        table.hold(&"T".into(), 0, QueueOffset(from), deadline, Wants(tags_code), end).is_ok()
    }

    #[test]
    fn only_wanted_messages_wake() {
        let table = PullHold::new(10);
        assert!(hold(&table, 5, 100, 7));
        assert!(hold(&table, 6, 100, 8));
        assert!(!hold(&table, 4, 100, 7), "already readable");
        assert_eq!(table.arrived(&[arrival(5, 9), arrival(5, 8)]).len(), 0);
        assert_eq!(table.arrived(&[arrival(6, 8)]).len(), 1);
        assert_eq!(table.arrived(&[arrival(7, 7)]).len(), 1);
        assert!(table.is_empty());
    }

    #[test]
    fn deadlines_come_in_order_and_the_bound_holds() {
        let table = PullHold::new(2);
        assert!(hold(&table, 5, 300, 1));
        assert!(hold(&table, 5, 100, 2));
        assert!(!hold(&table, 5, 50, 3), "full");
        assert_eq!(table.next_deadline(), Some(Duration::from_millis(100)));
        assert_eq!(table.expired(Duration::from_millis(200)).len(), 1);
        assert_eq!(table.next_deadline(), Some(Duration::from_millis(300)));
        assert_eq!(table.expired(Duration::from_millis(300)).len(), 1);
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn gone_connections_leave_nothing_behind() {
        let table = PullHold::new(2);
        assert!(hold(&table, 5, 300, -1));
        table.forget_gone();
        assert!(table.is_empty());
    }
}
