#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "looks at files of the processes it starts")]

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::run::{RAFTMQ, Running, entries, free_ports, program, raftmq, run};

#[test]
fn help_names_every_program_and_gives_examples() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(raftmq(home.path()).arg("--help"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, include_str!("golden/help.txt"));
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    for (args, text) in [
        (vec!["brocker"], "brocker"),
        (vec!["produce", "-t", "T", "--count", "many"], "many"),
        (vec!["consume"], "--topic"),
        (vec!["dev", "--nodes", "2"], "1 or 3"),
        (vec![], "Usage"),
    ] {
        let ended = run(raftmq(home.path()).args(&args));
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(text), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn a_missing_or_silent_name_server_is_one_clear_error() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(raftmq(home.path()).args(["produce", "-t", "T"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("NAMESRV_ADDR"), "{}", ended.stderr);
    let address = format!("127.0.0.1:{}", free_ports(1));
    for args in [["produce", "-t", "T"], ["consume", "-t", "T"], ["admin", "topicRoute", "-tT"]] {
        let ended = run(raftmq(home.path()).args(args).env("NAMESRV_ADDR", &address));
        assert_eq!(ended.code, Some(1), "{args:?}");
        assert!(ended.stderr.starts_with(&format!("error: no name server answers at {address}: ")), "{}", ended.stderr);
        assert!(ended.stderr.contains("\nhint: "), "{}", ended.stderr);
    }
}

#[test]
fn a_topic_without_a_route_is_one_clear_error() {
    let home = tempfile::tempdir().unwrap();
    let (name_server, address) = name_server(home.path());
    let ended = run(raftmq(home.path()).args(["produce", "-t", "Nowhere", "-n", &address]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("error: no route for topic Nowhere: "), "{}", ended.stderr);
    drop(name_server);
}

#[test]
fn mqshutdown_stops_a_name_server_which_leaves_its_log() {
    let home = tempfile::tempdir().unwrap();
    let mqshutdown = home.path().join("mqshutdown");
    symlink(RAFTMQ, &mqshutdown).unwrap();
    let ended = run(program(&mqshutdown, home.path()).arg("namesrv"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), "No mqnamesrv running.\n"));

    let (name_server, _) = name_server(home.path());
    let pid = name_server.pid();
    let logs = home.path().join("logs/rocketmqlogs");
    assert_eq!(entries(&logs), [format!("namesrv.{pid}.pid").as_str(), "namesrv.log"]);
    let ended = run(program(&mqshutdown, home.path()).args(["namesrv", "--wait", "20"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = format!("The mqnamesrv({pid}) is running...\nSend shutdown request to mqnamesrv({pid}) OK\n");
    assert_eq!(ended.stdout, said);
    assert_eq!(name_server.wait(), Some(0));
    assert_eq!(entries(&logs), ["namesrv.log"]);
}

#[test]
fn a_servers_log_goes_where_the_environment_says() {
    let home = tempfile::tempdir().unwrap();
    let logs = home.path().join("elsewhere");
    let config = home.path().join("namesrv.conf");
    fs::write(&config, format!("listenPort={}\nbindAddress=127.0.0.1\n", free_ports(1))).unwrap();
    let mut name_server =
        Running::start(raftmq(home.path()).args(["namesrv", "-c"]).arg(&config).env("ROCKETMQ_LOG_DIR", &logs));
    name_server.wait_for_line("boot success");
    assert!(logs.join("namesrv.log").exists());
    assert!(!home.path().join("logs").exists());
    name_server.signal(Signal::TERM);
    assert_eq!(name_server.wait(), Some(0));
}

/// A name server on a free port, and its address.
pub(crate) fn name_server(home: &std::path::Path) -> (Running, String) {
    let port = free_ports(1);
    let config = home.join("namesrv.conf");
    fs::write(&config, format!("listenPort={port}\nbindAddress=127.0.0.1\n")).unwrap();
    let mut name_server = Running::start(raftmq(home).args(["namesrv", "-c"]).arg(&config));
    name_server.wait_for_line("The Name Server boot success. serializeType=JSON");
    (name_server, format!("127.0.0.1:{port}"))
}
