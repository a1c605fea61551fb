//! The scripts of `bin/`, run by `sh` as RocketMQ's guides do.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "lays out a release folder")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dev::dev;
use crate::run::{RAFTMQ, Running, program, run};

/// A folder as a release has it: `bin/` with the scripts, and the binary if wanted.
fn release(folder: &Path, with_binary: bool) -> PathBuf {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/bin")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), bin.join(entry.file_name())).unwrap();
    }
    if with_binary {
        symlink(RAFTMQ, bin.join("raftmq")).unwrap();
    }
    bin
}

fn sh(script: &Path, home: &Path) -> Command {
    let mut command = program("sh".as_ref(), home);
    command.arg(script);
    command
}

#[test]
fn without_a_binary_the_scripts_say_how_to_build_it() {
    let home = tempfile::tempdir().unwrap();
    let bin = release(home.path(), false);
    for script in ["mqnamesrv", "mqbroker", "mqadmin", "mqshutdown", "tools.sh"] {
        let ended = run(&mut sh(&bin.join(script), home.path()));
        assert_eq!(ended.code, Some(1), "{script}");
        assert!(ended.stderr.contains("cargo build --release"), "{script}: {}", ended.stderr);
    }
}

#[test]
fn an_unknown_class_lists_the_known_ones() {
    let home = tempfile::tempdir().unwrap();
    let bin = release(home.path(), true);
    let ended = run(sh(&bin.join("tools.sh"), home.path()).arg("org.example.Nothing"));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("quickstart.Producer"), "{}", ended.stderr);
}

#[test]
fn the_quick_start_sends_and_receives_a_thousand() {
    let home = tempfile::tempdir().unwrap();
    let bin = release(home.path(), true);
    let (_dev, address) = dev(home.path(), &[]);
    let tools = |class: &str| {
        let mut command = sh(&bin.join("tools.sh"), home.path());
        command.arg(format!("org.apache.rocketmq.example.quickstart.{class}")).env("NAMESRV_ADDR", &address);
        command
    };
    let ended = run(&mut tools("Producer"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().filter(|line| line.starts_with("SendResult [sendStatus=SEND_OK, ")).count(), 1000);

    let mut consumer = Running::start(&mut tools("Consumer"));
    consumer.wait_for_line("Consumer Started.");
    let mut received = HashSet::new();
    while received.len() < 1000 {
        for line in consumer.wait_for_line("Receive New Messages: ") {
            let id = line.split("msgId=").nth(1).and_then(|rest| rest.split(',').next()).expect("a message id");
            received.insert(id.to_owned());
        }
    }
}

#[test]
fn mqadmin_creates_a_topic_and_shows_it() {
    let home = tempfile::tempdir().unwrap();
    let bin = release(home.path(), true);
    let (_dev, address) = dev(home.path(), &[]);
    let mqadmin = |args: &[&str]| {
        let ended = run(sh(&bin.join("mqadmin"), home.path()).args(args).args(["-n", &address]));
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        ended.stdout
    };
    let said = mqadmin(&["updateTopic", "-c", "DefaultCluster", "-t", "Orders", "-r", "3", "-w", "2"]);
    assert!(said.contains("create topic to 127.0.0.1:"), "{said}");
    assert!(said.contains("readQueueNums=3, writeQueueNums=2, perm=RW-"), "{said}");
    assert!(mqadmin(&["topicList"]).lines().any(|line| line == "Orders"));
    assert!(mqadmin(&["topicRoute", "-t", "Orders"]).contains("\"writeQueueNums\": 2"));
    assert!(mqadmin(&["clusterList"]).contains("broker-a"));
    assert!(mqadmin(&["topicStatus", "-t", "Orders"]).starts_with("#Broker Name"));
    assert!(mqadmin(&["updateSubGroup", "-c", "DefaultCluster", "-g", "G"]).contains("create subscription group G to"));
}
