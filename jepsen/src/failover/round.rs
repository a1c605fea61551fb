//! One cluster: start, kill and restart leaders or pause them, stop, check.
#![expect(clippy::disallowed_methods, reason = "measures real processes by the real clock")]

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raftmq_testkit::cluster::{Cluster, Options};
use raftmq_testkit::commit_log::{CommitLogFiles, compare};
use raftmq_testkit::{Group, consume_queue, until};

use super::driver::{Driver, TOPIC};
use super::evidence::{Fault, Kill, Round};
use super::history::History;
use super::{FailoverError, checker};

/// For acknowledgements to come back, and for a member to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all rounds of a run have in common.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) client: String,
    pub(crate) flush: String,
    pub(crate) fault: Fault,
    /// Each fault ends only when messages are delivered again.
    pub(crate) awaits_deliveries: bool,
    pub(crate) seed: u64,
}

/// Where a fault fell, until the history tells its gaps.
struct Span {
    member: usize,
    new_leader: usize,
    began_us: u64,
    /// The member has caught up, and since then a send was acknowledged and a message delivered.
    ended_us: u64,
    paused: Option<Duration>,
    catch_up_ms: f64,
}

/// Runs round `number` with `kills` kills. What it finds wrong is in the result; its files are kept then.
pub(crate) fn run(plan: &Plan, number: usize, kills: usize) -> Result<Round, FailoverError> {
    let seed = plan.seed.wrapping_add(number as u64);
    let options = Options::new(&plan.program, Group::Three).set("flushDiskType", &plan.flush);
    let mut cluster = Cluster::start(&options).map_err(|error| FailoverError::Broken(describe(&error)))?;
    let mut round = Round {
        ended_at: 0,
        seed,
        client: plan.client.clone(),
        flush: plan.flush.clone(),
        fault: plan.fault,
        acknowledged: 0,
        failed: 0,
        delivered: 0,
        committed_offsets_seen: 0,
        offset_questions_unanswered: 0,
        equal_bytes: 0,
        kills: Vec::new(),
        failures: Vec::new(),
    };
    if let Err(failure) = play(plan, &mut cluster, &mut Pauses(seed), kills, &mut round) {
        round.failures.push(failure);
    }
    if !round.failures.is_empty() {
        let tails = cluster.tails();
        round.failures.push(format!("files and logs are kept in {}\n{tails}", cluster.keep().display()));
    }
    round.ended_at = now_us() / 1_000_000;
    Ok(round)
}

fn play(
    plan: &Plan,
    cluster: &mut Cluster,
    pauses: &mut Pauses,
    kills: usize,
    round: &mut Round,
) -> Result<(), String> {
    let members: Vec<String> = (0..cluster.size()).map(|slot| cluster.address(slot)).collect();
    let driver = Driver::start(&plan.client, &cluster.name_server_address(), &members, cluster.directory())
        .map_err(|error| format!("{}\n{}", describe(&error), cluster.tails()))?;
    let mut spans = Vec::new();
    for _ in 0..kills {
        spans.push(match plan.fault {
            Fault::Kill => kill_leader(plan, cluster, &driver, pauses)?,
            Fault::Pause => pause_leader(plan, cluster, &driver, pauses)?,
        });
    }
    pauses.sleep(500, 1000);
    let history = driver.finish()?;
    summarise(plan, &history, &spans, round);
    round.failures.extend(checker::kept(&history));
    round.failures.extend(checker::delivered(&history));
    round.failures.extend(checker::never_back(&history));
    round.failures.extend(checker::observed(&history, &members));
    let unseen = round.kills.iter().filter(|kill| kill.offsets_seen == 0).count();
    if unseen > 0 {
        round.failures.push(format!("no committed offset was seen around {unseen} faults"));
    }

    await_equal_ends(cluster)?;
    cluster.stop_all().map_err(|error| describe(&error))?;
    round.equal_bytes = check_files(cluster, &history)?;
    Ok(())
}

