use std::time::Duration;

use raftmq_model::route::DataVersion;
use raftmq_model::topic::TopicConfig;

use super::*;

/// A table and the time, with short words for what happens to it.
#[derive(Default)]
struct Script {
    table: RouteTable,
    now: Duration,
}

impl Script {
    /// Registers `address` of group "g" over the connection numbered by its first letter.
    fn register(&mut self, address: &str, broker_id: i64, epoch: i64, counter: i64, topics: &[&str]) -> Registered {
        let topics: Vec<TopicConfig> = topics.iter().map(|topic| TopicConfig::new(topic, 4, 6)).collect();
        let registration = Registration {
            broker: identity(address, broker_id),
            ha_server_address: "ha",
            data_version: version(epoch, counter),
            topics: &topics,
            filter_servers: &[],
            expires_after: None,
            connection: connection(address),
        };
        self.table.register(&registration, self.now)
    }

    /// `id=address` of group "g", blank-separated, as the route of a topic shows it; `-` without a route.
    fn shown(&self, topic: &str) -> String {
        let Some(route) = self.table.route(topic) else { return "-".to_owned() };
        let addresses = route.broker_datas[0].broker_addrs.iter();
        addresses.map(|(id, address)| format!("{id}={address}")).collect::<Vec<_>>().join(" ")
    }
}

fn identity(address: &str, broker_id: i64) -> BrokerIdentity<'_> {
    BrokerIdentity { cluster: "c", broker_name: "g", address, broker_id }
}

fn version(epoch: i64, counter: i64) -> DataVersion {
    DataVersion { counter, state_version: epoch, timestamp: 1 }
}

fn connection(address: &str) -> ConnectionId {
    ConnectionId::from(address.as_bytes()[0])
}

fn epoch(term: i64, slot: i64) -> i64 {
    term << 16 | slot
}

#[test]
fn only_broker_id_0_brings_queues_and_only_when_its_version_differs() {
    let mut script = Script::default();
    script.register("b:1", 1, 0, 1, &["T"]);
    assert_eq!(script.shown("T"), "-");
    script.register("a:1", 0, 0, 1, &["T"]);
    assert_eq!(script.shown("T"), "0=a:1 1=b:1");
    script.register("a:1", 0, 0, 1, &["U"]);
    assert_eq!(script.table.topics(), ["T"], "same version");
    script.register("a:1", 0, 0, 2, &["U"]);
    assert_eq!(script.table.topics(), ["T", "U"], "an incremental registration removes nothing");
}

#[test]
fn a_slave_is_told_its_master() {
    let mut script = Script::default();
    assert_eq!(script.register("b:1", 1, 0, 1, &[]), Registered::default());
    assert_eq!(script.register("a:1", 0, 0, 1, &[]), Registered::default());
    let told = script.register("b:1", 1, 0, 1, &[]);
    assert_eq!((told.master_address.as_deref(), told.ha_server_address.as_deref()), (Some("a:1"), Some("ha")));
}

#[test]
fn an_address_under_another_id_moves() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T"]);
    script.register("b:1", 1, 0, 1, &["T"]);
    script.table.handle_close(connection("a:1"));
    assert_eq!(script.shown("T"), "1=b:1", "without epochs nobody stands in");
    script.register("b:1", 0, 0, 1, &["T", "U"]);
    assert_eq!(script.shown("T"), "0=b:1");
    assert_eq!(script.table.topics(), ["T", "U"], "a new master's queues count whatever its version");
}

#[test]
fn the_last_to_register_an_id_shows() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T"]);
    script.register("b:1", 0, 0, 1, &["T"]);
    assert_eq!(script.shown("T"), "0=b:1");
    script.register("a:1", 0, 0, 1, &["T"]);
    assert_eq!(script.shown("T"), "0=a:1");
}

#[test]
fn silence_of_120_seconds_removes_a_broker_and_the_last_one_its_queues() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T"]);
    script.now = Duration::from_secs(60);
    script.register("b:1", 1, 0, 1, &["T"]);
    assert_eq!(script.table.expire(Duration::from_secs(120)), []);
    let expired = script.table.expire(Duration::from_secs(121));
    assert_eq!(expired.iter().map(|expired| expired.address.as_str()).collect::<Vec<_>>(), ["a:1"]);
    assert_eq!(script.shown("T"), "1=b:1", "a route lists slaves also without a master");
    assert_eq!(script.table.expire(Duration::from_secs(181)).len(), 1);
    assert_eq!((script.shown("T").as_str(), script.table.brokers().len()), ("-", 0));
}

#[test]
fn an_unchanged_version_is_a_sign_of_life() {
    let mut script = Script::default();
    let (a, later) = (identity("a:1", 0), Duration::from_secs(100));
    let ask = |script: &mut Script, counter| script.table.query_data_version(a, version(0, counter), 7, later);
    assert_eq!(ask(&mut script, 1), (true, None));
    script.register("a:1", 0, 0, 1, &["T"]);
    assert_eq!(ask(&mut script, 2), (true, Some(version(0, 1))));
    assert_eq!(ask(&mut script, 1), (false, Some(version(0, 1))));
    assert_eq!(script.table.expire(Duration::from_secs(200)), []);
    assert_eq!(script.table.handle_close(connection("a:1")), [""; 0], "it speaks over another connection now");
    assert!(script.table.handle_heartbeat("g", "a:1", Duration::from_secs(200)));
    assert!(!script.table.handle_heartbeat("g", "b:1", Duration::from_secs(200)));
    assert_eq!(script.table.expire(Duration::from_secs(300)), []);
    assert_eq!(script.table.expire(Duration::from_secs(321)).len(), 1);
}

