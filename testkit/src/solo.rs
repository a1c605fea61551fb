//! Single servers, ours or Apache's, on directories that outlive them: for stores that go from one to the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::ClusterError;
use crate::config::{self, Properties};
use crate::ports::PortBlock;
use crate::process::{CommandLine, Process};
use crate::repository;

/// Starting a JVM on a busy machine, and Maven fetching on the first run.
const PATIENCE: Duration = Duration::from_secs(180);

/// Whose servers.
#[derive(Clone, Debug)]
pub enum Maker {
    /// The `raftmq` program.
    Ours(PathBuf),
    /// Apache's, of this version (`interop/peers`).
    Java(&'static str),
}

impl Maker {
    fn line(&self, role: &str, home: &Path, config: &Path) -> CommandLine {
        match self {
            Maker::Ours(program) => {
                CommandLine::new(program).argument(role).argument("-c").argument(config).environment("HOME", home)
            }
            Maker::Java(version) => CommandLine::new(repository().join("interop/peers/serve"))
                .argument(*version)
                .argument(role)
                .argument(home)
                .argument(config),
        }
    }

    fn serve(&self, role: &str, directory: &Path, properties: &Properties) -> Result<Process, ClusterError> {
        let config = directory.join(format!("{role}.conf"));
        let io = |source| ClusterError::Io { path: config.clone(), source };
        std::fs::create_dir_all(directory).map_err(io)?;
        properties.write(&config).map_err(io)?;
        let log = directory.join(format!("{role}.log"));
        let mut process = Process::start(&format!("{role} ({self:?})"), &self.line(role, directory, &config), &log)?;
        process.await_output("boot success", PATIENCE)?;
        Ok(process)
    }
}

/// A name server that runs until it is dropped.
pub struct NameServer {
    _process: Process,
    ports: PortBlock,
}

impl NameServer {
    /// Starts it with its files in `directory`.
    pub fn start(maker: &Maker, directory: &Path) -> Result<NameServer, ClusterError> {
        let ports = PortBlock::take().ok_or(ClusterError::NoPorts)?;
        let process = maker.serve("namesrv", directory, &config::name_server(ports.listen(), directory))?;
        Ok(NameServer { _process: process, ports })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.listen())
    }
}

/// A classic broker on a store that it may find or make.
pub struct Broker {
    process: Process,
    _ports: PortBlock,
}

impl Broker {
    /// Starts it with config and output in `directory`.
    pub fn start(
        maker: &Maker,
        name_server: &str,
        directory: &Path,
        store: &Path,
        settings: &Properties,
    ) -> Result<Broker, ClusterError> {
        let ports = PortBlock::take().ok_or(ClusterError::NoPorts)?;
        let mut properties = config::single(name_server, ports.listen(), store);
        properties.extend(settings);
        let process = maker.serve("broker", directory, &properties)?;
        Ok(Broker { process, _ports: ports })
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        self.process.terminate()?;
        self.process.await_exit(PATIENCE)?;
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }
}