/// Kills the leader, waits for another, starts the killed one again and waits until it has caught up.
fn kill_leader(plan: &Plan, cluster: &mut Cluster, driver: &Driver, pauses: &mut Pauses) -> Result<Span, String> {
    pauses.sleep(500, 2500);
    let member = steady_leader(cluster, None)?;
    let began_us = now_us();
    cluster.kill(member);
    driver.await_acknowledged(began_us + 100_000, PATIENCE)?;
    pauses.sleep(0, 1500);

    let restarted = Instant::now();
    cluster.restart(member).map_err(|error| describe(&error))?;
    let new_leader = steady_leader(cluster, None)?;
    await_caught_up(cluster, member, new_leader)?;
    let catch_up_ms = restarted.elapsed().as_secs_f64() * 1000.0;
    let ended_us = await_traffic(driver, plan)?;
    Ok(Span { member, new_leader, began_us, ended_us, paused: None, catch_up_ms })
}

/// Stops the leader where it stands, waits for another, lets it go on and waits until it has caught up.
///
/// It is paused for longer than an election and than any lease or hold, so it wakes as a leader of the past with requests
/// half done, and with connections whose other ends have long turned elsewhere.
fn pause_leader(plan: &Plan, cluster: &mut Cluster, driver: &Driver, pauses: &mut Pauses) -> Result<Span, String> {
    pauses.sleep(500, 2500);
    let member = steady_leader(cluster, None)?;
    let (began_us, paused) = (now_us(), Instant::now());
    cluster.pause(member).map_err(|error| describe(&error))?;
    let another = steady_leader(cluster, Some(member));
    if another.is_ok() {
        let least = Duration::from_millis(pauses.draw(2500, 5000));
        std::thread::sleep(least.saturating_sub(paused.elapsed()));
    }
    // Also after a failure: a process that does not run cannot say what it did.
    cluster.resume(member).map_err(|error| describe(&error))?;
    let (paused, resumed) = (paused.elapsed(), Instant::now());
    another?;

    let new_leader = steady_leader(cluster, None)?;
    await_caught_up(cluster, member, new_leader)?;
    let catch_up_ms = resumed.elapsed().as_secs_f64() * 1000.0;
    let ended_us = await_traffic(driver, plan)?;
    Ok(Span { member, new_leader, began_us, ended_us, paused: Some(paused), catch_up_ms })
}

/// Waits until `member` has what the leader has now.
fn await_caught_up(cluster: &Cluster, member: usize, leader: usize) -> Result<(), String> {
    let goal = log_end(cluster, leader)?;
    let caught_up = until("the member catches up", PATIENCE, || {
        let end = log_end(cluster, member).ok()?;
        (end >= goal).then_some(())
    });
    caught_up.map_err(|late| format!("{late}\n{}", cluster.tails()))
}

/// Waits for an acknowledged send and a delivery from now on; returns when both have come, so that a gap that still ran
/// ends before.
fn await_traffic(driver: &Driver, plan: &Plan) -> Result<u64, String> {
    let now = now_us();
    driver.await_acknowledged(now, PATIENCE)?;
    if plan.awaits_deliveries {
        driver.await_delivered(now, PATIENCE)?;
    }
    Ok(now_us())
}

/// The registered leader, once it has been the same for half a second: a name server may show any living member while
/// an election runs. Not `other_than`, which is paused.
fn steady_leader(cluster: &mut Cluster, other_than: Option<usize>) -> Result<usize, String> {
    let mut candidate = None;
    let steady = until("a steady leader", PATIENCE, || {
        let leader = cluster.leader().filter(|&slot| Some(slot) != other_than && cluster.is_running(slot))?;
        match candidate {
            Some((slot, since)) if slot == leader => {
                let since: Instant = since;
                (since.elapsed() > Duration::from_millis(500)).then_some(leader)
            }
            _ => {
                candidate = Some((leader, Instant::now()));
                None
            }
        }
    });
    steady.map_err(|late| format!("{late}\n{}", cluster.tails()))
}

