//! One run: who writes, what happens when, and what must be there at the end.
#![expect(clippy::disallowed_methods, reason = "this program looks at a store from outside")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::image::Image;
use super::record::Record;
use super::{Mode, Result};

/// What happens to the writer before the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plot {
    /// Nothing: it is writing.
    CutWhileWriting,
    /// It is killed, the store is opened again, and what that finds counts as acknowledged.
    CutAfterRestart,
}

/// A run, drawn from the seed.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    mode: Mode,
    plot: Plot,
    seed: u64,
    /// Appends per flush. More than one leaves unflushed records to a kill.
    appends_per_flush: u64,
    writes_for: Duration,
    control: bool,
}

/// What a run showed.
pub(crate) struct Outcome {
    pub(crate) acknowledged: usize,
    pub(crate) lost: Vec<Record>,
    recovered: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} acknowledged, {} recovered, {} lost",
            self.acknowledged,
            self.recovered,
            self.lost.len()
        )?;
        match self.lost.first() {
            Some(first) => write!(formatter, ", the first at {}", first.position),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, plot, flush) = (self.mode, self.plot, self.appends_per_flush);
        let control = if self.control { ", control" } else { "" };
        write!(
            formatter,
            "{mode}, {plot:?} after {} ms, {flush} appends per flush{control}",
            self.writes_for.as_millis()
        )
    }
}

impl Story {
    pub(crate) fn choose(seed: u64, run: u64, control: bool) -> Story {
        let seed = super::writer::mix(seed ^ (run << 32));
        let plot = if run & 2 == 0 || control { Plot::CutWhileWriting } else { Plot::CutAfterRestart };
        Story {
            mode: if run & 1 == 0 { Mode::Classic } else { Mode::Raft },
            plot,
            seed,
            appends_per_flush: if plot == Plot::CutAfterRestart { 16 } else { 1 + seed % 3 },
            writes_for: Duration::from_millis(100 + super::writer::mix(seed) % 1900),
            control,
        }
    }

    pub(crate) fn tell(&self, image: &Image) -> Result<Outcome> {
        let mut acknowledged = BTreeMap::new();
        let mut writer = Speaker::start(&self.writer_arguments(image))?;
        // The clock starts with the first acknowledgement.
        acknowledged.extend(writer.first_line(Duration::from_secs(20))?);
        thread::sleep(self.writes_for);
        if self.plot == Plot::CutAfterRestart {
            acknowledged.extend(writer.kill()?);
            let mut reader = Speaker::start(&self.reader_arguments(image, true))?;
            acknowledged.extend(reader.until_done()?);
            image.cut_power()?;
            reader.kill()?;
        } else {
            writer.freeze()?;
            image.cut_power()?;
            acknowledged.extend(writer.kill()?);
        }
        image.power_on()?;
        let mut reader = Speaker::start(&self.reader_arguments(image, false))?;
        let recovered: BTreeMap<u64, Record> = reader.until_done()?.into_iter().collect();
        reader.wait()?;
        let lost = acknowledged.values().filter(|record| recovered.get(&record.position) != Some(record)).copied();
        Ok(Outcome { acknowledged: acknowledged.len(), lost: lost.collect(), recovered: recovered.len() })
    }

    fn writer_arguments(&self, image: &Image) -> Vec<String> {
        let mut arguments: Vec<String> = ["power-cut-writer".to_owned(), "--store".to_owned()].into();
        arguments.push(image.store().display().to_string());
        arguments.extend(["--mode".to_owned(), self.mode.to_string(), "--seed".to_owned(), self.seed.to_string()]);
        arguments.extend(["--appends-per-flush".to_owned(), self.appends_per_flush.to_string()]);
        arguments.extend(self.control.then(|| "--never-flush".to_owned()));
        arguments
    }

    fn reader_arguments(&self, image: &Image, stay: bool) -> Vec<String> {
        let store = image.store().display().to_string();
        let mut arguments = vec!["power-cut-reader".to_owned(), "--store".to_owned(), store];
        arguments.extend(["--mode".to_owned(), self.mode.to_string()]);
        arguments.extend(stay.then(|| "--stay".to_owned()));
        arguments
    }
}

/// A child of ours that tells records on its standard output; killed when dropped.
struct Speaker {
    child: Child,
    lines: Receiver<String>,
}

/// What a reader says when it has told everything.
pub(crate) const DONE: &str = "done";

impl Speaker {
    fn start(arguments: &[String]) -> Result<Speaker> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A writer whose disk is cut off has only that to say.
            .stderr(if arguments[0] == "power-cut-writer" { Stdio::null() } else { Stdio::inherit() })
            .spawn()?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Speaker { child, lines })
    }

    fn first_line(&mut self, within: Duration) -> Result<Option<(u64, Record)>> {
        let line = self.lines.recv_timeout(within).map_err(|_| "the writer acknowledged nothing")?;
        Ok(entry(&line))
    }

    /// Everything it tells until it says that it is done.
    fn until_done(&mut self) -> Result<Vec<(u64, Record)>> {
        let mut records = Vec::new();
        loop {
            let line = self.lines.recv().map_err(|_| "the reader failed, see above")?;
            if line == DONE {
                return Ok(records);
            }
            records.extend(entry(&line));
        }
    }

    /// Stops it where it is. An fdatasync that is under way when the file system goes down may say Ok for bytes that
    /// never arrived (seen on Linux 6.18: it finds no transaction to wait for); a process that lost its power could
    /// not act on that answer, and neither can a stopped one.
    fn freeze(&self) -> Result<()> {
        Ok(rustix::process::kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// Kills it and returns what it had told. Closing the pipe tells us that all was read.
    fn kill(&mut self) -> Result<Vec<(u64, Record)>> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.lines.iter().filter_map(|line| entry(&line)).collect())
    }

    fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the reader ended with {status}").into()) }
    }
}

/// A line that a kill cut off is no acknowledgement.
fn entry(line: &str) -> Option<(u64, Record)> {
    let record: Record = line.parse().ok()?;
    Some((record.position, record))
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
