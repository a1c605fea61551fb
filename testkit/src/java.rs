//! Apache RocketMQ's own servers and clients, through the scripts under `interop/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::ClusterError;
use crate::config::{self, Properties};
use crate::ports::PortBlock;
use crate::process::{CommandLine, Process, ProcessError};
use crate::repository;

/// Starting a JVM, and Maven fetching on the first run.
const PATIENCE: Duration = Duration::from_secs(180);

/// Apache's name server of some version.
pub struct NameServer {
    ports: PortBlock,
    _process: Process,
}

impl NameServer {
    /// Starts it with its files in `directory`.
    pub fn start(version: &str, directory: &Path) -> Result<NameServer, ClusterError> {
        let ports = PortBlock::take().ok_or(ClusterError::NoPorts)?;
        let process = serve(version, "namesrv", directory, &config::name_server(ports.listen(), directory))?;
        Ok(NameServer { ports, _process: process })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.listen())
    }
}

/// Apache's broker of some version, classic, on a store that it may find or make.
pub struct Broker {
    process: Process,
    _ports: PortBlock,
}

impl Broker {
    pub fn start(
        version: &str,
        name_server: &str,
        directory: &Path,
        store: &Path,
        settings: &Properties,
    ) -> Result<Broker, ClusterError> {
        let ports = PortBlock::take().ok_or(ClusterError::NoPorts)?;
        let mut properties = config::single(name_server, ports.listen(), store);
        properties.extend(settings);
        let process = serve(version, "broker", directory, &properties)?;
        Ok(Broker { process, _ports: ports })
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(mut self) -> Result<(), ProcessError> {
        self.process.terminate()?;
        self.process.await_exit(PATIENCE).map(|_status| ())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

fn serve(version: &str, role: &str, directory: &Path, properties: &Properties) -> Result<Process, ClusterError> {
    let config = directory.join(format!("{role}.conf"));
    let io = |source| ClusterError::Io { path: config.clone(), source };
    std::fs::create_dir_all(directory).map_err(io)?;
    properties.write(&config).map_err(io)?;
    let line = CommandLine::new(repository().join("interop/peers/serve"))
        .argument(version)
        .argument(role)
        .argument(directory.join("home"))
        .argument(&config);
    let mut process = Process::start(&format!("Java {role} {version}"), &line, &directory.join(format!("{role}.log")))?;
    process.await_output("boot success", PATIENCE)?;
    Ok(process)
}

/// A command line of one of our Java programs (`org.raftmq.interop.<class>`) on Apache's client of `version`; its state
/// goes to `home`.
pub fn program(version: &str, class: &str, home: &Path) -> Result<CommandLine, ProcessError> {
    let build = repository().join("interop/java/build");
    let failed = |source| ProcessError::Start { program: build.display().to_string(), source };
    let built = std::process::Command::new(&build).arg(version).output().map_err(failed)?;
    if !built.status.success() {
        return Err(failed(std::io::Error::other(String::from_utf8_lossy(&built.stderr).into_owned())));
    }
    let class_path = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    Ok(CommandLine::new(PathBuf::from("java"))
        .argument("-Xmx512m")
        .argument("-XX:+UseSerialGC")
        .argument("-XX:TieredStopAtLevel=1")
        .argument("-Dfile.encoding=UTF-8")
        .argument(format!("-Duser.home={}", home.display()))
        .argument("-cp")
        .argument(class_path)
        .argument(format!("org.raftmq.interop.{class}")))
}
