//! A name server and the members of one Raft group as real processes of this very executable, on this machine.

mod leader;
mod ports;
mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use leader::find_leader;
pub use ports::{PortError, free_blocks};
pub use process::{PARENT_PID, Process, StopError};

/// What to start.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Where the processes keep data, logs and configuration. Must exist.
    pub folder: PathBuf,
    pub cluster: String,
    pub broker_name: String,
    pub name_server_port: u16,
    pub members: Vec<MemberPorts>,
    /// Bytes of a commitlog file; `None` leaves the broker's default.
    pub segment_bytes: Option<u64>,
}

/// The ports of one member. It also listens at `client - 2`, as RocketMQ does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberPorts {
    pub client: u16,
    pub raft: u16,
}

/// Why processes did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// A Raft group keeps the members of its first start.
    #[error("the group in {folder} has other peers: it was made with {found}, not {wanted}")]
    OtherPeers { folder: PathBuf, found: String, wanted: String },
    #[error("{program} ended with {status} before it was up; its output ({output}):\n{tail}")]
    Ended { program: String, status: String, output: PathBuf, tail: String },
    #[error("{program} is not up after {seconds} s; see {output}")]
    Slow { program: String, seconds: u64, output: PathBuf },
}

/// Running processes. They are asked to stop when this is dropped, and killed if they do not.
pub struct LocalCluster {
    spec: ClusterSpec,
    /// The members before the name server: dropped, and so stopped, in this order.
    members: Vec<Process>,
    name_server: Process,
}

/// How long a process may take until it serves.
const START_TIME: Duration = Duration::from_secs(30);

impl LocalCluster {
    /// Writes the configuration files and starts everything. Returns when all ports answer; a leader may not be
    /// elected yet. To be called from a thread that outlives the cluster: the kernel ties the processes to it.
    pub fn start(spec: ClusterSpec) -> Result<LocalCluster, StartError> {
        if let Some(found) = earlier_peers(&spec.folder)
            && found != spec.peers()
        {
            return Err(StartError::OtherPeers { wanted: spec.peers(), found, folder: spec.folder });
        }
        let config = spec.folder.join("namesrv.conf");
        write(&config, &spec.name_server_config())?;
        let address = spec.name_server();
        let mut name_server =
            Process::new("namesrv", "name server", &config, &spec.folder.join("namesrv.out"), &address);
        name_server.start()?;
        let mut members = Vec::new();
        for number in 0..spec.members.len() {
            let config = spec.folder.join(format!("n{number}.conf"));
            write(&config, &spec.member_config(number))?;
            let output = spec.folder.join(format!("n{number}.out"));
            let mut member =
                Process::new("broker", &format!("member n{number}"), &config, &output, &spec.address(number));
            member.start()?;
            members.push(member);
        }
        let mut cluster = LocalCluster { spec, members, name_server };
        cluster.name_server.wait_until_up(START_TIME)?;
        for member in &mut cluster.members {
            member.wait_until_up(START_TIME)?;
        }
        Ok(cluster)
    }

    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// The process of member `number`.
    pub fn member(&mut self, number: usize) -> &mut Process {
        &mut self.members[number]
    }

    /// Starts member `number` again and waits until it answers.
    pub fn restart(&mut self, number: usize) -> Result<(), StartError> {
        self.members[number].start()?;
        self.members[number].wait_until_up(START_TIME)
    }

    /// The name of the first process that has ended by itself, if one has.
    pub fn find_ended(&mut self) -> Option<String> {
        let mut all = self.members.iter_mut().chain([&mut self.name_server]);
        all.find_map(|process| process.has_ended().then(|| process.title().to_owned()))
    }

    /// Starts processes again that have ended by themselves. Says which.
    pub fn restart_ended(&mut self) -> Result<Vec<String>, StartError> {
        let mut restarted = Vec::new();
        for process in self.members.iter_mut().chain([&mut self.name_server]) {
            if process.has_ended() {
                process.start()?;
                process.wait_until_up(START_TIME)?;
                restarted.push(process.title().to_owned());
            }
        }
        Ok(restarted)
    }

