#![expect(clippy::disallowed_methods, reason = "starts processes and looks at their files")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The binary under test.
pub(crate) const RAFTMQ: &str = env!("CARGO_BIN_EXE_raftmq");

/// A process that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `raftmq` that keeps its logs in `home` and knows no name server from the environment.
pub(crate) fn raftmq(home: &Path) -> Command {
    program(RAFTMQ.as_ref(), home)
}

/// The same for another name of the binary, or a script.
pub(crate) fn program(path: &Path, home: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("HOME", home).env_remove("ROCKETMQ_LOG_DIR").env_remove("NAMESRV_ADDR").stdin(Stdio::null());
    command
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process that runs until it is stopped; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        Running { child, stdout: BufReader::new(stdout) }
    }

    /// Reads lines until one has `text` in it. Gives all of them.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).expect("stdout is text");
            assert!(read > 0, "ended without a line with {text:?}; it said: {lines:#?}");
            let found = line.contains(text);
            lines.push(line.trim_end().to_owned());
            if found {
                return lines;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("the child is ours and not waited for");
    }

    /// Waits for the end. Gives the exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("process {} does not end", self.child.id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names of the entries of a folder, sorted.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable folder").file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// The first of `length` ports in a row, below those for outgoing connections, that nobody listens at now.
pub(crate) fn free_ports(length: u16) -> u16 {
    let rng = raftmq_sys::RealRng::new();
    raftmq_tools::local_cluster::free_blocks(&rng, 1, length).expect("free ports")[0]
}
