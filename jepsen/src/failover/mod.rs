//! Kills or pauses the leader of a three-member group again and again while Apache's Java client sends and consumes, and
//! checks what the client was promised (DESIGN.md 8). A kill is a `kill -9`, and the killed member is started again; a
//! pause is a SIGSTOP for longer than an election takes. The member must catch up before the next.

mod checker;
mod driver;
mod evidence;
mod history;
mod round;
mod statistics;

use std::path::PathBuf;

use evidence::{Evidence, Fault, Round};
use statistics::Distribution;

/// `raftmq-jepsen failover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many kills, or pauses; those that the evidence holds already are not repeated.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// What is done to the leader.
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// Does not wait for deliveries after each fault. Client 4.9.8 pulls from a broker that is gone until its time limit of
    /// 30 s, whoever made the broker.
    #[arg(long)]
    quick: bool,
    /// Kills per cluster; then the files are checked and a new cluster is started.
    #[arg(long, default_value_t = 10)]
    per_round: usize,
    /// Decides the pauses between the steps.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Version of Apache's client: 4.9.8 or 5.5.0.
    #[arg(long, default_value = "4.9.8")]
    client: String,
    /// Where results are appended, a JSON line per round; a run that was stopped goes on from there.
    #[arg(long)]
    evidence: Option<PathBuf>,
    /// The program under test; `$RAFTMQ_BIN`, or `raftmq` beside this one, if not given.
    #[arg(long)]
    raftmq: Option<PathBuf>,
    /// `flushDiskType` of the members.
    #[arg(long, default_value = "SYNC_FLUSH")]
    flush: String,
}

/// What keeps the test from running; what the test finds is in the evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FailoverError {
    #[error("{path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: line {line} is no result of a round")]
    Evidence { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("a round failed: {0}")]
    Broken(String),
}

/// Runs rounds until the evidence holds the wanted number of kills, and prints the distribution of the gaps.
pub(crate) fn run(arguments: &Arguments) -> Result<(), FailoverError> {
    let mut evidence = Evidence::open(arguments.evidence.as_deref())?;
    let fault = arguments.fault;
    let done = |evidence: &Evidence| evidence.kills(fault).count();
    if done(&evidence) > 0 {
        println!("{} {fault}s are in the evidence already", done(&evidence));
    }
    let plan = round::Plan {
        program: program(arguments),
        client: arguments.client.clone(),
        flush: arguments.flush.clone(),
        fault,
        awaits_deliveries: !arguments.quick,
        seed: arguments.seed,
    };
    while done(&evidence) < arguments.kills {
        let number = evidence.rounds();
        let kills = arguments.per_round.clamp(1, arguments.kills - done(&evidence));
        let round: Round = round::run(&plan, number, kills)?;
        let failures = round.failures.join("\n");
        println!("{}", round.summary());
        evidence.append(round)?;
        if !failures.is_empty() {
            return Err(FailoverError::Broken(failures));
        }
    }
    let fault_name = fault.to_string();
    let sends = evidence.kills(fault).map(|kill| kill.gap_ms).collect();
    println!("{}", Distribution::of("no send acknowledged", &fault_name, sends));
    let deliveries: Vec<f64> = evidence.kills(fault).filter_map(|kill| kill.delivery_gap_ms).collect();
    if !deliveries.is_empty() {
        println!("{}", Distribution::of("nothing delivered to the consumer", &fault_name, deliveries));
    }
    Ok(())
}

fn program(arguments: &Arguments) -> PathBuf {
    let beside = || std::env::current_exe().unwrap_or_default().with_file_name("raftmq");
    arguments.raftmq.clone().or_else(|| std::env::var_os("RAFTMQ_BIN").map(PathBuf::from)).unwrap_or_else(beside)
}
