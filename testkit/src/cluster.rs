//! A name server and the members of one broker group, as real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::config::{self, Properties};
use crate::ports::PortBlock;
use crate::process::{CommandLine, Process, ProcessError};
use crate::route;
use crate::wait::{TimedOut, until};

/// What every server prints when it serves.
const BOOT_LINE: &str = "boot success";
/// For one step on a machine that also compiles.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What kind of group is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One broker in classic mode.
    Single,
    /// Three members of a Raft group.
    Three,
}

/// Why a cluster is not in the state that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no port is free")]
    NoPorts,
    #[error("set up {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    #[error("member {0} is not running")]
    NotRunning(usize),
}

/// One server with a directory and ports of its own, running or not.
struct Server {
    directory: PathBuf,
    line: CommandLine,
    process: Option<Process>,
    ports: PortBlock,
}

impl Server {
    fn start(&mut self, name: &str) -> Result<(), ClusterError> {
        self.process = Some(Process::start(name, &self.line, &self.directory.join("output.log"))?);
        Ok(())
    }

    fn await_boot(&mut self) -> Result<(), ClusterError> {
        match &mut self.process {
            Some(process) => Ok(process.await_output(BOOT_LINE, PATIENCE)?),
            None => Ok(()),
        }
    }
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `raftmq` program.
    pub program: PathBuf,
    pub group: Group,
    /// Lines that each `broker.conf` gets beyond what the kind of group needs.
    pub settings: Properties,
}

impl Options {
    /// Segments of 16 MiB, so that a short test rolls.
    pub fn new(program: impl Into<PathBuf>, group: Group) -> Options {
        let mut settings = Properties::default();
        settings.set("mappedFileSizeCommitLog", 16 << 20);
        Options { program: program.into(), group, settings }
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Options {
        self.settings.set(key, value);
        self
    }
}

/// A running cluster; its processes and files are gone when it is dropped.
pub struct Cluster {
    members: Vec<Server>,
    name_server: Server,
    /// Last, so that the processes die before their files.
    directory: TempDir,
}

impl Cluster {
    /// Starts everything and waits until all members say that they serve and one of them leads.
    pub fn start(options: &Options) -> Result<Cluster, ClusterError> {
        let directory = tempfile::Builder::new()
            .prefix("raftmq-cluster-")
            .tempdir()
            .map_err(|source| ClusterError::Io { path: std::env::temp_dir(), source })?;
        let mut name_server = server(directory.path(), "namesrv", options, "namesrv", |ports, at| {
            config::name_server(ports.listen(), at)
        })?;
        name_server.start("namesrv")?;
        name_server.await_boot()?;
        let mut cluster = Cluster { members: Vec::new(), name_server, directory };
        cluster.add_members(options)?;
        for slot in 0..cluster.members.len() {
            cluster.start_member(slot)?;
        }
        cluster.await_members()?;
        Ok(cluster)
    }

    fn add_members(&mut self, options: &Options) -> Result<(), ClusterError> {
        let names = self.name_server_address();
        let count = if options.group == Group::Single { 1 } else { 3 };
        let mut blocks = Vec::new();
        for _ in 0..count {
            blocks.push(PortBlock::take().ok_or(ClusterError::NoPorts)?);
        }
        let raft_ports: Vec<u16> = blocks.iter().map(PortBlock::raft).collect();
        for (slot, ports) in blocks.into_iter().enumerate() {
            let write = |ports: &PortBlock, at: &Path| {
                let store = at.join("store");
                let mut properties = match options.group {
                    Group::Single => config::single(&names, ports.listen(), &store),
                    Group::Three => config::member(&names, ports.listen(), &store, slot, &raft_ports),
                };
                properties.extend(&options.settings);
                properties
            };
            self.members.push(server_at(self.directory.path(), &member_name(slot), options, "broker", ports, write)?);
        }
        Ok(())
    }

