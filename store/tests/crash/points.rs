//! Walks through every point at which a process can die, and every kind of what may be left of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use raftmq_sim::SimMachine;
use raftmq_sim::disk::{Call, Faults, Kind, Lies, Moment, SECTOR_BYTES};

use crate::support;

/// Subsets of unsynced sectors that are tried at each point.
const CUTS: u64 = 8;
const THREADS: u64 = 2;

/// What happens after a successful recovery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: the power is cut at once.
    Stop,
    /// The store is used, closed and opened again.
    GoOn,
}

/// A scripted use of a store, and the promises it is held to.
pub(crate) trait Scenario: Sync {
    /// What was submitted and what was acknowledged.
    type History: Clone + Default;

    /// Runs the script to its end or to the death of the process.
    fn run(&self, machine: &SimMachine, history: &mut Self::History);

    /// Opens what is left, compares it with the history, and notes that everything found counts as acknowledged
    /// from now on. The process is dead when this returns.
    fn recover(&self, machine: &SimMachine, history: &mut Self::History, then: Then) -> Result<(), String>;
}

/// Sabotage: what must turn a suite red.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sabotage {
    /// `sync_data` does nothing while the script runs.
    pub(crate) running: Lies,
    /// `sync_data` does nothing while a restarted process recovers.
    pub(crate) recovering: Lies,
}

/// A failure that says this is the loss of something acknowledged.
pub(crate) const LOST: &str = "LOST";

/// Which failures end a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seek {
    Any,
    /// The loss of something acknowledged; a store that does not open before anything was acknowledged is none.
    Loss,
}

/// How much was tried.
#[derive(Default)]
pub(crate) struct Tally {
    points: AtomicU64,
    kills: AtomicU64,
    cuts: AtomicU64,
    recoveries: AtomicU64,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            formatter,
            "{} I/O calls, {} kills, {} power cuts, {} recoveries checked",
            number(&self.points),
            number(&self.kills),
            number(&self.cuts),
            number(&self.recoveries)
        )
    }
}

