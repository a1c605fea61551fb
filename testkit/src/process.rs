//! One child process with its output in a file, which dies with us.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// How much of a log a failure shows.
const TAIL_LINES: usize = 40;

/// A child that did not start or did not do what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("start {program}")]
    Start { program: String, source: std::io::Error },
    #[error("{name} ended ({status}) before {what}; its output ends:\n{tail}")]
    Ended { name: String, status: ExitStatus, what: String, tail: String },
    #[error("{name}: no {what} within {seconds} s; its output ends:\n{tail}")]
    TimedOut { name: String, what: String, seconds: u64, tail: String },
    #[error("signal {name}")]
    Signal { name: String, source: std::io::Error },
}

/// What to run.
#[derive(Clone, Debug)]
pub struct CommandLine {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
}

impl CommandLine {
    pub fn new(program: impl Into<PathBuf>) -> CommandLine {
        CommandLine { program: program.into(), arguments: Vec::new(), environment: Vec::new() }
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> CommandLine {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> CommandLine {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command, asked to die with the thread that starts it (`setpriv` becomes the program itself). Rust has no
    /// safe way to do that after the fork.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running child. Killed when dropped; a test that panics prints the end of its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Length of the log when this child started: a restarted one appends.
    log_from: u64,
}

impl Process {
    /// Starts `line`; what it prints is appended to `log`.
    pub fn start(name: &str, line: &CommandLine, log: &Path) -> Result<Process, ProcessError> {
        Process::start_with_input(name, line, log, Stdio::null())
    }

    /// As [`Process::start`], with something on its standard input.
    pub fn start_with_input(name: &str, line: &CommandLine, log: &Path, input: Stdio) -> Result<Process, ProcessError> {
        let failed = |source| ProcessError::Start { program: line.program.display().to_string(), source };
        let output = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        let log_from = output.metadata().map_err(failed)?.len();
        let errors = output.try_clone().map_err(failed)?;
        let child = line.command().stdin(input).stdout(output).stderr(errors).spawn().map_err(failed)?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned(), log_from })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn take_input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// What it has printed since it started.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.log_from as usize..).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of its output that contains `text`.
    pub fn await_output(&mut self, text: &str, limit: Duration) -> Result<(), ProcessError> {
        let found = until(text, limit, || {
            if self.output().contains(text) {
                return Some(Ok(()));
            }
            self.exit_status().map(Err)
        });
        match found {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(ProcessError::Ended {
                name: self.name.clone(),
                status,
                what: format!("{text:?}"),
                tail: self.tail(),
            }),
            Err(late) => Err(self.timed_out(&format!("{text:?}"), late.seconds)),
        }
    }

    /// Waits until it ends by itself.
    pub fn await_exit(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        until("exit", limit, || self.exit_status()).map_err(|late| self.timed_out("exit", late.seconds))
    }

    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only when it has been waited for already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// SIGTERM; the caller waits.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP: it lives and holds its connections, and does nothing.
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let failed = |source| ProcessError::Signal { name: self.name.clone(), source };
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        kill_process(id, signal).map_err(|error| failed(error.into()))
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn timed_out(&self, what: &str, seconds: u64) -> ProcessError {
        ProcessError::TimedOut { name: self.name.clone(), what: what.to_owned(), seconds, tail: self.tail() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}", self.name, self.tail());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let line = CommandLine::new("sh").argument("-c").argument(script);
        let process = Process::start("shell", &line, &directory.path().join("log")).expect("sh starts");
        (directory, process)
    }

    #[test]
    fn output_is_awaited_and_an_early_end_is_told_with_the_output() {
        let (_directory, mut process) = shell("echo one; echo two; exit 3");
        process.await_output("two", Duration::from_secs(10)).expect("it says two");
        let error = process.await_output("three", Duration::from_secs(10)).expect_err("it ends before");
        assert!(
            matches!(&error, ProcessError::Ended { status, tail, .. } if status.code() == Some(3) && tail == "one\ntwo")
        );
    }

    #[test]
    fn a_dropped_process_is_dead() {
        let (_directory, process) = shell("sleep 1000");
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn a_paused_process_does_nothing_until_it_is_resumed() {
        let (_directory, mut process) = shell("while :; do echo tick; sleep 0.02; done");
        process.await_output("tick", Duration::from_secs(10)).expect("ticks");
        process.pause().expect("stop");
        let stopped = until("state T", Duration::from_secs(10), || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).ok()?;
            stat.contains(") T ").then_some(())
        });
        stopped.expect("the kernel says stopped");
        process.resume().expect("continue");
        let before = process.output().len();
        until("more ticks", Duration::from_secs(10), || (process.output().len() > before).then_some(()))
            .expect("ticks again");
    }
}
