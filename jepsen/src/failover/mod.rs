//! Kills the leader of a three-member group again and again while Apache's Java client sends and consumes, and checks
//! what the client was promised (DESIGN.md 8). Each kill is a `kill -9`; the killed member is started again and must
//! catch up before the next.

mod checker;
mod driver;
mod evidence;
mod history;
mod round;
mod statistics;

use std::path::PathBuf;

use evidence::{Evidence, Round};

/// `raftmq-jepsen failover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many kills; those that the evidence holds already are not repeated.
    #[arg(long, default_value_t = 100)]
    kills: usize,
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
    if evidence.kills() > 0 {
        println!("{} kills are in the evidence already", evidence.kills());
    }
    let plan = round::Plan {
        program: program(arguments),
        client: arguments.client.clone(),
        flush: arguments.flush.clone(),
        seed: arguments.seed,
    };
    while evidence.kills() < arguments.kills {
        let number = evidence.rounds();
        let kills = arguments.per_round.clamp(1, arguments.kills - evidence.kills());
        let round: Round = round::run(&plan, number, kills)?;
        let failures = round.failures.join("\n");
        println!("{}", round.summary());
        evidence.append(round)?;
        if !failures.is_empty() {
            return Err(FailoverError::Broken(failures));
        }
    }
    println!("{}", statistics::Distribution::of(evidence.gaps_ms()));
    Ok(())
}

fn program(arguments: &Arguments) -> PathBuf {
    let beside = || std::env::current_exe().unwrap_or_default().with_file_name("raftmq");
    arguments.raftmq.clone().or_else(|| std::env::var_os("RAFTMQ_BIN").map(PathBuf::from)).unwrap_or_else(beside)
}
