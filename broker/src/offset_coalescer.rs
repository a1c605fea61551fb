//! One-way offset commits and those that ride on pulls, merged until the proposer takes them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_model::offset::QueueOffset;
use raftmq_sys::Clock;

use crate::state_machine::{Command, OffsetCommit};

/// The newest offset per group, topic and queue that is not yet proposed. Volatile: nobody was told that it is kept.
///
/// Bounded by the bytes that it would take to pass it on. Over [`OffsetCoalescer::LIMIT_BYTES`] offsets of further
/// queues are dropped; clients commit again within seconds.
///
/// In Raft mode offsets also go when they are old: while this member was cut off or paused, its clients may have committed
/// newer ones to a new leader.
pub struct OffsetCoalescer {
    clock: Arc<dyn Clock>,
    /// Offsets that waited longer are dropped.
    max_age: Option<Duration>,
    state: Mutex<State>,
    /// Locked after `state`, if both are.
    out: Arc<Mutex<Out>>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Topics>,
    queues: usize,
    bytes: usize,
    /// Nothing is taken before this time, see [`OffsetCoalescer::note_stall`].
    refuses_until: Duration,
    /// The last offset of each queue that was applied lately, and when.
    applied: HashMap<GroupQueue, Waiting>,
}

type Topics = BTreeMap<String, BTreeMap<i32, Waiting>>;

#[derive(Clone, Copy)]
struct Waiting {
    offset: QueueOffset,
    came: Duration,
}

impl Waiting {
    /// Whether this would take back what is younger. A client speaks to another member after a failover, and
    /// what it said last to this one must not follow what it said there.
    fn is_superseded_by(&self, other: &Waiting) -> bool {
        self.offset < other.offset && self.came < other.came
    }
}

/// What is on its way into the log, or back.
#[derive(Default)]
struct Out {
    /// [`Taken`] values that are alive.
    taken: usize,
    /// Numbers what was taken out and what was forgotten, in one order.
    last: u64,
    /// Queues, and whole groups, that were taken out or forgotten while others were out already, and when last: an older
    /// offset of theirs must not come back.
    queues: BTreeMap<(String, String, i32), u64>,
    groups: BTreeMap<String, u64>,
    /// When everything was forgotten, 0 if never.
    stalled: u64,
}

impl Out {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// Offsets that were taken out to be proposed or passed on. To be kept until it is known what became of them.
pub struct Taken {
    number: u64,
    commits: Vec<OffsetCommit>,
    /// When each of them came.
    came: Vec<Duration>,
    out: Arc<Mutex<Out>>,
}

impl Taken {
    /// Each offset with how long ago it came.
    pub fn aged(&self, now: Duration) -> impl Iterator<Item = (&OffsetCommit, Duration)> {
        self.commits.iter().zip(self.came.iter().map(move |came| now.saturating_sub(*came)))
    }

    pub fn commits(&self) -> &[OffsetCommit] {
        &self.commits
    }

    pub fn to_command(&self) -> Command {
        Command::CommitOffsets { commits: self.commits.clone() }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut out = lock(&self.out);
        out.taken -= 1;
        if out.taken == 0 {
            *out = Out { last: out.last, ..Out::default() };
        }
    }
}

/// One queue of one consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupQueue {
    pub group: String,
    pub topic: String,
    pub queue_id: i32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one offset takes in a command or a forwarded request, about.
fn commit_bytes(group: &str, topic: &str) -> usize {
    group.len() + topic.len() + 64
}

impl OffsetCoalescer {
    /// Bytes of offsets that may wait.
    pub const LIMIT_BYTES: usize = 64 << 20;
    /// Offsets taken out at once at most.
    pub const TAKE_COMMITS: usize = 4096;
    /// Bytes of offsets taken out at once at most, but for the first.
    pub const TAKE_BYTES: usize = 1 << 20;

    /// Age at which offsets are dropped in Raft mode. A client commits every five seconds.
    pub const MAX_AGE: Duration = Duration::from_secs(2);
    /// How long after a stall nothing is taken: requests that waited in sockets are older than they look.
    pub const AFTER_STALL: Duration = Duration::from_secs(1);