/// Kills the scripted process at every call, with and without a restart before the power fails. Panics at the first
/// failure with the way to it.
pub(crate) fn every_point<S: Scenario>(scenario: &S) -> Tally {
    walk(scenario, &Sabotage::default(), Seek::Any).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The negative control: the same walk over a sabotaged store must find a loss, which is returned.
pub(crate) fn loss<S: Scenario>(scenario: &S, sabotage: &Sabotage) -> String {
    match walk(scenario, sabotage, Seek::Loss) {
        Ok(tally) => panic!("the suite does not notice: {tally}"),
        Err(loss) => loss,
    }
}

fn walk<S: Scenario>(scenario: &S, sabotage: &Sabotage, seek: Seek) -> Result<Tally, String> {
    let calls = script_calls(scenario);
    let tally = Tally::default();
    tally.points.store(calls.len() as u64, Ordering::Relaxed);
    let failure = thread::scope(|scope| {
        let walk = |worker: u64| {
            let (calls, tally) = (&calls, &tally);
            move || {
                for (at, call) in calls.iter().enumerate().filter(|(at, _)| *at as u64 % THREADS == worker) {
                    for moment in moments(call) {
                        let point = Point { scenario, sabotage, tally, at: at as u64, moment };
                        match point.walk() {
                            Err(failure) if seek == Seek::Any || failure.contains(LOST) => {
                                return Err(format!("killed {moment:?} call {at} {call:?}: {failure}"));
                            }
                            _ => {}
                        }
                    }
                }
                Ok(())
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|worker| scope.spawn(walk(worker))).collect();
        workers.into_iter().find_map(|worker| worker.join().expect("no panic at any point").err())
    });
    failure.map_or(Ok(tally), Err)
}

/// Kills recovery itself at each of its calls, after every `stride`-th point of the script and a power cut there.
pub(crate) fn every_point_of_recovery<S: Scenario>(scenario: &S, stride: usize) -> Tally {
    let calls = script_calls(scenario);
    let tally = Tally::default();
    let failure = thread::scope(|scope| {
        let walk = |worker: usize| {
            let (calls, tally) = (&calls, &tally);
            move || {
                let mut points = (0..calls.len()).step_by(stride).skip(worker).step_by(THREADS as usize);
                points.try_for_each(|at| kill_recovery(scenario, tally, at as u64))
            }
        };
        let workers: Vec<_> = (0..THREADS as usize).map(|worker| scope.spawn(walk(worker))).collect();
        workers.into_iter().find_map(|worker| worker.join().expect("no panic at any point").err())
    });
    match failure {
        Some(failure) => panic!("{failure}"),
        None => tally,
    }
}

fn kill_recovery<S: Scenario>(scenario: &S, tally: &Tally, at: u64) -> Result<(), String> {
    let machine = support::machine(at);
    let mut history = S::History::default();
    machine.disk.set_faults(Faults { kill: Some((at, Moment::Before)), ..Faults::default() });
    scenario.run(&machine, &mut history);
    machine.disk.power_cut(at);
    tally.points.fetch_add(1, Ordering::Relaxed);
    for killed_at in 0.. {
        let up = machine.fork().restart();
        up.disk.set_faults(Faults { kill: Some((killed_at, Moment::Within { sectors: 1 })), ..Faults::default() });
        let mut seen = history.clone();
        let recovered = scenario.recover(&up, &mut seen, Then::Stop);
        let calls = up.disk.calls().len() as u64;
        if calls <= killed_at {
            return recovered.map_err(|error| format!("killed at call {at}, recovery alone: {error}"));
        }
        tally.kills.fetch_add(1, Ordering::Relaxed);
        for cut in [None, Some(killed_at), Some(killed_at + 1)] {
            let again = up.fork();
            if let Some(seed) = cut {
                again.disk.power_cut(seed);
                tally.cuts.fetch_add(1, Ordering::Relaxed);
            }
            tally.recoveries.fetch_add(1, Ordering::Relaxed);
            let recovered = scenario.recover(&again.restart(), &mut history.clone(), Then::GoOn);
            recovered.map_err(|error| {
                format!("killed at call {at}, its recovery at call {killed_at}, power cut {cut:?}: {error}")
            })?;
        }
    }
    Ok(())
}

/// Whether what a process reads of log, mark and checkpoint is what a power cut leaves.
pub(crate) fn check_on_platter(machine: &SimMachine) -> Result<(), String> {
    let durable = machine.disk.durable_files();
    for (path, bytes) in machine.disk.files() {
        let counts = path.starts_with(support::config(0).commit_log_dir)
            || path.ends_with("mark")
            || path.ends_with("checkpoint");
        if counts && durable.get(&path) != Some(&bytes) {
            return Err(format!("{} is read and is not on the platter", path.display()));
        }
    }
    Ok(())
}

/// The calls of an undisturbed run.
fn script_calls<S: Scenario>(scenario: &S) -> Vec<Call> {
    let machine = support::machine(0);
    scenario.run(&machine, &mut S::History::default());
    assert!(machine.disk.is_alive(), "the script runs to its end when nothing goes wrong");
    machine.disk.calls()
}

/// When in a call to die. After a call is before the next one, as far as the disk knows; a write may also be torn.
fn moments(call: &Call) -> Vec<Moment> {
    let sectors = (call.bytes as usize).div_ceil(SECTOR_BYTES);
    match call.kind {
        Kind::Write if sectors > 2 => {
            vec![Moment::Before, Moment::Within { sectors: 1 }, Moment::Within { sectors: sectors / 2 }]
        }
        Kind::Write if sectors > 1 => vec![Moment::Before, Moment::Within { sectors: 1 }],
        _ => vec![Moment::Before],
    }
}

/// One death of the process.
struct Point<'a, S> {
    scenario: &'a S,
    sabotage: &'a Sabotage,
    tally: &'a Tally,
    at: u64,
    moment: Moment,
}

impl<S: Scenario> Point<'_, S> {
    fn walk(&self) -> Result<(), String> {
        let machine = support::machine(0);
        let mut history = S::History::default();
        let sync_data_lies = self.sabotage.running.clone();
        let kill = Some((self.at, self.moment));
        machine.disk.set_faults(Faults { kill, sync_data_lies, ..Faults::default() });
        self.scenario.run(&machine, &mut history);
        if machine.disk.is_alive() {
            return Err("the run is not a function of its seed: it made fewer calls".to_owned());
        }
        self.tally.kills.fetch_add(1, Ordering::Relaxed);
        self.cut(&machine, &history, "power fails with the process")?;
        let up = self.restart(&machine);
        self.recover(&up, &mut history, Then::Stop).map_err(|error| format!("restarted: {error}"))?;
        self.cut(&up, &history, "power fails after a restart")
    }

    fn cut(&self, machine: &SimMachine, history: &S::History, what: &str) -> Result<(), String> {
        for seed in 0..CUTS {
            let cut = machine.fork();
            cut.disk.power_cut(self.at * CUTS + seed);
            self.tally.cuts.fetch_add(1, Ordering::Relaxed);
            let up = cut.restart();
            let recovered = self.recover(&up, &mut history.clone(), Then::GoOn);
            recovered.map_err(|error| format!("{what}, cut {seed}: {error}"))?;
        }
        Ok(())
    }

    fn restart(&self, machine: &SimMachine) -> SimMachine {
        let up = machine.restart();
        up.disk.set_faults(Faults { sync_data_lies: self.sabotage.recovering.clone(), ..Faults::default() });
        up
    }

    fn recover(&self, up: &SimMachine, history: &mut S::History, then: Then) -> Result<(), String> {
        self.tally.recoveries.fetch_add(1, Ordering::Relaxed);
        self.scenario.recover(up, history, then)
    }
}
