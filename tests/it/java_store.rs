//! A store goes from Apache's broker to ours and back; the official client finds every message where it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use raftmq_testkit::config::Properties;
use raftmq_testkit::solo::{Broker, Maker, NameServer};
use raftmq_testkit::{Process, java};

use crate::run::RAFTMQ;

const CLIENT: &str = "4.9.8";
const SERVER: &str = "4.9.7";

/// One store, one manifest of what is in it, and one broker at a time.
struct Travelling {
    directory: tempfile::TempDir,
    name_server: NameServer,
    visits: usize,
}

impl Travelling {
    fn new() -> Travelling {
        let directory = tempfile::tempdir().expect("temporary directory");
        let name_server = NameServer::start(&Maker::Java(SERVER), &directory.path().join("namesrv"));
        Travelling { name_server: name_server.expect("Apache's name server starts"), directory, visits: 0 }
    }

    /// Lets `maker`'s broker open the store, does `steps` of StoreCheck with Apache's client, and ends the broker.
    fn visit(&mut self, maker: &Maker, steps: &[&str], clean: bool) {
        self.visits += 1;
        let here = self.directory.path().join(format!("visit-{}", self.visits));
        let mut settings = Properties::default();
        settings.set("mappedFileSizeCommitLog", 8 << 20).set("flushDiskType", "ASYNC_FLUSH");
        let store = self.directory.path().join("store");
        let broker = Broker::start(maker, &self.name_server.address(), &here, &store, &settings);
        let broker = broker.unwrap_or_else(|error| panic!("visit {} of {maker:?}: {error}", self.visits));
        for step in steps {
            self.check(step, &here, maker);
        }
        if clean { broker.stop().expect("stops") } else { broker.kill() }
    }

    /// While `owner`'s broker runs on the store, the other one must not open it.
    fn refuse(&mut self, owner: &Maker, other: &Maker, reason: &str) {
        let settings = Properties::default();
        let store = self.directory.path().join("store");
        let start = |maker: &Maker, name: &str| {
            Broker::start(maker, &self.name_server.address(), &self.directory.path().join(name), &store, &settings)
        };
        let running = start(owner, "owner").expect("the owner starts");
        let refused = start(other, "other").err().unwrap_or_else(|| panic!("{other:?} opened the store of {owner:?}"));
        assert!(refused.to_string().contains(reason), "{refused}");
        running.stop().expect("stops");
    }

    fn check(&self, step: &str, here: &Path, maker: &Maker) {
        let line = java::program(CLIENT, "StoreCheck", &here.join("home")).expect("the Java programs build");
        let line = line.argument("--namesrv").argument(self.name_server.address()).argument("--manifest");
        let line = line.argument(self.directory.path().join("manifest")).argument(step);
        let mut process = Process::start(step, &line, &here.join(format!("{step}.log"))).expect("java starts");
        let status = process.await_exit(Duration::from_secs(300)).expect("ends");
        assert!(status.success(), "{step} at visit {} of {maker:?}:\n{}", self.visits, process.tail());
    }
}

fn ours() -> Maker {
    Maker::Ours(PathBuf::from(RAFTMQ))
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn a_store_that_java_stopped_is_read_continued_and_given_back() {
    let mut store = Travelling::new();
    store.visit(&Maker::Java(SERVER), &["write", "commit-offsets"], true);
    store.visit(&ours(), &["read", "check-offsets", "write", "read"], true);
    store.visit(&Maker::Java(SERVER), &["read", "check-offsets", "write"], true);
    store.visit(&ours(), &["read", "check-offsets"], true);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn a_store_whose_broker_was_killed_is_read_continued_and_given_back() {
    let mut store = Travelling::new();
    store.visit(&Maker::Java(SERVER), &["write"], false);
    store.visit(&ours(), &["read", "write"], false);
    store.visit(&Maker::Java(SERVER), &["read", "write"], false);
    store.visit(&ours(), &["read"], true);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn a_store_has_one_broker_at_a_time_whoever_made_it() {
    let java = Maker::Java(SERVER);
    Travelling::new().refuse(&java, &ours(), "is in use by another process");
    Travelling::new().refuse(&ours(), &java, "Lock failed,MQ already started");
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn the_check_itself_passes_on_javas_broker_alone() {
    let mut store = Travelling::new();
    store.visit(&Maker::Java(SERVER), &["write", "commit-offsets"], true);
    store.visit(&Maker::Java(SERVER), &["read", "check-offsets", "write", "read"], true);
}
