//! Raft mode: frames appended, truncated and written again, by a leader and by a follower, cut off anywhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raftmq_model::command_record::CommandRecord;
use raftmq_model::message_codec::{self, StoredMessage};
use raftmq_sim::SimMachine;
use raftmq_sim::disk::{Faults, Kind, Lies};
use raftmq_store::{
    AppendEntry, Appended, AppliedPoint, Frame, FrameHeader, FrameId, FrameKind, LogRecord, ProposalRecord, RaftStore,
    StoreConfig, records,
};

use crate::expected_queues::{check_queues, queues_of};
use crate::points::{LOST, Sabotage, Scenario, Then, check_on_platter, every_point, every_point_of_recovery, loss};
use crate::support::{self, batch};

const MAX_BODY_BYTES: usize = 20_000;

fn config() -> StoreConfig {
    support::config(MAX_BODY_BYTES)
}

/// One record of a proposal.
#[derive(Clone, Copy)]
enum Record {
    /// Topic, queue, number of messages, bytes of each body.
    Messages(&'static str, i32, usize, usize),
    Command(&'static [u8]),
}

use Record::{Command, Messages};

#[derive(Clone)]
enum Step {
    /// A new leader's term begins: numbering of queues starts from the consume queues, and a blank entry.
    Lead(u64),
    Membership(&'static [u8]),
    Propose(&'static [Record]),
    /// Frames as a leader sends them.
    Follow(Vec<Bytes>),
    Write,
    /// Everything written is handed to the flusher, and acknowledged when that says so.
    Flush,
    /// The flusher is asked, but gets no time yet.
    FlushLater,
    /// Everything acknowledged is dispatched to the consume queues.
    Apply,
    /// Entries behind this index are taken back.
    Truncate(u64),
    Second,
    Reopen,
}

/// An entry without what only the append fills.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    id: FrameId,
    bodies: Vec<Vec<u8>>,
}

#[derive(Clone, Default)]
struct History {
    submitted: u64,
    /// Every log that this store was ever told to have, the present one last. A crash may leave a prefix of any.
    timelines: Vec<Vec<Content>>,
    /// Frames from index 0 on that are acknowledged.
    acknowledged: Vec<Bytes>,
    /// Entries that were handed to the consume queues.
    applied: usize,
}

impl History {
    fn present(&mut self) -> &mut Vec<Content> {
        if self.timelines.is_empty() {
            self.timelines.push(Vec::new());
        }
        self.timelines.last_mut().expect("there is one now")
    }
}

struct Raft {
    script: Vec<Step>,
    acknowledge_before_flush: bool,
    /// Recoveries that found one; a suite that never met any would prove little.
    torn_tails: AtomicU64,
}

impl Raft {
    fn new(script: Vec<Step>) -> Raft {
        Raft { script, acknowledge_before_flush: false, torn_tails: AtomicU64::new(0) }
    }
}

/// A store and what is under way in it.
struct Running<'a> {
    store: RaftStore,
    machine: &'a SimMachine,
    acknowledge_before_flush: bool,
    /// Ends of log that the flusher has reported, as numbers of entries.
    flushed_entries: Arc<Mutex<usize>>,
    term: u64,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn open(machine: &SimMachine) -> Result<RaftStore, String> {
    RaftStore::open(config(), machine.seams()).map_err(text)
}

impl<'a> Running<'a> {
    fn open(machine: &'a SimMachine, acknowledge_before_flush: bool) -> Result<Running<'a>, String> {
        let flushed_entries = Arc::new(Mutex::new(0));
        Ok(Running { store: open(machine)?, machine, acknowledge_before_flush, flushed_entries, term: 1 })
    }

    fn next_id(&self) -> FrameId {
        let index = self.store.writer.last().map_or(0, |last| last.index + 1);
        FrameId { term: self.term, leader: 0, index }
    }

    fn append(&mut self, history: &mut History, bodies: Vec<Vec<u8>>, entry: AppendEntry<'_>) -> Result<(), String> {
        let id = match &entry {
            AppendEntry::Blank(id) | AppendEntry::Membership(id, _) | AppendEntry::Proposal(id, _) => *id,
            AppendEntry::Frame(bytes) => content_of(bytes)?.id,
        };
        history.present().push(Content { id, bodies });
        let mut appended: Vec<Appended> = Vec::new();
        self.store.writer.append(entry, &mut appended).map_err(text)
    }

    fn propose(&mut self, history: &mut History, proposal: &[Record]) -> Result<(), String> {
        let (mut proposed, mut bodies) = (Vec::new(), Vec::new());
        for record in proposal {
            match *record {
                Messages(topic, queue, count, body_bytes) => {
                    let ids: Vec<u64> = (history.submitted..).take(count).collect();
                    history.submitted += count as u64;
                    bodies.extend(ids.iter().map(|id| support::body_of(*id, body_bytes)));
                    proposed.push(ProposalRecord::Messages(batch(topic, queue, &ids, body_bytes)));
                }
                Command(body) => {
                    let mut bytes = Vec::new();
                    CommandRecord { kind: 1, version: 1, body }.encode(&mut bytes);
                    bodies.push(body.to_vec());
                    proposed.push(ProposalRecord::Command(bytes));
                }
            }
        }
        self.append(history, bodies, AppendEntry::Proposal(self.next_id(), &mut proposed))
    }

    fn ask_flusher(&mut self, history: &mut History) -> Result<(), String> {
        let entries = history.present().len();
        let reached = self.flushed_entries.clone();
        if self.acknowledge_before_flush {
            *reached.lock().expect("no panic") = entries;
            self.acknowledge(history)?;
        }
        let done = move |result: Result<(), _>| {
            if result.is_ok() {
                let mut reached = reached.lock().expect("no panic");
                *reached = entries.max(*reached);
            }
        };
        self.store.flusher.flush_to(self.store.log.end(), Box::new(done));
        Ok(())
    }

    /// Notes what the flusher has called durable.
    fn acknowledge(&mut self, history: &mut History) -> Result<(), String> {
        let reached = *self.flushed_entries.lock().expect("no panic");
        if reached > history.acknowledged.len() {
            let frames = read(&self.store, history.acknowledged.len() as u64, reached as u64)?;
            history.acknowledged.extend(frames.into_iter().map(|frame| frame.bytes));
        }
        Ok(())
    }

    /// Dispatches entries that were not yet, up to `entries`.
    fn apply(&mut self, history: &mut History, entries: usize) -> Result<(), String> {
        let frames = read(&self.store, history.applied as u64, entries as u64)?;
        for frame in &frames {
            for message in messages(frame)? {
                self.store.queues.dispatch(&message).map_err(text)?;
            }
            let end = self.store.entries.end_of(frame.header.id.index).ok_or("an entry without an end")?;
            self.store.queues.set_dispatched(end, Some(AppliedPoint { id: frame.header.id, end }));
        }
        history.applied = history.applied.max(entries);
        Ok(())
    }

    fn truncate(&mut self, history: &mut History, last_kept: u64) -> Result<(), String> {
        self.store.flusher.barrier(Box::new(|_| {}));
        self.machine.spawn.run_until_idle();
        self.acknowledge(history)?;
        let kept = last_kept as usize + 1;
        history.acknowledged.truncate(kept);
        // From the call on, whatever becomes of it, nothing behind may be read.
        *self.flushed_entries.lock().expect("no panic") = history.acknowledged.len();
        self.store.writer.truncate_after(Some(last_kept)).map_err(text)?;
        let shorter = history.present()[..kept].to_vec();
        history.timelines.push(shorter);
        Ok(())
    }

    fn step(&mut self, step: &Step, history: &mut History) -> Result<(), String> {
        match step {
            Step::Lead(term) => {
                self.term = *term;
                self.store.writer.reset_queue_offsets();
                self.append(history, Vec::new(), AppendEntry::Blank(self.next_id()))?;
            }
            Step::Membership(bytes) => {
                let id = self.next_id();
                self.append(history, vec![bytes.to_vec()], AppendEntry::Membership(id, bytes))?;
            }
            Step::Propose(proposal) => self.propose(history, proposal)?,
            Step::Follow(frames) => {
                for frame in frames {
                    let content = content_of(frame)?;
                    self.append(history, content.bodies, AppendEntry::Frame(frame))?;
                }
            }
            Step::Write => drop(self.store.writer.write().map_err(text)?),
            Step::FlushLater => self.ask_flusher(history)?,
            Step::Flush => {
                self.store.writer.write().map_err(text)?;
                self.ask_flusher(history)?;
                self.machine.spawn.run_until_idle();
                self.acknowledge(history)?;
            }
            Step::Apply => self.apply(history, history.acknowledged.len())?,
            Step::Truncate(last_kept) => self.truncate(history, *last_kept)?,
            Step::Second => {
                self.machine.clock.advance(Duration::from_millis(1001));
                self.machine.spawn.run_until_idle();
            }
            Step::Reopen => unreachable!("the scenario opens stores"),
        }
        Ok(())
    }
}

fn close(running: Running<'_>) -> Result<(), String> {
    let Running { store, machine, .. } = running;
    let RaftStore { writer, flusher, queues, log, entries, .. } = store;
    writer.close().map_err(text)?;
    drop((flusher, queues, log, entries));
    machine.spawn.run_until_idle();
    Ok(())
}

/// Entries `from..to`, however many answers it takes.
fn read(store: &RaftStore, from: u64, to: u64) -> Result<Vec<Frame>, String> {
    let mut frames: Vec<Frame> = Vec::new();
    while from + (frames.len() as u64) < to {
        let more = store.entries.read(from + frames.len() as u64, to, 1 << 20).map_err(text)?;
        assert!(!more.is_empty(), "at least one entry");
        frames.extend(more);
    }
    Ok(frames)
}

/// All frames of a store, from index 0.
fn read_all(store: &RaftStore) -> Result<Vec<Frame>, String> {
    match store.entries.last() {
        Some(last) => read(store, 0, last.index + 1),
        None => Ok(Vec::new()),
    }
}

fn bodies_of(kind: FrameKind, body: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    match kind {
        FrameKind::Blank => Ok(Vec::new()),
        FrameKind::Membership => Ok(vec![body.to_vec()]),
        FrameKind::Data => records(body)
            .map(|record| match record.map_err(text)?.1 {
                LogRecord::Message(message) => Ok(message.body.to_vec()),
                LogRecord::Command(command) => Ok(command.body.to_vec()),
            })
            .collect(),
    }
}

fn content_of(frame: &[u8]) -> Result<Content, String> {
    let header = FrameHeader::decode(frame).ok_or("no frame header")?;
    Ok(Content { id: header.id, bodies: bodies_of(header.kind, &frame[64..])? })
}

fn messages(frame: &Frame) -> Result<Vec<StoredMessage<'_>>, String> {
    let body = &frame.bytes[64..];
    let mut found = Vec::new();
    if frame.header.kind == FrameKind::Data {
        for record in records(body) {
            if let (_, LogRecord::Message(message)) = record.map_err(text)? {
                found.push(message);
            }
        }
    }
    Ok(found)
}

/// Compares what lies in the store with the history; the consume queues as far as they say they are applied.
fn check(store: &RaftStore, history: &History) -> Result<Vec<Frame>, String> {
    let frames = read_all(store)?;
    for (index, acknowledged) in history.acknowledged.iter().enumerate() {
        match frames.get(index) {
            Some(frame) if frame.bytes == *acknowledged => {}
            Some(frame) => return Err(format!("{LOST}: acknowledged entry {index} is now {:?}", frame.header)),
            None => return Err(format!("{LOST}: entry {index} was acknowledged, {} are left", frames.len())),
        }
    }
    let contents: Vec<Content> = frames
        .iter()
        .map(|frame| Ok(Content { id: frame.header.id, bodies: bodies_of(frame.header.kind, &frame.body())? }))
        .collect::<Result<_, String>>()?;
    if !contents.is_empty() && !history.timelines.iter().any(|timeline| timeline.starts_with(&contents)) {
        let ids: Vec<_> = contents.iter().map(|content| (content.id.term, content.id.index)).collect();
        return Err(format!("PHANTOM: no log that ever was begins with {ids:?}"));
    }
    let applied = store.queues.applied();
    let applied_entries = applied.map_or(0, |point| point.id.index as usize + 1);
    if applied_entries > frames.len() || applied_entries > history.applied {
        let (frames, handed) = (frames.len(), history.applied);
        return Err(format!("{applied_entries} entries count as applied; {frames} are there, {handed} were applied"));
    }
    if let Some(point) = applied
        && frames[applied_entries - 1].header.id != point.id
    {
        return Err(format!("applied point {:?} is not the entry there", point.id));
    }
    let mut dispatched = Vec::new();
    for frame in &frames[..applied_entries] {
        dispatched.extend(messages(frame)?);
    }
    check_queues(&queues_of(dispatched.into_iter())?, &store.queues)?;
    Ok(frames)
}

impl Raft {
    fn steps(&self, machine: &SimMachine, history: &mut History) -> Result<(), String> {
        let mut running = Running::open(machine, self.acknowledge_before_flush)?;
        for step in &self.script {
            if matches!(step, Step::Reopen) {
                close(running)?;
                running = Running::open(machine, self.acknowledge_before_flush)?;
                history.applied = running.store.queues.applied().map_or(0, |point| point.id.index as usize + 1);
                continue;
            }
            let stepped = running.step(step, history);
            if stepped.is_err() && !machine.disk.is_alive() {
                return stepped;
            }
            stepped.unwrap_or_else(|error| panic!("{error} though the disk is well"));
        }
        Ok(())
    }

    fn recover_and(&self, machine: &SimMachine, history: &mut History, then: Then) -> Result<(), String> {
        let mut running = Running::open(machine, false).map_err(|error| {
            let lost = if history.acknowledged.is_empty() { "" } else { LOST };
            format!("{lost} open: {error}")
        })?;
        self.torn_tails.fetch_add(u64::from(running.store.report.cut_bytes > 0), Ordering::Relaxed);
        let frames = check(&running.store, history)?;
        // openraft finds these entries present and acknowledges them without any I/O.
        let contents = frames.iter().map(|frame| content_of(&frame.bytes)).collect::<Result<_, _>>()?;
        history.timelines = vec![contents];
        history.acknowledged = frames.iter().map(|frame| frame.bytes.clone()).collect();
        if then == Then::GoOn {
            self.go_on(&mut running, history)?;
            close(running)?;
            let store = open(machine).map_err(|error| format!("reopen: {error}"))?;
            let frames = check(&store, history)?;
            if frames.len() != history.acknowledged.len() {
                return Err(format!("{} entries after a clean close", frames.len()));
            }
        }
        // Dropped only once the process is dead: a drop must not save what a kill would lose.
        machine.disk.kill();
        Ok(())
    }

    /// A new leader's term in the recovered store.
    fn go_on(&self, running: &mut Running<'_>, history: &mut History) -> Result<(), String> {
        history.applied = running.store.queues.applied().map_or(0, |point| point.id.index as usize + 1);
        running.apply(history, history.acknowledged.len())?;
        let term = history.present().last().map_or(1, |last| last.id.term + 1);
        const PROPOSAL: &[Record] =
            &[Messages("A", 0, 2, 50), Messages("B", 1, 1, 19_000), Command(b"go on"), Messages("C", 0, 1, 9)];
        for step in [Step::Lead(term), Step::Propose(PROPOSAL), Step::Flush, Step::Apply, Step::Second] {
            running.step(&step, history)?;
        }
        let frames = read_all(&running.store)?;
        let mut found = Vec::new();
        for frame in &frames {
            found.extend(messages(frame)?);
        }
        check_queues(&queues_of(found.into_iter())?, &running.store.queues)
    }
}

impl Scenario for Raft {
    type History = History;

    fn run(&self, machine: &SimMachine, history: &mut History) {
        let ended = self.steps(machine, history);
        assert!(ended.is_ok() || !machine.disk.is_alive(), "{ended:?} though the disk is well");
    }

    fn recover(&self, machine: &SimMachine, history: &mut History, then: Then) -> Result<(), String> {
        let recovered = self.recover_and(machine, history, then);
        machine.disk.kill();
        recovered
    }
}

/// A leader: entries of all kinds, three segments, a truncation within a segment and one across segments.
fn leader() -> Raft {
    let script = vec![
        Step::Lead(1),
        Step::Membership(b"n0,n1,n2"),
        Step::Write,
        Step::FlushLater,
        Step::Propose(&[Messages("A", 0, 2, 100), Command(b"topic A"), Messages("B", 0, 1, 40)]),
        Step::Flush,
        Step::Apply,
        Step::Propose(&[Messages("A", 1, 3, 18_000)]),
        Step::Propose(&[Messages("B", 0, 1, 700)]),
        Step::Flush,
        Step::Second,
        Step::Apply,
        // Written, partly flushed, never committed: the next leader takes them back.
        Step::Propose(&[Messages("A", 0, 1, 600)]),
        Step::Flush,
        Step::Propose(&[Messages("A", 0, 3, 19_000)]),
        Step::Propose(&[Messages("B", 1, 2, 2_000)]),
        Step::Write,
        Step::Truncate(4),
        Step::Lead(3),
        Step::Propose(&[Messages("A", 0, 1, 30)]),
        Step::Flush,
        Step::Second,
        Step::Apply,
        Step::Reopen,
        Step::Apply,
        Step::Lead(4),
        Step::Propose(&[Messages("A", 1, 3, 19_500)]),
        Step::Flush,
        Step::Propose(&[Messages("A", 1, 3, 19_500)]),
        Step::Propose(&[Messages("B", 1, 1, 10)]),
        Step::Flush,
        Step::Second,
        Step::Truncate(8),
        Step::Apply,
        Step::Lead(5),
        Step::Propose(&[Command(b"group G")]),
        Step::Flush,
        Step::Apply,
        Step::Second,
        Step::Propose(&[Messages("B", 0, 4, 50), Messages("A", 1, 1, 60)]),
        Step::Flush,
    ];
    Raft::new(script)
}

/// Frames that a leader makes of a script, on a machine of its own.
fn frames_of(script: Vec<Step>) -> Vec<Bytes> {
    let machine = support::machine(9);
    let mut running = Running::open(&machine, false).expect("an empty disk opens");
    let mut history = History::default();
    for step in &script {
        running.step(step, &mut history).expect("nothing goes wrong");
    }
    read_all(&running.store).expect("frames read back").into_iter().map(|frame| frame.bytes).collect()
}

/// A follower: takes a leader's frames, then another's that differ from the fourth entry on and are shorter.
fn follower() -> Raft {
    let common = vec![
        Step::Lead(1),
        Step::Propose(&[Messages("A", 0, 2, 300)]),
        Step::Propose(&[Messages("A", 0, 1, 19_000), Messages("B", 0, 1, 18_000)]),
        Step::Propose(&[Messages("B", 0, 2, 16_000)]),
        Step::Flush,
        Step::Apply,
    ];
    let then = |steps: &[Step]| frames_of([common.clone(), steps.to_vec()].concat());
    let old = then(&[
        Step::Propose(&[Messages("A", 0, 1, 5_000)]),
        Step::Propose(&[Messages("A", 0, 2, 19_000)]),
        Step::Propose(&[Messages("A", 0, 1, 100)]),
        Step::Flush,
    ]);
    let new = then(&[
        Step::Lead(2),
        Step::Propose(&[Messages("B", 0, 1, 4_000)]),
        Step::Flush,
        Step::Apply,
        Step::Propose(&[Messages("A", 1, 1, 4_000)]),
        Step::Propose(&[Messages("A", 1, 3, 19_000)]),
        Step::Flush,
    ]);
    let script = vec![
        Step::Follow(old[..2].to_vec()),
        Step::Write,
        Step::FlushLater,
        Step::Follow(old[2..4].to_vec()),
        Step::Flush,
        Step::Apply,
        Step::Second,
        Step::Follow(old[4..6].to_vec()),
        Step::Flush,
        Step::Follow(old[6..].to_vec()),
        Step::Write,
        Step::Truncate(3),
        Step::Follow(new[4..5].to_vec()),
        Step::Flush,
        Step::Follow(new[5..7].to_vec()),
        Step::Flush,
        Step::Apply,
        Step::Second,
        Step::Follow(new[7..].to_vec()),
        Step::Flush,
    ];
    Raft::new(script)
}

fn green(name: &str, scenario: &Raft) {
    let tally = every_point(scenario);
    let torn_tails = scenario.torn_tails.load(Ordering::Relaxed);
    assert!(torn_tails > 100, "recovery had to cut {torn_tails} times");
    println!("{name}: {tally}, {torn_tails} torn tails");
}

#[test]
fn raft_leader_keeps_what_it_acknowledged_wherever_it_is_killed() {
    green("raft leader", &leader());
}

#[test]
fn raft_follower_keeps_what_it_acknowledged_wherever_it_is_killed() {
    green("raft follower", &follower());
}

#[test]
fn raft_recovery_may_be_killed_at_every_call() {
    println!("raft, recovery killed: {}", every_point_of_recovery(&leader(), 41));
}

#[test]
fn control_without_fsync_the_suite_is_red() {
    for running in [Lies::Everybody, Lies::Below(config().commit_log_dir)] {
        println!("raft, found: {}", loss(&leader(), &Sabotage { running, recovering: Lies::Nobody }));
    }
}

#[test]
fn control_with_the_answer_before_the_fsync_the_suite_is_red() {
    let hasty = Raft { acknowledge_before_flush: true, ..leader() };
    println!("raft, found: {}", loss(&hasty, &Sabotage::default()));
}

#[test]
fn control_with_a_recovery_that_does_not_sync_what_it_kept_the_suite_is_red() {
    for recovering in [Lies::Everybody, Lies::Below(config().commit_log_dir)] {
        println!("raft, found: {}", loss(&leader(), &Sabotage { running: Lies::Nobody, recovering }));
    }
}

/// Every failing fsync and write: nothing is acknowledged after it, and what was acknowledged before is there.
#[test]
fn raft_store_stops_at_the_first_failing_write_or_fsync() {
    let scenario = leader();
    let undisturbed = support::machine(0);
    scenario.run(&undisturbed, &mut History::default());
    let mut poisoned = 0;
    for (kind, evict) in [(Kind::SyncData, false), (Kind::SyncData, true), (Kind::Write, false)] {
        for nth in 0..undisturbed.disk.count(kind) {
            let machine = support::machine(0);
            let (failing_sync, failing_write) = match kind {
                Kind::SyncData => (Some(nth), None),
                _ => (None, Some(nth)),
            };
            let faults = Faults { failing_sync, failing_write, evict_after_failed_sync: evict, ..Faults::default() };
            machine.disk.set_faults(faults);
            let mut history = History::default();
            poisoned += u64::from(run_until_error(&scenario, &machine, &mut history));
            for seed in 0..4 {
                let cut = machine.fork();
                cut.disk.power_cut(seed);
                let recovered = scenario.recover(&cut.restart(), &mut history.clone(), Then::GoOn);
                recovered.unwrap_or_else(|error| panic!("{kind:?} {nth} failed (evict {evict}), cut {seed}: {error}"));
                // The page cache outlives the process. What a restarted one finds there counts as acknowledged, and
                // its fdatasync says Ok whether or not it ever reached the platter.
                let up = machine.fork().restart();
                let mut found = history.clone();
                let restarted = scenario.recover(&up, &mut found, Then::Stop).and_then(|()| {
                    check_on_platter(&up)?;
                    up.disk.power_cut(seed);
                    scenario.recover(&up.restart(), &mut found, Then::GoOn)
                });
                restarted.unwrap_or_else(|error| {
                    panic!("{kind:?} {nth} failed (evict {evict}), restarted, then cut {seed}: {error}")
                });
            }
        }
    }
    assert!(poisoned > 10, "failures reached the log itself");
    println!("raft: {poisoned} failing calls poisoned the log");
}

/// Steps until one fails; returns whether the log was poisoned, and insists that it then stays so.
fn run_until_error(scenario: &Raft, machine: &SimMachine, history: &mut History) -> bool {
    let Ok(mut running) = Running::open(machine, false) else { return false };
    for step in scenario.script.iter().filter(|step| !matches!(step, Step::Reopen)) {
        if running.step(step, history).is_err() || running.store.log.is_poisoned() {
            break;
        }
    }
    let poisoned = running.store.log.is_poisoned();
    if poisoned {
        running.acknowledge(history).expect("what was flushed before can be read");
        let before = history.acknowledged.len();
        let _ = running.step(&Step::Lead(99), &mut history.clone());
        let mut after = history.clone();
        assert!(running.step(&Step::Flush, &mut after).is_err() || after.acknowledged.len() == before);
    }
    machine.disk.kill();
    poisoned
}

/// Zeros where entries were taken back are durable before anything says that nothing lies there.
#[test]
fn what_was_truncated_does_not_come_back_after_a_clean_close() {
    let machine = support::machine(4);
    let mut history = History::default();
    let mut running = Running::open(&machine, false).unwrap();
    let script = [
        Step::Lead(1),
        Step::Propose(&[Messages("A", 0, 1, 100)]),
        Step::Propose(&[Messages("A", 0, 3, 700)]),
        Step::Flush,
        Step::Second,
        Step::Truncate(1),
    ];
    for step in &script {
        running.step(step, &mut history).unwrap();
    }
    let end = running.store.log.end().0 as usize;
    close(running).unwrap();
    for seed in 0..8 {
        let cut = machine.fork();
        cut.disk.power_cut(seed);
        let up = cut.restart();
        let store = open(&up).unwrap();
        assert_eq!(read_all(&store).unwrap().len(), 2, "cut {seed}");
        let segment = config().commit_log_dir.join(format!("{:020}", 0));
        assert!(up.disk.files()[&segment][end..].iter().all(|byte| *byte == 0), "cut {seed}");
    }
}

/// A message's record decodes to the same bytes wherever it is read.
#[test]
fn frames_hold_records_that_say_where_they_lie() {
    let machine = support::machine(3);
    let mut history = History::default();
    let mut running = Running::open(&machine, false).unwrap();
    for step in [Step::Lead(1), Step::Propose(&[Messages("A", 0, 3, 100)]), Step::Flush] {
        running.step(&step, &mut history).unwrap();
    }
    let frame = read(&running.store, 1, 2).unwrap().remove(0);
    for message in messages(&frame).unwrap() {
        let bytes = running.store.log.slice(message.physical_offset, message.size_bytes).unwrap();
        assert_eq!(message_codec::decode(&bytes).unwrap(), message);
    }
}