#[test]
fn a_closed_connection_that_was_replaced_removes_nobody() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T"]);
    let again = Registration {
        broker: identity("a:1", 0),
        ha_server_address: "ha",
        data_version: version(0, 1),
        topics: &[],
        filter_servers: &[],
        expires_after: None,
        connection: 1000,
    };
    script.table.register(&again, script.now);
    assert!(script.table.handle_close(connection("a:1")).is_empty());
    assert_eq!(script.table.handle_close(1000), ["a:1"]);
    assert_eq!(script.shown("T"), "-");
}

#[test]
fn an_older_epoch_never_becomes_broker_id_0() {
    let mut script = Script::default();
    script.register("a:1", 0, epoch(5, 0), 1, &["T"]);
    script.register("b:1", 2, epoch(5, 0), 1, &["T"]);
    script.register("c:1", 3, epoch(5, 0), 1, &["T"]);
    assert_eq!(script.shown("T"), "0=a:1 2=b:1 3=c:1");
    script.register("b:1", 0, epoch(6, 1), 1, &["T", "U"]);
    assert_eq!(script.shown("U"), "0=b:1 1=a:1 3=c:1", "the old leader moves to the id of its slot");
    assert!(script.register("a:1", 0, epoch(5, 0), 2, &["V"]).outdated);
    assert_eq!(script.shown("T"), "0=b:1 1=a:1 3=c:1");
    assert_eq!(script.shown("V"), "-", "nor do its queues count");
    script.register("a:1", 1, epoch(6, 1), 1, &["T"]);
    assert!(script.register("a:1", 0, epoch(5, 0), 2, &["V"]).outdated, "overtaken on the way");
    assert_eq!(script.shown("T"), "0=b:1 1=a:1 3=c:1");
    assert!(script.register("d:1", 0, 0, 9, &["V"]).outdated, "no epoch is older than any");
    assert_eq!(script.shown("T"), "0=b:1 1=a:1 3=c:1");
}

#[test]
fn a_raft_group_keeps_its_queues_while_a_member_lives_and_shows_it_as_broker_id_0() {
    let mut script = Script::default();
    script.register("a:1", 0, epoch(5, 0), 1, &["T"]);
    script.register("b:1", 2, epoch(5, 0), 1, &["T"]);
    script.register("c:1", 3, epoch(5, 0), 1, &["T"]);
    script.table.handle_close(connection("a:1"));
    assert_eq!(script.shown("T"), "0=b:1 3=c:1");
    script.register("b:1", 2, epoch(5, 0), 1, &["T"]);
    assert_eq!(script.shown("T"), "0=b:1 3=c:1", "it stands in until a newer epoch arrives");
    script.register("c:1", 0, epoch(6, 2), 1, &["T"]);
    assert_eq!(script.shown("T"), "0=c:1 2=b:1");
    script.table.unregister(identity("c:1", 0));
    assert_eq!(script.shown("T"), "0=b:1");
    script.table.handle_close(connection("b:1"));
    assert_eq!(script.shown("T"), "-", "no member lives");
    script.register("a:1", 0, epoch(1, 0), 1, &["T"]);
    assert_eq!(script.shown("T"), "0=a:1", "a group that was gone starts anew");
}

#[test]
fn a_leader_that_steps_down_leaves_broker_id_0_to_a_living_member() {
    let mut script = Script::default();
    script.register("a:1", 0, epoch(5, 0), 1, &["T"]);
    script.register("b:1", 2, epoch(5, 0), 1, &["T"]);
    script.register("a:1", 1, epoch(5, 0), 1, &["T"]);
    assert_eq!(script.shown("T"), "0=a:1 2=b:1");
}

#[test]
fn write_permission_is_wiped_until_a_changed_registration() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T", "U"]);
    let perm = |script: &Script| script.table.route("T").unwrap().queue_datas[0].perm;
    assert_eq!(script.table.wipe_write_permission("g"), 2);
    assert_eq!(perm(&script), 4);
    script.register("a:1", 0, 0, 1, &["T", "U"]);
    assert_eq!(perm(&script), 4);
    script.register("a:1", 0, 0, 2, &["T", "U"]);
    assert_eq!(perm(&script), 6);
    script.table.wipe_write_permission("g");
    assert_eq!(script.table.add_write_permission("g"), 2);
    assert_eq!(perm(&script), 6);
    assert_eq!(script.table.wipe_write_permission("other"), 0);
}

#[test]
fn topics_are_listed_by_cluster_and_deleted() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T", "U"]);
    assert_eq!(script.table.topics_of_cluster("c"), ["T", "U"]);
    assert_eq!(script.table.topics_of_cluster("d"), [""; 0]);
    assert_eq!(script.table.system_topics(), (vec!["c".to_owned(), "g".to_owned()], Some("a:1".to_owned())));
    script.table.delete_topic("T", Some("d"));
    assert_eq!(script.table.topics(), ["T", "U"]);
    script.table.delete_topic("T", Some("c"));
    script.table.delete_topic("U", None);
    assert_eq!(script.table.topics(), [""; 0]);
}

/// A classic broker has moved to another address under its name, and the new one has gone.
#[test]
fn a_group_without_an_address_to_show_is_in_no_route() {
    let mut script = Script::default();
    script.register("a:1", 0, 0, 1, &["T"]);
    script.register("b:1", 0, 0, 1, &["T"]);
    assert_eq!(script.shown("T"), "0=b:1");
    script.table.handle_close(connection("b:1"));
    assert_eq!(script.shown("T"), "-");
    script.register("a:1", 0, 0, 1, &["T"]);
    assert_eq!(script.shown("T"), "0=a:1");
}