fn summarise(plan: &Plan, history: &History, spans: &[Span], round: &mut Round) {
    round.acknowledged = history.acknowledged.len();
    round.failed = history.failed;
    round.delivered = history.delivered.len();
    round.committed_offsets_seen = history.offsets.len();
    round.offset_questions_unanswered = history.unanswered;
    let sends = || history.acknowledged.iter().map(|sent| sent.ended_us);
    let deliveries = || history.delivered.iter().map(|delivered| delivered.at_us);
    round.kills = spans
        .iter()
        .map(|span| Kill {
            member: span.member,
            new_leader: span.new_leader,
            gap_ms: checker::longest_ms(sends(), span.began_us, span.ended_us),
            delivery_gap_ms: plan
                .awaits_deliveries
                .then(|| checker::longest_ms(deliveries(), span.began_us, span.ended_us)),
            offsets_seen: seen_between(history, span.began_us, span.ended_us),
            paused_ms: span.paused.map(|paused| paused.as_secs_f64() * 1000.0),
            catch_up_ms: span.catch_up_ms,
        })
        .collect();
}

fn seen_between(history: &History, from_us: u64, until_us: u64) -> usize {
    let between = history.offsets.iter().filter(|seen| seen.asked_us >= from_us && seen.ended_us <= until_us);
    between.filter(|seen| seen.offset.is_some()).count()
}

fn log_end(cluster: &Cluster, slot: usize) -> Result<u64, String> {
    CommitLogFiles::open(&cluster.store(slot)).and_then(|log| log.end()).map_err(|error| describe(&error))
}

/// Nothing is sent any more, so the members come to the same end.
fn await_equal_ends(cluster: &Cluster) -> Result<(), String> {
    let mut ends = Vec::new();
    let equal = until("equal ends of all commitlogs", PATIENCE, || {
        ends = (0..cluster.size()).map(|slot| log_end(cluster, slot)).collect();
        ends.iter().all(|end| end.is_ok() && *end == ends[0]).then_some(())
    });
    equal.map_err(|late| format!("{late}: {ends:?}"))
}

/// Commitlogs byte-equal, consume queues dense and the same everywhere, and as long as the client saw them.
fn check_files(cluster: &Cluster, history: &History) -> Result<u64, String> {
    let open = |slot| CommitLogFiles::open(&cluster.store(slot)).map_err(|error| describe(&error));
    let first = open(0)?;
    let mut equal_bytes = u64::MAX;
    for slot in 1..cluster.size() {
        let (begin, end) = compare(&first, &open(slot)?).map_err(|error| describe(&error))?;
        equal_bytes = equal_bytes.min(end - begin);
    }
    let mut all = Vec::new();
    for slot in 0..cluster.size() {
        let queues = consume_queue::check(&cluster.store(slot));
        all.push(queues.map_err(|error| format!("member {slot}: {}", describe(&error)))?);
    }
    if all.iter().any(|queues| *queues != all[0]) {
        return Err(format!("members have different queues: {all:?}"));
    }
    for end in &history.queues {
        let stored = all[0].get(&(TOPIC.to_owned(), end.queue)).copied().unwrap_or(0);
        if stored != end.max {
            return Err(format!("queue {} holds {stored} messages, the client was told {}", end.queue, end.max));
        }
    }
    Ok(equal_bytes)
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Pauses that a seed decides (half of SplitMix64; quality does not matter).
struct Pauses(u64);

impl Pauses {
    fn sleep(&mut self, least_ms: u64, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.draw(least_ms, most_ms)));
    }

    fn draw(&mut self, least_ms: u64, most_ms: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed ^= mixed >> 30;
        mixed = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^= mixed >> 27;
        least_ms + mixed % (most_ms - least_ms)
    }
}