    pub fn name_server_address(&self) -> String {
        format!("127.0.0.1:{}", self.name_server.ports.listen())
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Where member `slot` keeps commitlog and consume queues.
    pub fn store(&self, slot: usize) -> PathBuf {
        self.members[slot].directory.join("store")
    }

    pub fn address(&self, slot: usize) -> String {
        format!("127.0.0.1:{}", self.members[slot].ports.listen())
    }

    /// The directory that everything lies in, for further files of the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves the directory behind for whoever looks into a failure; returns it.
    pub fn keep(&mut self) -> &Path {
        self.directory.disable_cleanup(true);
        self.directory.path()
    }

    /// The member that the name server shows as brokerId 0.
    pub fn leader(&self) -> Option<usize> {
        let addresses = route::broker_addresses(&self.name_server_address(), "broker-a")?;
        let (_, leader) = addresses.into_iter().find(|(id, _)| *id == 0)?;
        (0..self.size()).find(|&slot| self.address(slot) == leader)
    }

    /// Waits until the name server shows a leader that is a running member.
    pub fn await_leader(&mut self) -> Result<usize, ClusterError> {
        let leader = until("a running member registered as leader", PATIENCE, || {
            let slot = self.leader()?;
            self.members[slot].process.as_mut()?.is_running().then_some(slot)
        });
        leader.map_err(|late| {
            ClusterError::TimedOut(TimedOut { what: format!("{}\n{}", late.what, self.tails()), ..late })
        })
    }

    /// SIGKILL; the files stay as they are.
    pub fn kill(&mut self, slot: usize) {
        self.members[slot].process = None;
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self, slot: usize) -> Result<(), ClusterError> {
        if let Some(mut process) = self.members[slot].process.take() {
            process.terminate()?;
            process.await_exit(PATIENCE)?;
        }
        Ok(())
    }

    /// SIGTERM to all members at once, and waits: nobody is left to hand anything over to.
    pub fn stop_all(&mut self) -> Result<(), ClusterError> {
        for member in &self.members {
            if let Some(process) = &member.process {
                process.terminate()?;
            }
        }
        for member in &mut self.members {
            if let Some(mut process) = member.process.take() {
                process.await_exit(PATIENCE)?;
            }
        }
        Ok(())
    }

    /// Starts a member that was killed or stopped, and waits until it serves.
    pub fn restart(&mut self, slot: usize) -> Result<(), ClusterError> {
        self.start_member(slot)?;
        self.members[slot].await_boot()
    }

    /// Starts a member without waiting: one alone may have to wait for the others.
    pub fn start_member(&mut self, slot: usize) -> Result<(), ClusterError> {
        self.members[slot].start(&member_name(slot))
    }

    /// Waits until every started member serves and one of them leads.
    pub fn await_members(&mut self) -> Result<(), ClusterError> {
        for member in &mut self.members {
            member.await_boot()?;
        }
        self.await_leader().map(|_leader| ())
    }

    pub fn pause(&self, slot: usize) -> Result<(), ClusterError> {
        Ok(self.running(slot)?.pause()?)
    }

    pub fn resume(&self, slot: usize) -> Result<(), ClusterError> {
        Ok(self.running(slot)?.resume()?)
    }

    fn running(&self, slot: usize) -> Result<&Process, ClusterError> {
        self.members[slot].process.as_ref().ok_or(ClusterError::NotRunning(slot))
    }

    pub fn is_running(&mut self, slot: usize) -> bool {
        self.members[slot].process.as_mut().is_some_and(Process::is_running)
    }

    /// The last lines of every running server, for a failure that names none of them.
    pub fn tails(&self) -> String {
        let servers = self.members.iter().chain([&self.name_server]).filter_map(|server| server.process.as_ref());
        servers.map(|process| format!("--- {} said last:\n{}\n", process.name(), process.tail())).collect()
    }
}

fn member_name(slot: usize) -> String {
    format!("broker-{slot}")
}

fn server(
    parent: &Path,
    name: &str,
    options: &Options,
    program: &str,
    properties: impl FnOnce(&PortBlock, &Path) -> Properties,
) -> Result<Server, ClusterError> {
    let ports = PortBlock::take().ok_or(ClusterError::NoPorts)?;
    server_at(parent, name, options, program, ports, properties)
}

fn server_at(
    parent: &Path,
    name: &str,
    options: &Options,
    program: &str,
    ports: PortBlock,
    properties: impl FnOnce(&PortBlock, &Path) -> Properties,
) -> Result<Server, ClusterError> {
    let directory = parent.join(name);
    let config = directory.join(format!("{program}.conf"));
    let io = |source| ClusterError::Io { path: config.clone(), source };
    std::fs::create_dir(&directory).map_err(io)?;
    properties(&ports, &directory).write(&config).map_err(io)?;
    // HOME, because that is where logs go.
    let line = CommandLine::new(&options.program).argument(program).argument("-c").argument(&config);
    let line = line.environment("HOME", &directory);
    Ok(Server { directory, line, process: None, ports })
}
