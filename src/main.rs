//! The `raftmq` binary: picks the program by subcommand, or by the name it was called with.

mod command_line;
mod dev;
mod logging;
mod parent;
mod pid_file;
mod rolling_file;
mod stop_command;

use std::io;
use std::process::ExitCode;

use command_line::Program;
use pid_file::PidFile;
use tracing_appender::non_blocking::WorkerGuard;

/// 0: done. 1: it failed. 2: wrong usage (clap's).
fn main() -> ExitCode {
    match command_line::parse(std::env::args_os()) {
        Program::Namesrv(args) => serve("namesrv", || raftmq_namesrv::run(args)),
        Program::Broker(args) => serve("broker", || raftmq_broker::run(args)),
        Program::Admin(args) => raftmq_tools::admin::run(args),
        Program::Produce(args) => raftmq_tools::produce::run(args),
        Program::Consume(args) => raftmq_tools::consume::run(args),
        Program::Bench(args) => raftmq_tools::bench::run(&args),
        Program::Dev(args) => dev::run(args),
        Program::Demo(args) => raftmq_tools::demo::run(args),
        Program::Shutdown(args) => stop_command::run(&args),
    }
}

/// Runs a server: with its log, with a file by which `mqshutdown` finds it, and not without the process that wants it.
fn serve(program: &str, run: impl FnOnce() -> ExitCode) -> ExitCode {
    if !parent::bind_to_parent() {
        return ExitCode::FAILURE;
    }
    match prepare(program) {
        // Dropped at the end of the arm: the log's last lines are written, the pid file goes.
        Ok(_kept) => run(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(program: &str) -> io::Result<(WorkerGuard, PidFile)> {
    let folder = logging::folder();
    let log = logging::start(&folder.join(format!("{program}.log")))?;
    let pid_file = PidFile::create(&folder, program)
        .map_err(|error| io::Error::new(error.kind(), format!("pid file in {}: {error}", folder.display())))?;
    Ok((log, pid_file))
}
