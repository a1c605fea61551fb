//! Classic mode: RocketMQ's files, written by one process and cut off anywhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raftmq_model::message_codec;
use raftmq_sim::SimMachine;
use raftmq_sim::disk::{Faults, Kind, Lies};
use raftmq_store::{AppendError, ClassicStore, EncodedMessages, StoreConfig};

use crate::expected_queues::{check_queues, queues_of};
use crate::points::{LOST, Sabotage, Scenario, Then, check_on_platter, every_point, every_point_of_recovery, loss};
use crate::support::{self, batch, read_classic};

const MAX_BODY_BYTES: usize = 20_000;

/// Topic, queue, number of messages, bytes of each body.
type Batch = (&'static str, i32, usize, usize);

enum Step {
    /// One append of these client batches, a flush, the acknowledgement, the dispatch.
    Send(&'static [Batch]),
    /// The background workers get a second.
    Second,
    Reopen,
}

/// Three segments, rolled within a batch and between batches, two client sessions.
const SCRIPT: &[Step] = &[
    Step::Send(&[("A", 0, 1, 100)]),
    Step::Send(&[("A", 0, 2, 300), ("A", 1, 1, 5_000), ("B", 0, 3, 40)]),
    Step::Second,
    Step::Send(&[("A", 1, 4, 18_000)]),
    Step::Send(&[("B", 0, 1, 19_000), ("A", 0, 1, 700)]),
    Step::Send(&[("B", 1, 2, 9_000)]),
    Step::Second,
    Step::Send(&[("A", 0, 2, 1_500)]),
    Step::Reopen,
    Step::Send(&[("A", 0, 1, 10)]),
    Step::Send(&[("B", 0, 3, 19_500), ("B", 1, 1, 60)]),
    Step::Second,
    Step::Send(&[("A", 1, 3, 19_900)]),
    Step::Send(&[("A", 0, 1, 333)]),
];

/// What the clients know.
#[derive(Clone, Default)]
struct History {
    submitted: u64,
    /// Acknowledged records by position.
    acknowledged: BTreeMap<u64, Vec<u8>>,
}

impl History {
    fn encode(&mut self, (topic, queue, count, body_bytes): Batch) -> EncodedMessages {
        let first = self.submitted;
        self.submitted += count as u64;
        batch(topic, queue, &(first..self.submitted).collect::<Vec<_>>(), body_bytes)
    }

    fn acknowledge(&mut self, bytes: &[u8]) {
        for record in raftmq_store::records(bytes).flatten() {
            let (at, raftmq_store::LogRecord::Message(message)) = record else { continue };
            let record = &bytes[at as usize..][..message.size_bytes as usize];
            self.acknowledged.insert(message.physical_offset.0, record.to_vec());
        }
    }
}

#[derive(Default)]
struct Classic {
    acknowledge_before_flush: bool,
    /// Recoveries that found one; a suite that never met any would prove little.
    torn_tails: AtomicU64,
}

fn config() -> StoreConfig {
    support::config(MAX_BODY_BYTES)
}

impl Classic {
    fn send(&self, store: &mut ClassicStore, batches: &[Batch], history: &mut History) -> Result<(), String> {
        let mut batches: Vec<_> = batches.iter().map(|batch| history.encode(*batch)).collect();
        let mut appended = Vec::new();
        store.writer.append(&mut batches, &mut appended).map_err(|error| error.to_string())?;
        if self.acknowledge_before_flush {
            batches.iter().for_each(|batch| history.acknowledge(&batch.bytes));
        }
        store.writer.flush().map_err(|error| error.to_string())?;
        for (batch, appended) in batches.iter().zip(&appended) {
            history.acknowledge(&batch.bytes);
            dispatch(store, &batch.bytes)?;
            assert!(history.acknowledged.contains_key(&appended.first.0), "the answer names the record's position");
        }
        store.queues.set_dispatched(store.writer.end(), None);
        Ok(())
    }

    fn steps(&self, machine: &SimMachine, history: &mut History) -> Result<(), String> {
        let open = || ClassicStore::open(config(), machine.seams()).map_err(|error| error.to_string());
        let mut store = open()?;
        for step in SCRIPT {
            match step {
                Step::Send(batches) => self.send(&mut store, batches, history)?,
                Step::Second => second(machine),
                Step::Reopen => {
                    let ClassicStore { writer, .. } = store;
                    writer.close().map_err(|error| error.to_string())?;
                    machine.spawn.run_until_idle();
                    store = open()?;
                }
            }
            machine.spawn.run_until_idle();
        }
        Ok(())
    }
}

fn second(machine: &SimMachine) {
    machine.clock.advance(Duration::from_millis(1001));
    machine.spawn.run_until_idle();
}

fn dispatch(store: &ClassicStore, bytes: &[u8]) -> Result<(), String> {
    for record in raftmq_store::records(bytes) {
        let (_, record) = record.map_err(|error| error.to_string())?;
        if let raftmq_store::LogRecord::Message(message) = record {
            store.queues.dispatch(&message).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Reads the whole log and compares: acknowledged records byte for byte, nothing that nobody sent, offsets dense,
/// queues equal to the log.
fn check(store: &ClassicStore, history: &mut History) -> Result<(), String> {
    let found = read_classic(&store.log)?;
    for (at, record) in &history.acknowledged {
        match found.get(at) {
            Some(bytes) if bytes == record => {}
            Some(_) => return Err(format!("{LOST}: the acknowledged record at {at} has other bytes")),
            None => {
                return Err(format!("{LOST}: no record at {at}, acknowledged; the log ends at {}", store.log.end()));
            }
        }
    }
    let mut messages = Vec::new();
    for (at, bytes) in &found {
        let message = message_codec::decode(bytes).map_err(|error| format!("record at {at}: {error}"))?;
        let id = message.body.first_chunk().map_or(u64::MAX, |id| u64::from_be_bytes(*id));
        if id >= history.submitted || message.body != support::body_of(id, message.body.len()) {
            return Err(format!("PHANTOM: record at {at} was never sent"));
        }
        messages.push(message);
    }
    check_queues(&queues_of(messages.into_iter())?, &store.queues)?;
    history.acknowledged = found.into_iter().map(|(at, bytes)| (at, bytes.to_vec())).collect();
    Ok(())
}

impl Scenario for Classic {
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

impl Classic {
    fn recover_and(&self, machine: &SimMachine, history: &mut History, then: Then) -> Result<(), String> {
        let mut store = ClassicStore::open(config(), machine.seams()).map_err(|error| {
            let lost = if history.acknowledged.is_empty() { "" } else { LOST };
            format!("{lost} open: {error}")
        })?;
        self.torn_tails.fetch_add(u64::from(store.report.cut_bytes > 0), Ordering::Relaxed);
        check(&store, history)?;
        if then == Then::GoOn {
            let honest = Classic::default();
            honest.send(&mut store, &[("A", 0, 2, 50), ("B", 1, 1, 200)], history)?;
            honest.send(&mut store, &[("C", 0, 1, 19_999), ("A", 1, 1, 20)], history)?;
            check(&store, history)?;
            store.writer.close().map_err(|error| format!("close: {error}"))?;
            drop((store.queues, store.log));
            machine.spawn.run_until_idle();
            let store = ClassicStore::open(config(), machine.seams()).map_err(|error| format!("reopen: {error}"))?;
            check(&store, history)?;
        }
        // Dropped only once the process is dead: a drop must not save what a kill would lose.
        machine.disk.kill();
        Ok(())
    }
}

#[test]
fn classic_store_keeps_what_it_acknowledged_wherever_it_is_killed() {
    let scenario = Classic::default();
    let tally = every_point(&scenario);
    let torn_tails = scenario.torn_tails.load(Ordering::Relaxed);
    assert!(torn_tails > 100, "recovery had to cut {torn_tails} times");
    println!("classic: {tally}, {torn_tails} torn tails");
}

#[test]
fn classic_recovery_may_be_killed_at_every_call() {
    let tally = every_point_of_recovery(&Classic::default(), 41);
    println!("classic, recovery killed: {tally}");
}

#[test]
fn control_without_fsync_the_suite_is_red() {
    for running in [Lies::Everybody, Lies::Below(config().commit_log_dir)] {
        let sabotage = Sabotage { running, recovering: Lies::Nobody };
        println!("classic, found: {}", loss(&Classic::default(), &sabotage));
    }
}

#[test]
fn control_with_the_answer_before_the_fsync_the_suite_is_red() {
    let hasty = Classic { acknowledge_before_flush: true, ..Classic::default() };
    println!("classic, found: {}", loss(&hasty, &Sabotage::default()));
}

#[test]
fn control_with_a_recovery_that_does_not_sync_what_it_kept_the_suite_is_red() {
    for recovering in [Lies::Everybody, Lies::Below(config().commit_log_dir)] {
        let sabotage = Sabotage { running: Lies::Nobody, recovering };
        println!("classic, found: {}", loss(&Classic::default(), &sabotage));
    }
}

/// Every failing fsync and every failing write of the script: the log is poisoned, nothing is acknowledged after
/// it, and what was acknowledged before is there after a power cut.
#[test]
fn classic_store_stops_at_the_first_failing_write_or_fsync() {
    let scenario = Classic::default();
    let undisturbed = support::machine(0);
    scenario.run(&undisturbed, &mut History::default());
    let (mut failures, mut poisoned) = (0, 0);
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
            failures += 1;
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
    println!("classic: {failures} failing calls, {poisoned} poisoned the log");
}

/// Runs sends until one fails; then every later one must fail too. Returns whether the log was poisoned.
fn run_until_error(scenario: &Classic, machine: &SimMachine, history: &mut History) -> bool {
    let Ok(mut store) = ClassicStore::open(config(), machine.seams()) else { return false };
    for step in SCRIPT {
        match step {
            Step::Send(batches) => {
                if scenario.send(&mut store, batches, history).is_err() {
                    break;
                }
            }
            Step::Second | Step::Reopen => second(machine),
        }
    }
    let poisoned = store.log.is_poisoned();
    if poisoned {
        let mut more = [batch("A", 0, &[u64::MAX], 10)];
        let refused = store.writer.append(&mut more, &mut Vec::new());
        assert!(matches!(refused, Err(AppendError::Poisoned)), "{refused:?}");
        assert!(store.writer.flush().is_err(), "a flush after a failed one must not say Ok");
    }
    machine.disk.kill();
    poisoned
}

/// The disk fills up at every possible size: an error, no panic, nothing acknowledged is lost.
#[test]
fn classic_store_on_a_full_disk_loses_nothing() {
    let scenario = Classic::default();
    let segment = config().segment_bytes;
    let mut refused = 0;
    for capacity in (0..4 * segment).step_by(16 * 512) {
        let machine = support::machine(0);
        machine.disk.set_faults(Faults { capacity_bytes: Some(capacity), ..Faults::default() });
        let mut history = History::default();
        if scenario.steps(&machine, &mut history).is_err() {
            refused += 1;
        }
        machine.disk.kill();
        for seed in 0..2 {
            let cut = machine.fork();
            cut.disk.power_cut(seed);
            let recovered = scenario.recover(&cut.restart(), &mut history.clone(), Then::GoOn);
            recovered.unwrap_or_else(|error| panic!("disk of {capacity} bytes, cut {seed}: {error}"));
        }
    }
    assert!(refused > 20, "the disk was too small {refused} times");
    println!("classic: full at {refused} sizes");
}
