//! What keeps a server from starting is said in clear lines on stderr, one per finding, and nothing else is; the exit
//! code is not 0.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "lays out configs and looks at the files left")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::programs::name_server;
use crate::run::{Running, free_ports, raftmq, run};

/// A folder with config files, and ports, whose names stand for them in what is said.
struct Place {
    home: tempfile::TempDir,
    ports: Vec<(&'static str, u16)>,
    said: String,
}

impl Place {
    fn new() -> Place {
        Place { home: tempfile::tempdir().unwrap(), ports: Vec::new(), said: String::new() }
    }

    /// The first of ten free ports, as a broker and its neighbours need; they are free only until the next call unless
    /// somebody listens.
    fn port(&mut self, name: &'static str) -> u16 {
        let port = free_ports(10) + 5;
        self.ports.push((name, port));
        port
    }

    fn store(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn config(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts a server that must refuse, and notes under `title` what it said.
    fn refused(&mut self, title: &str, program: &str, config: &Path) {
        let ended = run(raftmq(self.home.path()).args([program, "-c"]).arg(config).env("RUST_BACKTRACE", "1"));
        assert!(ended.code.is_some_and(|code| code != 0), "{title}: {ended:?}");
        assert_eq!(ended.stdout, "", "{title}");
        assert!(ended.stderr.ends_with('\n'), "{title}: {ended:?}");
        for trace in ["panicked", "backtrace", "RUST_BACKTRACE", " at ./", "Error {"] {
            assert!(!ended.stderr.contains(trace), "{title}: {}", ended.stderr);
        }
        let mut said = ended.stderr.replace(&*self.home.path().to_string_lossy(), "DIR");
        for (name, port) in &self.ports {
            said = said.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{name}"));
        }
        write!(self.said, "# {title}\n{said}").unwrap();
    }
}

/// A classic broker's config.
fn classic(store: &Path, port: u16) -> String {
    let store = store.display();
    format!(
        "brokerName=broker-a\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={port}\n\
         storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\nmappedFileSizeCommitLog=16777216\n"
    )
}

/// The same as the only member of a Raft group.
fn raft(store: &Path, port: u16, raft_port: u16) -> String {
    format!(
        "{}enableDLegerCommitLog=true\ndLegerGroup=broker-a\ndLegerPeers=n0-127.0.0.1:{raft_port}\ndLegerSelfId=n0\n",
        classic(store, port)
    )
}

fn broker(home: &Path, config: &Path) -> Running {
    let mut broker = Running::start(raftmq(home).args(["broker", "-c"]).arg(config));
    broker.wait_for_line("boot success");
    broker
}

fn stop(server: Running) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}

/// Every file below a folder with its content.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        if path.is_dir() {
            found.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        at += 1;
    }
    found.retain(|path| path.is_file());
    found.sort();
    found.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_config_that_is_wrong_is_told_by_file_line_and_nearest_key() {
    let mut place = Place::new();
    let broken = "# a comment\n\nbrokerNmae=a\nflushDiskTyp=SYNC_FLUSH\n";
    let config = place.config("keys.conf", broken);
    place.refused("broker, unknown keys", "broker", &config);
    let values = "listenPort=abc\nautoCreateTopicEnable=yes\nflushDiskType=SOMETIMES\nmaxMessageSize=-1\n";
    let config = place.config("values.conf", values);
    place.refused("broker, values that do not parse", "broker", &config);
    let config = place.config("far.conf", "zzzzzzzzzzzz=1\n");
    place.refused("broker, a key that is near to none", "broker", &config);
    let config = place.config("escape.conf", "brokerName=a\nbrokerIP1=\\u12\n");
    place.refused("broker, an escape that is none", "broker", &config);
    let config = place.config("namesrv.conf", "listenPorts=9876\nlistenPort=70000\n");
    place.refused("name server, an unknown key and a value out of range", "namesrv", &config);
    let nowhere = place.store("nowhere.conf");
    place.refused("broker, no such file", "broker", &nowhere);
    place.refused("name server, no such file", "namesrv", &nowhere);
    assert_eq!(place.said, include_str!("golden/bad_config.txt"));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let mut place = Place::new();
    let (name_server, address) = name_server(place.home.path());
    let taken = address.rsplit(':').next().unwrap().parse().unwrap();
    place.ports.push(("NAMESRV", taken));
    let config = place.config("second.conf", &format!("listenPort={taken}\nbindAddress=127.0.0.1\n"));
    place.refused("name server, the port of another", "namesrv", &config);
    let store = place.store("store");
    let config = place.config("broker.conf", &classic(&store, taken));
    place.refused("broker, the port of the name server", "broker", &config);
    let config = place.config("vip.conf", &classic(&store, taken + 2));
    place.refused("broker, its second port is that of the name server", "broker", &config);
    let port = place.port("BROKER");
    let config = place.config("raft.conf", &raft(&place.store("raft"), port, taken));
    place.refused("member of a Raft group, its Raft port is that of the name server", "broker", &config);
    drop(name_server);
    assert_eq!(place.said, include_str!("golden/port_taken.txt"));
}

#[test]
fn a_folder_in_use_or_of_another_kind_is_told_and_left_alone() {
    let mut place = Place::new();
    let (classic_store, raft_store) = (place.store("classic"), place.store("raft"));
    let ports = [place.port("CLASSIC"), place.port("OTHER")];
    let config = place.config("classic.conf", &classic(&classic_store, ports[0]));
    let running = broker(place.home.path(), &config);
    let config = place.config("classic-2.conf", &classic(&classic_store, free_ports(10) + 5));
    place.refused("classic, the folder of another process", "broker", &config);
    stop(running);
    let before = files(&classic_store);
    let config = place.config("as-raft.conf", &raft(&classic_store, ports[0], ports[0] + 3));
    place.refused("a classic folder as a Raft store", "broker", &config);
    assert!(files(&classic_store) == before, "the classic folder was changed");

    let config = place.config("raft.conf", &raft(&raft_store, ports[1], ports[1] + 3));
    let running = broker(place.home.path(), &config);
    let second = free_ports(10) + 5;
    let config = place.config("raft-2.conf", &raft(&raft_store, second, second + 3));
    place.refused("Raft, the folder of another process", "broker", &config);
    stop(running);
    let before = files(&raft_store);
    assert!(!before.is_empty());
    let config = place.config("as-classic.conf", &classic(&raft_store, ports[1]));
    place.refused("a Raft folder as a classic store", "broker", &config);
    assert!(files(&raft_store) == before, "the Raft folder was changed");
    assert_eq!(place.said, include_str!("golden/folder_refused.txt"));
}
