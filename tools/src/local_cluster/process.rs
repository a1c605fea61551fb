//! One child process.
#![expect(clippy::disallowed_methods, reason = "starts other processes; decides nothing about stored data")]

use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::StartError;

/// Environment variable by which a child knows whose end is its own end, too.
pub const PARENT_PID: &str = "RAFTMQ_PARENT_PID";

/// A process did not stop as asked.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error("{program} did not stop within {seconds} s and was killed; see {output}")]
    Slow { program: String, seconds: u64, output: PathBuf },
    #[error("{program} ended with {status} when asked to stop; see {output}")]
    Failed { program: String, status: String, output: PathBuf },
}

/// One child process, which may be started several times. Stopped when dropped.
pub struct Process {
    subcommand: &'static str,
    title: String,
    config: PathBuf,
    output: PathBuf,
    address: String,
    child: Option<Child>,
}

/// How long a process may take to stop cleanly.
const STOP_TIME: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);

impl Process {
    pub(super) fn new(subcommand: &'static str, title: &str, config: &Path, output: &Path, address: &str) -> Process {
        Process {
            subcommand,
            title: title.to_owned(),
            config: config.to_owned(),
            output: output.to_owned(),
            address: address.to_owned(),
            child: None,
        }
    }

    /// For messages: `member n1`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// `None` if it was never started or is known to have ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn start(&mut self) -> Result<(), StartError> {
        let executable =
            std::env::current_exe().map_err(|source| StartError::Io { path: "own executable".into(), source })?;
        let failed = |path: &Path, source| StartError::Io { path: path.to_owned(), source };
        let open = OpenOptions::new().create(true).append(true).open(&self.output);
        let output = open.map_err(|source| failed(&self.output, source))?;
        let errors = output.try_clone().map_err(|source| failed(&self.output, source))?;
        // Beside the output: n1.out has its logs in n1.logs.
        let logs = self.output.with_extension("logs");
        let child = Command::new(&executable)
            .arg(self.subcommand)
            .arg("-c")
            .arg(&self.config)
            .env(PARENT_PID, std::process::id().to_string())
            .env("ROCKETMQ_LOG_DIR", logs)
            .env_remove("NAMESRV_ADDR")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| failed(&executable, source))?;
        self.child = Some(child);
        Ok(())
    }

    /// Returns when a connection to its address succeeds.
    pub(super) fn wait_until_up(&mut self, most: Duration) -> Result<(), StartError> {
        let start = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            if let Some(status) = self.status() {
                return Err(StartError::Ended {
                    program: self.title.clone(),
                    status: status.to_string(),
                    output: self.output.clone(),
                    tail: self.tail(),
                });
            }
            if start.elapsed() > most {
                let (program, output) = (self.title.clone(), self.output.clone());
                return Err(StartError::Slow { program, seconds: most.as_secs(), output });
            }
            sleep(STEP);
        }
        Ok(())
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.is_some() && self.status().is_some()
    }

    /// `kill -9`, and waits for the end. Says which process it was.
    pub fn kill(&mut self) -> io::Result<u32> {
        let Some(mut child) = self.child.take() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} does not run", self.title)));
        };
        child.kill()?;
        child.wait()?;
        Ok(child.id())
    }

    pub(super) fn ask_to_stop(&self) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        if let Some(pid) = pid {
            // It may have ended already; waiting for it tells.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    pub(super) fn wait_until_stopped(&mut self) -> Result<(), StopError> {
        let start = Instant::now();
        while self.child.is_some() {
            let (program, output) = (self.title.clone(), self.output.clone());
            if let Some(status) = self.status() {
                self.child = None;
                if !status.success() {
                    return Err(StopError::Failed { program, status: status.to_string(), output });
                }
            } else if start.elapsed() > STOP_TIME {
                // Nothing is left to try if even this fails.
                let _ = self.kill();
                return Err(StopError::Slow { program, seconds: STOP_TIME.as_secs(), output });
            } else {
                sleep(STEP);
            }
        }
        Ok(())
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// The last lines it wrote.
    fn tail(&self) -> String {
        const LINES: usize = 20;
        let output = fs::read(&self.output).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_stop();
        // Whoever wants to know calls `LocalCluster::stop`.
        let _ = self.wait_until_stopped();
    }
}
