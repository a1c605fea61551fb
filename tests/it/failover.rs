//! Members of a Raft group are killed, paused and stopped; the files of all of them must stay equal. The long runs with
//! Apache's client are `raftmq-jepsen failover`.

use std::time::Duration;

use raftmq_testkit::cluster::{Cluster, Options};
use raftmq_testkit::commit_log::{CommitLogFiles, compare};
use raftmq_testkit::{Group, consume_queue, until};

use crate::run::{RAFTMQ, raftmq, run};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(group: Group) -> Cluster {
    Cluster::start(&Options::new(RAFTMQ, group)).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends `count` messages to topic T; all of them must be stored.
fn produce(cluster: &Cluster, count: u32) {
    let count = count.to_string();
    let address = cluster.name_server_address();
    let arguments = ["produce", "-n", &address, "-t", "T", "--in-flight", "8", "--size", "500", "--count", &count];
    let ended = run(raftmq(cluster.directory()).args(arguments));
    assert_eq!(ended.code, Some(0), "{}\n{}\n{}", ended.stdout, ended.stderr, cluster.tails());
}

/// The queues of a stopped member; they must agree with its commitlog.
fn queues(cluster: &Cluster, slot: usize) -> consume_queue::Queues {
    consume_queue::check(&cluster.store(slot)).unwrap_or_else(|error| panic!("member {slot}: {error}"))
}

/// Waits until the logs are equally long, stops all members, and compares every file.
fn stop_and_compare(mut cluster: Cluster, least_messages: u64) {
    let end = |slot| CommitLogFiles::open(&cluster.store(slot)).and_then(|log| log.end()).ok();
    until("equal ends", PATIENCE, || {
        let first = end(0)?;
        (1..3).all(|slot| end(slot) == Some(first)).then_some(())
    })
    .unwrap_or_else(|late| panic!("{late}\n{}", cluster.tails()));
    cluster.stop_all().unwrap_or_else(|error| panic!("{error}"));

    let first = CommitLogFiles::open(&cluster.store(0)).expect("segments");
    for slot in 1..3 {
        let other = CommitLogFiles::open(&cluster.store(slot)).expect("segments");
        compare(&first, &other).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(queues(&cluster, slot), queues(&cluster, 0));
    }
    let stored: u64 = queues(&cluster, 0).iter().filter(|((topic, _), _)| topic == "T").map(|(_, count)| count).sum();
    assert!(stored >= least_messages, "{stored} of {least_messages} messages");
}

#[test]
fn a_killed_leader_is_replaced_and_comes_back_with_equal_files() {
    let mut cluster = start(Group::Three);
    produce(&cluster, 300);
    for _ in 0..2 {
        let leader = cluster.await_leader().unwrap_or_else(|error| panic!("{error}"));
        cluster.kill(leader);
        produce(&cluster, 300);
        cluster.restart(leader).unwrap_or_else(|error| panic!("{error}"));
    }
    stop_and_compare(cluster, 900);
}

#[test]
fn a_paused_leader_is_replaced_and_gives_way_when_it_wakes() {
    let mut cluster = start(Group::Three);
    produce(&cluster, 100);
    let old = cluster.await_leader().unwrap_or_else(|error| panic!("{error}"));
    cluster.pause(old).expect("pause");
    until("another leader", PATIENCE, || cluster.leader().filter(|leader| *leader != old)).expect("another leader");
    produce(&cluster, 100);
    cluster.resume(old).expect("resume");
    produce(&cluster, 100);
    stop_and_compare(cluster, 300);
}

#[test]
fn members_that_were_stopped_cleanly_go_on_where_they_were() {
    let mut cluster = start(Group::Three);
    produce(&cluster, 200);
    for slot in 0..3 {
        cluster.stop(slot).unwrap_or_else(|error| panic!("{error}"));
        produce(&cluster, 100);
        cluster.restart(slot).unwrap_or_else(|error| panic!("{error}"));
    }
    cluster.stop_all().unwrap_or_else(|error| panic!("{error}"));
    for slot in 0..3 {
        cluster.start_member(slot).unwrap_or_else(|error| panic!("{error}"));
    }
    cluster.await_members().unwrap_or_else(|error| panic!("{error}"));
    produce(&cluster, 100);
    stop_and_compare(cluster, 600);
}

#[test]
fn a_killed_single_broker_keeps_what_it_acknowledged() {
    let mut cluster = start(Group::Single);
    produce(&cluster, 400);
    cluster.kill(0);
    cluster.restart(0).unwrap_or_else(|error| panic!("{error}"));
    produce(&cluster, 100);
    cluster.stop_all().unwrap_or_else(|error| panic!("{error}"));
    let stored: u64 = queues(&cluster, 0).values().sum();
    assert_eq!(stored, 500);
}
