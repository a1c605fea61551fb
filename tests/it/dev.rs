#![expect(clippy::disallowed_methods, reason = "looks at files of the processes it starts")]

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::run::{Running, free_ports, raftmq, run};

/// `raftmq dev` on free ports, and the address of its name server.
pub(crate) fn dev(home: &Path, options: &[&str]) -> (Running, String) {
    let mut command = raftmq(home);
    command.args(["dev", "--port", "0"]).args(options).env("TMPDIR", home);
    if !options.contains(&"--broker-port") {
        command.args(["--broker-port", "0"]);
    }
    let mut dev = Running::start(&mut command);
    let lines = dev.wait_for_line("Ctrl-C");
    let line = lines.iter().find(|line| line.contains("name server  ")).expect("it says where the name server is");
    let address = line.split_whitespace().last().expect("the line has words").to_owned();
    (dev, address)
}

#[test]
fn what_is_produced_is_consumed_once_and_the_group_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (dev, address) = dev(home.path(), &[]);
    let produce = |body: &str, count: &str| {
        let ended = run(raftmq(home.path()).args([
            "produce", "-n", &address, "-t", "T", "--body", body, "--count", count, "--tags", "a", "--keys", "k{}",
        ]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains(&format!("{count} messages stored")), "{}", ended.stdout);
    };
    let consume = |count: &str| {
        let ended = run(raftmq(home.path()).args(["consume", "-n", &address, "-t", "T", "-g", "g", "--count", count]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let mut bodies: Vec<String> =
            ended.stdout.lines().map(|line| line.split('\t').skip(2).collect::<Vec<_>>().join(" ")).collect();
        bodies.sort_unstable();
        bodies
    };
    produce("first {}", "3");
    assert_eq!(consume("3"), ["a k0 first 0", "a k1 first 1", "a k2 first 2"]);
    produce("second {}", "2");
    assert_eq!(consume("2"), ["a k0 second 0", "a k1 second 1"]);

    dev.signal(Signal::TERM);
    assert_eq!(dev.wait(), Some(0));
    let left = fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 0, "the data went, too");
}

#[test]
fn tags_are_filtered() {
    let home = tempfile::tempdir().unwrap();
    let (_dev, address) = dev(home.path(), &[]);
    for (tag, body) in [("a", "1"), ("b", "2"), ("c", "3"), ("b", "4")] {
        let ended =
            run(raftmq(home.path()).args(["produce", "-n", &address, "-t", "T", "--tags", tag, "--body", body]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let ended =
        run(raftmq(home.path()).args(["consume", "-n", &address, "-t", "T", "--tags", "c || b", "--count", "3"]));
    let mut bodies: Vec<&str> = ended.stdout.lines().filter_map(|line| line.split('\t').next_back()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["2", "3", "4"]);
}

#[test]
fn three_nodes_keep_their_data_in_the_given_folder() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let data = data.to_str().unwrap();
    // The group's members are known by their ports, so these stay, too.
    let port = free_ports(30).to_string();
    let options = ["--nodes", "3", "--dir", data, "--broker-port", &port];
    for body in ["before", "after"] {
        let (dev, address) = dev(home.path(), &options);
        let ended = run(raftmq(home.path()).args(["produce", "-n", &address, "-t", "T", "--body", body]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        dev.signal(Signal::TERM);
        assert_eq!(dev.wait(), Some(0));
    }
    let (_dev, address) = dev(home.path(), &options);
    let ended = run(raftmq(home.path()).args(["consume", "-n", &address, "-t", "T", "--count", "2"]));
    let mut bodies: Vec<&str> = ended.stdout.lines().filter_map(|line| line.split('\t').next_back()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["after", "before"]);

    let other = free_ports(30).to_string();
    let ended =
        run(raftmq(home.path()).args(["dev", "--port", "0", "--nodes", "3", "--dir", data, "--broker-port", &other]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("has other peers"), "{}", ended.stderr);
}