    /// Stops the members together, then the name server.
    pub fn stop(mut self) -> Result<(), StopError> {
        for member in &self.members {
            member.ask_to_stop();
        }
        let mut outcome = Ok(());
        for member in &mut self.members {
            outcome = outcome.and(member.wait_until_stopped());
        }
        self.name_server.ask_to_stop();
        outcome.and(self.name_server.wait_until_stopped())
    }
}

impl ClusterSpec {
    /// `host:port` of the name server.
    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.name_server_port)
    }

    /// `host:port` that clients reach member `number` at.
    pub fn address(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.members[number].client)
    }

    /// The first port of ours that somebody listens at already.
    pub fn taken_port(&self) -> Option<u16> {
        let members = self.members.iter().flat_map(|ports| [ports.client, ports.raft]);
        members.chain([self.name_server_port]).find(|port| !ports::is_free(*port))
    }

    /// Which member clients reach at `address`.
    pub fn member_at(&self, address: &str) -> Option<usize> {
        (0..self.members.len()).find(|number| self.address(*number) == address)
    }

    /// What member `number` stores.
    pub fn store(&self, number: usize) -> PathBuf {
        self.folder.join(format!("n{number}"))
    }

    fn peers(&self) -> String {
        let members = self.members.iter().enumerate();
        members.map(|(number, ports)| format!("n{number}-127.0.0.1:{}", ports.raft)).collect::<Vec<_>>().join(";")
    }

    fn name_server_config(&self) -> String {
        let (port, folder) = (self.name_server_port, self.folder.display());
        format!("listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={folder}/namesrv/kvConfig.json\n")
    }

    /// The `broker.conf` of member `number`. A single member keeps its log without Raft.
    pub fn member_config(&self, number: usize) -> String {
        let (cluster, group) = (&self.cluster, &self.broker_name);
        let (port, name_server, store) = (self.members[number].client, self.name_server(), self.store(number));
        let mut config = format!(
            "brokerClusterName={cluster}\nbrokerName={group}\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\n\
             listenPort={port}\nnamesrvAddr={name_server}\nstorePathRootDir={store}\n",
            store = store.display(),
        );
        if self.members.len() > 1 {
            let peers = self.peers();
            config.push_str(&format!(
                "enableDLegerCommitLog=true\ndLegerGroup={group}\n{PEERS_KEY}{peers}\ndLegerSelfId=n{number}\n"
            ));
        }
        if let Some(bytes) = self.segment_bytes {
            config.push_str(&format!("mappedFileSizeCommitLog={bytes}\n"));
        }
        config
    }
}

const PEERS_KEY: &str = "dLegerPeers=";

/// The peers of the group that was started in this folder before.
fn earlier_peers(folder: &Path) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "configuration of child processes")]
    let config = fs::read(folder.join("n0.conf")).ok()?;
    let config = String::from_utf8_lossy(&config).into_owned();
    config.lines().find_map(|line| line.strip_prefix(PEERS_KEY)).map(str::to_owned)
}

fn write(path: &Path, content: &str) -> Result<(), StartError> {
    #[expect(clippy::disallowed_methods, reason = "configuration of child processes")]
    fs::write(path, content).map_err(|source| StartError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_configuration_names_its_peers_and_itself() {
        let ports = |client| MemberPorts { client, raft: client + 10 };
        let spec = ClusterSpec {
            folder: PathBuf::from("/tmp/x"),
            cluster: "C".to_owned(),
            broker_name: "g".to_owned(),
            name_server_port: 9876,
            members: vec![ports(100), ports(200)],
            segment_bytes: Some(65_536),
        };
        let config = spec.member_config(1);
        assert!(config.contains("\ndLegerPeers=n0-127.0.0.1:110;n1-127.0.0.1:210\ndLegerSelfId=n1\n"), "{config}");
        assert!(
            config.contains("\nlistenPort=200\nnamesrvAddr=127.0.0.1:9876\nstorePathRootDir=/tmp/x/n1\n"),
            "{config}"
        );
        assert!(config.ends_with("mappedFileSizeCommitLog=65536\n"), "{config}");
        assert_eq!(spec.member_at("127.0.0.1:200"), Some(1));
        assert_eq!(spec.member_at("127.0.0.1:300"), None);
    }
}