    pub fn new(clock: Arc<dyn Clock>, max_age: Option<Duration>) -> OffsetCoalescer {
        OffsetCoalescer { clock, max_age, state: Mutex::default(), out: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Applied offsets are remembered for so long: no commit that waits is older.
    const REMEMBERED: Duration = Duration::from_secs(4);
    /// What two members may disagree about when something came.
    const MARGIN: Duration = Duration::from_millis(10);

    /// Notes a commit; it replaces one of the same queue that came earlier, whichever is greater.
    pub fn add(&self, group: &str, topic: &str, queue_id: i32, offset: u64) {
        self.add_came(group, topic, queue_id, offset, self.clock.monotonic());
    }

    /// Notes a commit that came to another member, `age` ago.
    pub fn add_forwarded(&self, group: &str, topic: &str, queue_id: i32, offset: u64, age: Duration) {
        let came = self.clock.monotonic().saturating_sub(age + OffsetCoalescer::MARGIN);
        self.add_came(group, topic, queue_id, offset, came);
    }

    /// These offsets are in the tables now, whoever committed them.
    pub fn note_applied(&self, commits: &[OffsetCommit]) {
        if self.max_age.is_none() {
            return;
        }
        let came = self.clock.monotonic();
        let mut state = self.lock();
        for OffsetCommit { group, topic, queue_id, offset } in commits {
            let queue = GroupQueue { group: group.clone(), topic: topic.clone(), queue_id: *queue_id };
            state.applied.insert(queue, Waiting { offset: *offset, came });
        }
    }

    /// Forgets applied offsets that nothing that waits could be older than. To be called now and then.
    pub fn forget_applied(&self) {
        let oldest = self.clock.monotonic().saturating_sub(OffsetCoalescer::REMEMBERED);
        self.lock().applied.retain(|_, applied| applied.came >= oldest);
    }

    fn add_came(&self, group: &str, topic: &str, queue_id: i32, offset: u64, came: Duration) {
        let mut state = self.lock();
        if came >= state.refuses_until {
            state.add(group, topic, queue_id, Waiting { offset: QueueOffset(offset), came }, true);
        }
    }

    /// This process did not run for a while (SIGSTOP, a frozen machine): what waits, and what waited in its sockets, may
    /// be older than what clients have committed elsewhere meanwhile.
    pub fn note_stall(&self) {
        if self.max_age.is_none() {
            return;
        }
        let now = self.clock.monotonic();
        let mut state = self.lock();
        *state = State { refuses_until: now + OffsetCoalescer::AFTER_STALL, ..State::default() };
        let mut out = lock(&self.out);
        if out.taken > 0 {
            out.stalled = out.next();
        }
    }

    /// Whether commits are not taken at the moment.
    pub fn is_stalled(&self) -> bool {
        self.clock.monotonic() < self.lock().refuses_until
    }

    /// Forgets what waits for one queue: an acknowledged commit takes its place.
    pub fn remove(&self, group: &str, topic: &str, queue_id: i32) {
        let mut state = self.lock();
        state.remove(group, |of, queue| of == topic && queue == queue_id);
        let mut out = lock(&self.out);
        if out.taken > 0 {
            let number = out.next();
            out.queues.insert((group.to_owned(), topic.to_owned(), queue_id), number);
        }
    }

    /// Forgets what waits for a group: it is being deleted with its offsets.
    pub fn remove_group(&self, group: &str) {
        let mut state = self.lock();
        state.remove(group, |_, _| true);
        let mut out = lock(&self.out);
        if out.taken > 0 {
            let number = out.next();
            out.groups.insert(group.to_owned(), number);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues, times groups, with an offset that waits.
    pub fn len(&self) -> usize {
        self.lock().queues
    }

    pub fn waits_for(&self, queue: &GroupQueue) -> bool {
        self.lock().waiting(queue).is_some()
    }

    /// Takes some of what waits and submits it before anybody else can take or replace anything.
    ///
    /// The lock is held over `submit`: an acknowledged commit that comes later is then also later in the log, else an
    /// older offset could be submitted after it. `submit` must not call this value again.
    pub fn drain_with<T>(&self, submit: impl FnOnce(Option<Taken>) -> T) -> T {
        let mut state = self.lock();
        let (commits, came) = state.take_some(self.oldest());
        submit(self.taken(commits, came))
    }

    /// What came before this is dropped.
    fn oldest(&self) -> Duration {
        self.max_age.map_or(Duration::ZERO, |age| self.clock.monotonic().saturating_sub(age))
    }

    /// [`OffsetCoalescer::drain_with`] for these queues only.
    pub fn drain_queues_with<T>(&self, queues: &[GroupQueue], submit: impl FnOnce(Option<Taken>) -> T) -> T {
        let mut state = self.lock();
        let (mut commits, mut came) = (Vec::new(), Vec::new());
        let oldest = self.oldest();
        for queue in queues {
            let Some(waiting) = state.waiting(queue) else { continue };
            state.remove(&queue.group, |topic, queue_id| topic == queue.topic && queue_id == queue.queue_id);
            let applied = state.applied.get(queue);
            if waiting.came < oldest || applied.is_some_and(|applied| waiting.is_superseded_by(applied)) {
                continue;
            }
            let GroupQueue { group, topic, queue_id } = queue.clone();
            commits.push(OffsetCommit { group, topic, queue_id, offset: waiting.offset });
            came.push(waiting.came);
        }
        submit(self.taken(commits, came))
    }

    fn taken(&self, commits: Vec<OffsetCommit>, came: Vec<Duration>) -> Option<Taken> {
        if commits.is_empty() {
            return None;
        }
        let mut out = lock(&self.out);
        let number = out.next();
        if out.taken > 0 {
            let keys = commits.iter().map(|commit| (commit.group.clone(), commit.topic.clone(), commit.queue_id));
            out.queues.extend(keys.map(|key| (key, number)));
        }
        out.taken += 1;
        Some(Taken { number, commits, came, out: self.out.clone() })
    }

    /// Gives back commits that were definitely not appended. Those that came since win, acknowledged ones too.
    pub fn put_back(&self, mut taken: Taken) {
        let mut state = self.lock();
        let commits = std::mem::take(&mut taken.commits);
        let out = lock(&self.out);
        if out.stalled > taken.number {
            return drop(out);
        }
        for (commit, came) in commits.into_iter().zip(std::mem::take(&mut taken.came)) {
            let OffsetCommit { group, topic, queue_id, offset } = commit;
            let is_older = |since: Option<&u64>| since.is_some_and(|since| *since > taken.number);
            if is_older(out.groups.get(&group)) {
                continue;
            }
            let key = (group, topic, queue_id);
            if !is_older(out.queues.get(&key)) {
                state.add(&key.0, &key.1, queue_id, Waiting { offset, came }, false);
            }
        }
        // `taken` locks it once more when it goes.
        drop(out);
    }
}

impl State {
    fn waiting(&self, queue: &GroupQueue) -> Option<Waiting> {
        self.groups.get(&queue.group)?.get(&queue.topic)?.get(&queue.queue_id).copied()
    }

    fn add(&mut self, group: &str, topic: &str, queue_id: i32, waiting: Waiting, replace: bool) {
        // Names are copied only when they are new.
        if let Some(known) =
            self.groups.get_mut(group).and_then(|topics| topics.get_mut(topic)).and_then(|of| of.get_mut(&queue_id))
        {
            if replace && !waiting.is_superseded_by(known) {
                *known = waiting;
            }
            return;
        }
        let bytes = commit_bytes(group, topic);
        if self.bytes + bytes > OffsetCoalescer::LIMIT_BYTES {
            return;
        }
        let topics = self.groups.entry(group.to_owned()).or_default();
        topics.entry(topic.to_owned()).or_default().insert(queue_id, waiting);
        self.queues += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, group: &str, which: impl Fn(&str, i32) -> bool) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        topics.retain(|topic, queues| {
            let before = queues.len();
            queues.retain(|queue_id, _| !which(topic, *queue_id));
            self.queues -= before - queues.len();
            self.bytes -= (before - queues.len()) * commit_bytes(group, topic);
            !queues.is_empty()
        });
        if topics.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Takes from the front as much as goes at once, and drops what came before `oldest` or is superseded.
    fn take_some(&mut self, oldest: Duration) -> (Vec<OffsetCommit>, Vec<Duration>) {
        let (commits, came) = self.take_front();
        let taken = commits.into_iter().zip(came);
        taken.filter(|(commit, came)| *came >= oldest && !self.is_superseded(commit, *came)).unzip()
    }

    fn is_superseded(&self, commit: &OffsetCommit, came: Duration) -> bool {
        if self.applied.is_empty() {
            return false;
        }
        let OffsetCommit { group, topic, queue_id, offset } = commit;
        let queue = GroupQueue { group: group.clone(), topic: topic.clone(), queue_id: *queue_id };
        let waiting = Waiting { offset: *offset, came };
        self.applied.get(&queue).is_some_and(|applied| waiting.is_superseded_by(applied))
    }

    fn take_front(&mut self) -> (Vec<OffsetCommit>, Vec<Duration>) {
        let mut came = Vec::new();
        let mut commits = Vec::with_capacity(self.queues.min(OffsetCoalescer::TAKE_COMMITS));
        let mut taken_bytes = 0;
        while let Some((group, mut topics)) = self.groups.pop_first() {
            while let Some((topic, mut queues)) = topics.pop_first() {
                let bytes = commit_bytes(&group, &topic);
                while commits.len() < OffsetCoalescer::TAKE_COMMITS
                    && (commits.is_empty() || taken_bytes + bytes <= OffsetCoalescer::TAKE_BYTES)
                    && let Some((queue_id, waiting)) = queues.pop_first()
                {
                    taken_bytes += bytes;
                    let offset = waiting.offset;
                    commits.push(OffsetCommit { group: group.clone(), topic: topic.clone(), queue_id, offset });
                    came.push(waiting.came);
                }
                if !queues.is_empty() {
                    topics.insert(topic, queues);
                    self.groups.insert(group, topics);
                    self.queues -= commits.len();
                    self.bytes -= taken_bytes;
                    return (commits, came);
                }
            }
        }
        self.queues = 0;
        self.bytes = 0;
        (commits, came)
    }
}

#[cfg(test)]
mod tests {
    use raftmq_sim::SimClock;

    use super::*;

    fn coalescer() -> OffsetCoalescer {
        OffsetCoalescer::new(Arc::new(SimClock::new(0)), None)
    }

    fn drained(coalescer: &OffsetCoalescer) -> Vec<(String, i32, u64)> {
        let taken = coalescer.drain_with(|taken| taken);
        let commits = taken.iter().flat_map(|taken| taken.commits());
        commits.map(|commit| (commit.topic.clone(), commit.queue_id, commit.offset.0)).collect()
    }

    #[test]
    fn the_last_commit_of_a_queue_is_proposed_once() {
        let coalescer = coalescer();
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
        let coalescer = coalescer();
        coalescer.add("g", "T", 0, 5);
        coalescer.add("g", "T", 1, 6);
        let taken = coalescer.drain_with(|taken| taken).unwrap();
        coalescer.add("g", "T", 0, 7);
        coalescer.put_back(taken);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 7), ("T".to_owned(), 1, 6)]);
    }

    #[test]
    fn superseded_commits_are_forgotten() {
        let coalescer = coalescer();
        coalescer.add("g", "T", 0, 5);
        coalescer.add("g", "U", 0, 6);
        coalescer.add("h", "T", 0, 7);
        coalescer.remove("g", "T", 0);
        coalescer.remove("g", "T", 0);
        coalescer.remove_group("h");
        assert_eq!(drained(&coalescer), [("U".to_owned(), 0, 6)]);
    }

    #[test]
    fn what_comes_back_does_not_follow_an_acknowledged_commit() {
        let coalescer = coalescer();
        coalescer.add("g", "T", 0, 5);
        coalescer.add("g", "T", 1, 6);
        coalescer.add("h", "T", 0, 7);
        let taken = coalescer.drain_with(|taken| taken).unwrap();
        coalescer.remove("g", "T", 0);
        coalescer.remove_group("h");
        coalescer.put_back(taken);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 1, 6)]);
        coalescer.add("g", "T", 0, 8);
        let taken = coalescer.drain_with(|taken| taken).unwrap();
        coalescer.put_back(taken);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 8)], "nothing is remembered for ever");
    }

    #[test]
    fn what_comes_back_does_not_follow_what_was_taken_later() {
        let coalescer = coalescer();
        coalescer.add("g", "T", 0, 5);
        let first = coalescer.drain_with(|taken| taken).unwrap();
        coalescer.add("g", "T", 0, 7);
        let second = coalescer.drain_with(|taken| taken).unwrap();
        coalescer.put_back(first);
        assert!(coalescer.is_empty());
        coalescer.put_back(second);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 7)]);
    }

    #[test]
    fn a_drain_is_bounded_by_count_and_by_bytes() {
        let coalescer = coalescer();
        for queue_id in 0..10_000 {
            coalescer.add("g", "T", queue_id, 1);
        }
        assert_eq!([(); 4].map(|()| drained(&coalescer).len()), [4096, 4096, 1808, 0]);
        let long = "t".repeat(100_000);
        for queue_id in 0..20 {
            coalescer.add("g", &long, queue_id, 1);
            coalescer.add("h", "T", queue_id, 1);
        }
        assert_eq!([(); 3].map(|()| drained(&coalescer).len()), [10, 30, 0]);
        assert_eq!((coalescer.len(), coalescer.lock().bytes), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded_by_bytes() {
        let coalescer = coalescer();
        let long = "t".repeat(10 << 20);
        for queue_id in 0..10 {
            coalescer.add("g", &long, queue_id, 1);
        }
        assert_eq!(coalescer.len(), 6);
        coalescer.add("g", &long, 0, 2);
        coalescer.remove("g", &long, 1);
        coalescer.add("g", &long, 9, 3);
        assert_eq!(coalescer.len(), 6);
    }

    #[test]
    fn the_queues_that_a_query_asks_about_are_taken_alone() {
        let coalescer = coalescer();
        for queue_id in 0..3 {
            coalescer.add("g", "T", queue_id, 5);
        }
        let queue = |queue_id| GroupQueue { group: "g".to_owned(), topic: "T".to_owned(), queue_id };
        assert!(coalescer.waits_for(&queue(1)));
        let taken = coalescer.drain_queues_with(&[queue(1), queue(7)], |taken| taken).unwrap();
        assert_eq!(taken.commits().iter().map(|commit| commit.queue_id).collect::<Vec<_>>(), [1]);
        assert!(!coalescer.waits_for(&queue(1)));
        assert_eq!(coalescer.len(), 2);
    }

    #[test]
    fn offsets_of_a_member_that_was_cut_off_are_dropped() {
        let clock = Arc::new(SimClock::new(0));
        let coalescer = OffsetCoalescer::new(clock.clone(), Some(OffsetCoalescer::MAX_AGE));
        coalescer.add("g", "T", 0, 5);
        clock.advance(Duration::from_secs(1));
        coalescer.add("g", "T", 1, 6);
        let taken = coalescer.drain_with(|taken| taken).unwrap();
        assert_eq!(taken.commits().len(), 2);
        clock.advance(Duration::from_millis(1500));
        coalescer.put_back(taken);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 1, 6)], "coming back makes nothing younger");
    }

    #[test]
    fn after_a_stall_nothing_old_is_taken_for_new() {
        let clock = Arc::new(SimClock::new(0));
        let coalescer = OffsetCoalescer::new(clock.clone(), Some(OffsetCoalescer::MAX_AGE));
        coalescer.add("g", "T", 0, 5);
        let out = coalescer.drain_with(|taken| taken).unwrap();
        coalescer.add("g", "T", 1, 5);
        coalescer.note_stall();
        coalescer.put_back(out);
        coalescer.add("g", "T", 2, 5);
        assert!(coalescer.is_empty() && coalescer.is_stalled());
        clock.advance(OffsetCoalescer::AFTER_STALL);
        assert!(!coalescer.is_stalled());
        coalescer.add("g", "T", 2, 7);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 2, 7)]);
    }

    fn commit(offset: u64) -> OffsetCommit {
        OffsetCommit { group: "g".to_owned(), topic: "T".to_owned(), queue_id: 0, offset: QueueOffset(offset) }
    }

    /// A client that has turned from one member to another: what it said to the first comes to the leader last.
    #[test]
    fn what_came_to_another_member_does_not_take_back_what_came_later() {
        let clock = Arc::new(SimClock::new(0));
        let coalescer = OffsetCoalescer::new(clock.clone(), Some(OffsetCoalescer::MAX_AGE));
        clock.advance(Duration::from_secs(10));
        coalescer.add("g", "T", 0, 9);
        coalescer.add_forwarded("g", "T", 0, 5, Duration::from_millis(400));
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 9)], "what waits here is younger");
        coalescer.add_forwarded("g", "T", 0, 5, Duration::from_millis(400));
        clock.advance(Duration::from_millis(2));
        coalescer.note_applied(&[commit(9)]);
        assert_eq!(drained(&coalescer), [], "it was on its way when the older one came");
        coalescer.add_forwarded("g", "T", 0, 12, Duration::from_millis(400));
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 12)], "forward is never wrong");
        clock.advance(Duration::from_millis(100));
        coalescer.add("g", "T", 0, 3);
        assert_eq!(drained(&coalescer), [("T".to_owned(), 0, 3)], "a client may go back");
        clock.advance(OffsetCoalescer::REMEMBERED + Duration::from_millis(1));
        coalescer.forget_applied();
        assert!(coalescer.lock().applied.is_empty());
    }

    /// A member that comes to lead has offsets of its own that wait, and has applied younger ones.
    #[test]
    fn a_new_leader_does_not_take_back_what_it_has_applied() {
        let clock = Arc::new(SimClock::new(0));
        let coalescer = OffsetCoalescer::new(clock.clone(), Some(OffsetCoalescer::MAX_AGE));
        coalescer.add("g", "T", 0, 5);
        clock.advance(Duration::from_millis(100));
        coalescer.note_applied(&[commit(9)]);
        let queue = GroupQueue { group: "g".to_owned(), topic: "T".to_owned(), queue_id: 0 };
        assert!(coalescer.drain_queues_with(&[queue], |taken| taken).is_none());
    }
}
