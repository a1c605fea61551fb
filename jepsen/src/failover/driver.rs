//! The Java program that sends, consumes and writes down what it was told.
#![expect(clippy::disallowed_methods, reason = "reads the file of a real process; nothing here decides what is stored")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use raftmq_testkit::{Process, ProcessError, java, until};

use super::history::History;

/// The topic that it sends to.
pub(crate) const TOPIC: &str = "failover";
const START: Duration = Duration::from_secs(120);
/// Reading everything back takes its time.
const FINISH: Duration = Duration::from_secs(600);

pub(crate) struct Driver {
    process: Process,
    history: PathBuf,
}

impl Driver {
    /// Starts it and waits until messages flow. It asks all `members` for committed offsets.
    pub(crate) fn start(
        client: &str,
        name_server: &str,
        members: &[String],
        directory: &Path,
    ) -> Result<Driver, ProcessError> {
        let history = directory.join("history");
        let line = java::program(client, "FailoverDriver", &directory.join("driver-home"))?
            .argument("--namesrv")
            .argument(name_server)
            .argument("--topic")
            .argument(TOPIC)
            .argument("--members")
            .argument(members.join(","))
            .argument("--history")
            .argument(&history);
        let log = directory.join("driver.log");
        let mut process = Process::start_with_input("failover driver", &line, &log, Stdio::piped())?;
        process.await_output("ready", START)?;
        Ok(Driver { process, history })
    }

    /// What it wrote so far.
    pub(crate) fn history(&self) -> Result<History, String> {
        let text = std::fs::read_to_string(&self.history).map_err(|error| error.to_string())?;
        History::parse(&text).map_err(|line| format!("no line of a history: {line}"))
    }

    /// Waits until a send that ended after `after_us` was acknowledged.
    pub(crate) fn await_acknowledged(&self, after_us: u64, limit: Duration) -> Result<(), String> {
        self.await_line("a send acknowledged after the fault", limit, |line| acknowledged_at(line) > Some(after_us))
    }

    /// Waits until the consumer was given a message after `after_us`.
    pub(crate) fn await_delivered(&self, after_us: u64, limit: Duration) -> Result<(), String> {
        self.await_line("a message delivered after the fault", limit, |line| delivered_at(line) > Some(after_us))
    }

    fn await_line(&self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut read = Tail::new(&self.history);
        let found = until(what, limit, || read.lines().iter().any(|line| wanted(line)).then_some(()));
        found.map_err(|late| late.to_string())
    }

    /// Ends the sending, waits for the reading back and yields the whole history.
    pub(crate) fn finish(mut self) -> Result<History, String> {
        if let Some(mut input) = self.process.take_input() {
            writeln!(input, "stop").map_err(|error| error.to_string())?;
        }
        let status = self.process.await_exit(FINISH).map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("the driver ended with {status}:\n{}", self.process.tail()));
        }
        self.history()
    }
}

/// End time of an acknowledged send.
fn acknowledged_at(line: &str) -> Option<u64> {
    line.strip_prefix("A\t")?.split('\t').nth(1)?.parse().ok()
}

fn delivered_at(line: &str) -> Option<u64> {
    line.strip_prefix("C\t")?.split('\t').next()?.parse().ok()
}

/// Reads a growing file from its present end on.
struct Tail {
    path: PathBuf,
    at: u64,
}

impl Tail {
    fn new(path: &Path) -> Tail {
        Tail { path: path.to_owned(), at: std::fs::metadata(path).map_or(0, |metadata| metadata.len()) }
    }

    /// Whole lines since the last call; begins, at the first, perhaps with half a line, which matches nothing.
    fn lines(&mut self) -> Vec<String> {
        use std::io::{Read, Seek, SeekFrom};
        let mut text = String::new();
        let read = std::fs::File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.at))?;
            file.read_to_string(&mut text)
        });
        if read.is_err() {
            return Vec::new();
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.at += whole as u64;
        text[..whole].lines().map(str::to_owned).collect()
    }
}
