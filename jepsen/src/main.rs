//! Faults against real files and real processes, and what must hold afterwards. One file or folder per subcommand.

mod failover;
mod power_cut;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "raftmq-jepsen", version, about = "Breaks things on purpose and checks what RaftMQ promised")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kills the leader of three members under Apache's Java client, and checks every acknowledged message.
    Failover(failover::Arguments),
    /// Cuts the power of an ext4 file system under a writing store, and checks every acknowledged record (root).
    PowerCut(power_cut::Arguments),
    #[command(hide = true)]
    PowerCutWriter(power_cut::writer::Arguments),
    #[command(hide = true)]
    PowerCutReader(power_cut::reader::Arguments),
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error + Send + Sync>> = match Arguments::parse().command {
        Command::Failover(arguments) => failover::run(&arguments).map_err(Into::into),
        Command::PowerCut(arguments) => power_cut::run(&arguments),
        Command::PowerCutWriter(arguments) => power_cut::writer::run(&arguments),
        Command::PowerCutReader(arguments) => power_cut::reader::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raftmq-jepsen: {error}");
            ExitCode::FAILURE
        }
    }
}
