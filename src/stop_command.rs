//! `mqshutdown`: asks running servers to stop, in RocketMQ's words.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};

use crate::{logging, pid_file};

#[derive(Args)]
pub(crate) struct StopArgs {
    /// Which servers: all of this kind that log to the same folder (~/logs/rocketmqlogs, or ROCKETMQ_LOG_DIR)
    program: Server,
    /// Return when they are gone, after this many seconds at the latest; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Server {
    Broker,
    Namesrv,
}

impl Server {
    /// As in the names of log and pid files.
    fn name(self) -> &'static str {
        match self {
            Server::Broker => "broker",
            Server::Namesrv => "namesrv",
        }
    }
}

/// Sends SIGTERM to every running server of the kind. Fails if there is none.
pub(crate) fn run(args: &StopArgs) -> ExitCode {
    match stop(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn stop(args: &StopArgs) -> Result<(), String> {
    let (folder, name) = (logging::folder(), args.program.name());
    let running =
        || pid_file::running(&folder, name).map_err(|error| format!("pid files in {}: {error}", folder.display()));
    let pids = running()?;
    if pids.is_empty() {
        return Err(format!("No mq{name} running."));
    }
    let listed = pids.iter().map(i32::to_string).collect::<Vec<_>>().join(" ");
    println!("The mq{name}({listed}) is running...");
    for pid in &pids {
        let process = Pid::from_raw(*pid).ok_or_else(|| format!("{pid} is no process id"))?;
        match kill_process(process, Signal::TERM) {
            // It ended by itself in between.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(format!("cannot stop process {pid}: {error}")),
        }
    }
    println!("Send shutdown request to mq{name}({listed}) OK");
    wait(args.wait, running)
}

fn wait(seconds: u64, running: impl Fn() -> Result<Vec<i32>, String>) -> Result<(), String> {
    const STEP: Duration = Duration::from_millis(50);
    if seconds == 0 {
        return Ok(());
    }
    for _ in 0..seconds.saturating_mul(1000) / STEP.as_millis() as u64 {
        if running()?.is_empty() {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    let left = running()?;
    if left.is_empty() { Ok(()) } else { Err(format!("still running after {seconds} s: {left:?}")) }
}
