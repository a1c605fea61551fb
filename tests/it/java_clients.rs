//! Apache's Java clients against our brokers: the suite of `interop/java`.

use std::path::Path;
use std::process::Command;

use crate::run::RAFTMQ;

/// Runs `interop/java/run` and shows what it printed only if a scenario failed.
fn suite(arguments: &[&str]) {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/java/run");
    let ended = Command::new(run).args(arguments).env("RAFTMQ_BIN", RAFTMQ).output().expect("interop/java/run starts");
    let (printed, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{arguments:?}\n{printed}\n{errors}");
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn client_4_9_8_on_one_broker() {
    suite(&["--client", "4.9.8", "--target", "single"]);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn client_5_5_0_on_one_broker() {
    suite(&["--client", "5.5.0", "--target", "single"]);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn client_4_9_8_on_three_members() {
    suite(&["--client", "4.9.8", "--target", "three"]);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn client_5_5_0_on_three_members() {
    suite(&["--client", "5.5.0", "--target", "three"]);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn both_clients_on_javas_own_brokers() {
    suite(&["--client", "4.9.8", "--target", "java"]);
    suite(&["--client", "5.5.0", "--target", "java"]);
}

#[test]
#[ignore = "starts JVMs and needs Maven; .ci/run runs it"]
fn quickstart_counts_1000_of_1000() {
    suite(&["--quickstart", "--target", "single"]);
    suite(&["--quickstart", "--target", "three"]);
}
