//! What members of a Raft group answer that do not lead: the same as the leader, from the leader; what they may serve
//! themselves; and what they say when nobody leads.
#![expect(clippy::disallowed_methods, reason = "measures real processes by the real clock")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use raftmq_testkit::cluster::{Cluster, Options};
use raftmq_testkit::record::{self, Message};
use raftmq_testkit::remoting::{Answer, Connection};
use raftmq_testkit::{Group, until};

use crate::run::RAFTMQ;

const PATIENCE: Duration = Duration::from_secs(60);

const SEND: i32 = 10;
const PULL: i32 = 11;
const QUERY_OFFSET: i32 = 14;
const COMMIT_OFFSET: i32 = 15;
const CREATE_TOPIC: i32 = 17;
const ALL_TOPICS: i32 = 21;
const SEARCH_OFFSET: i32 = 29;
const MAX_OFFSET: i32 = 30;
const MIN_OFFSET: i32 = 31;
const EARLIEST_TIME: i32 = 32;
const CREATE_GROUP: i32 = 200;
const ALL_GROUPS: i32 = 201;
const SEND_V2: i32 = 310;
const SEND_BATCH: i32 = 320;

const OK: i32 = 0;
const MESSAGE_ILLEGAL: i32 = 13;
const SERVICE_NOT_AVAILABLE: i32 = 14;
const PULL_NOT_FOUND: i32 = 19;
const QUERY_NOT_FOUND: i32 = 22;

/// Three members, the one that leads, and a connection to each.
struct Members {
    cluster: Cluster,
    leader: usize,
    connections: Vec<Connection>,
}

impl Members {
    fn start() -> Members {
        let options = Options::new(RAFTMQ, Group::Three).set("maxMessageSize", 100_000);
        let mut cluster = Cluster::start(&options).unwrap_or_else(|error| panic!("{error}"));
        let leader = cluster.await_leader().unwrap_or_else(|error| panic!("{error}"));
        let open = |slot| Connection::open(&cluster.address(slot), PATIENCE).expect("a member listens");
        let connections = (0..cluster.size()).map(open).collect();
        let mut members = Members { cluster, leader, connections };
        // A name server shows some member first of all; who knows the ways of the start's topics leads.
        let created = members.ask(leader, CREATE_TOPIC, &topic("T"), "");
        assert_eq!(created.code, OK, "{created:?}");
        members
    }

    fn followers(&self) -> Vec<usize> {
        (0..self.cluster.size()).filter(|slot| *slot != self.leader).collect()
    }

    fn ask(&mut self, slot: usize, code: i32, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let answer = self.connections[slot].ask(code, fields, body.as_ref());
        answer.unwrap_or_else(|error| panic!("request {code} at member {slot}: {error}\n{}", self.cluster.tails()))
    }

    /// Asks the leader, then both followers, and wants one answer; returns it.
    fn ask_all(&mut self, code: i32, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let expected = Answer { opaque: 0, ..self.ask(self.leader, code, fields, &body) };
        for slot in self.followers() {
            let answer = Answer { opaque: 0, ..self.ask(slot, code, fields, &body) };
            assert_eq!(answer, expected, "request {code} {fields:?} at follower {slot}");
        }
        expected
    }

    /// What a pull at one member gives.
    fn pull(&mut self, slot: usize, queue: &str, from: u64) -> (Answer, Vec<Message>) {
        let answer = self.ask(slot, PULL, &pull(queue, &from.to_string(), "4", "0"), "");
        let messages = record::messages(&answer.body).unwrap_or_else(|| panic!("broken records: {answer:?}"));
        (answer, messages)
    }
}

fn topic(name: &str) -> [(&'static str, &str); 6] {
    [
        ("topic", name),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "2"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
    ]
}

fn queue<'a>(queue: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("consumerGroup", "cg"), ("topic", "T"), ("queueId", queue)], more].concat()
}

/// `sys_flag`: bit 1 lets it wait, bit 2 says that there is a subscription.
fn pull<'a>(queue: &'a str, from: &'a str, sys_flag: &'a str, suspend_ms: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("consumerGroup", "cg"),
        ("topic", "T"),
        ("queueId", queue),
        ("queueOffset", from),
        ("maxMsgNums", "32"),
        ("sysFlag", sys_flag),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", suspend_ms),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ]
}

/// The fields of a send in the form that the request has.
fn send_fields(code: i32, queue: &str) -> Vec<(&str, &str)> {
    let values = ["pg", "T", "TBW102", "4", queue, "0", "1700000000000", "0", "K\u{1}v\u{2}", "0", "false"];
    let names = match code {
        SEND => [
            "producerGroup",
            "topic",
            "defaultTopic",
            "defaultTopicQueueNums",
            "queueId",
            "sysFlag",
            "bornTimestamp",
            "flag",
            "properties",
            "reconsumeTimes",
            "unitMode",
        ],
        _ => ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"],
    };
    let mut fields: Vec<(&str, &str)> = names.into_iter().zip(values).collect();
    if code == SEND_BATCH {
        fields.push(("m", "true"));
    }
    fields
}

/// RocketMQ's `MessageDecoder.encodeMessages`, without properties.
fn batch(bodies: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for body in bodies {
        bytes.extend((22 + body.len() as u32).to_be_bytes());
        bytes.extend([0; 12]);
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body.as_bytes());
        bytes.extend([0; 2]);
    }
    bytes
}

/// RocketMQ's `MessageDecoder.createMessageId`: where the message lies, and who gives it out.
fn message_id(host: SocketAddr, physical_offset: u64) -> String {
    let SocketAddr::V4(host) = host else { panic!("{host} is IPv6") };
    format!("{:08X}{:08X}{physical_offset:016X}", u32::from(*host.ip()), host.port())
}

fn sorted_names(answer: &Answer) -> Vec<&str> {
    answer.fields.keys().map(String::as_str).collect()
}

#[test]
fn a_send_to_a_follower_is_stored_and_answered_as_one_to_the_leader() {
    let mut members = Members::start();
    let store_host: SocketAddr = members.cluster.address(members.leader).parse().expect("an address");
    let follower = members.followers()[0];
    let mut next = 0;
    for code in [SEND_V2, SEND, SEND_BATCH] {
        let mut answers = Vec::new();
        for slot in [members.leader, follower] {
            let bodies: Vec<String> = match code {
                SEND_BATCH => (0..3).map(|number| format!("{code} at {slot}, {number}")).collect(),
                _ => vec![format!("{code} at {slot}")],
            };
            let body = if code == SEND_BATCH { batch(&bodies) } else { bodies[0].clone().into_bytes() };
            let answer = members.ask(slot, code, &send_fields(code, "1"), body);
            assert_eq!(answer.code, OK, "{code} at {slot}: {answer:?}");
            assert_eq!(answer.field("queueId"), "1");
            assert_eq!(answer.field("queueOffset"), next.to_string(), "{code} at {slot}");

            let born_host = members.connections[slot].local_address().expect("a connection has two ends");
            let (pulled, messages) = members.pull(members.leader, "1", next);
            assert_eq!(pulled.code, OK, "read by the leader as soon as it was answered: {pulled:?}");
            let found: Vec<String> =
                messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect();
            assert_eq!(found, bodies);
            let mut ids = Vec::new();
            for message in &messages {
                assert_eq!((message.queue_id, message.queue_offset), (1, next));
                assert_eq!(message.born_host, born_host, "whose client sent it, {code} at {slot}");
                assert_eq!(message.store_host, store_host, "who stored it, {code} at {slot}");
                ids.push(message_id(store_host, message.physical_offset));
                next += 1;
            }
            assert_eq!(answer.field("msgId"), ids.join(","), "{code} at {slot}");
            answers.push(answer);
        }
        assert_eq!(sorted_names(&answers[0]), sorted_names(&answers[1]), "{code}");
        assert_eq!(answers[0].remark, answers[1].remark, "{code}");
    }
    for code in [SEND_V2, SEND] {
        let refused = members.ask_all(code, &send_fields(code, "1"), vec![b'x'; 100_001]);
        assert_eq!(refused.code, MESSAGE_ILLEGAL, "{refused:?}");
        let missing = members.ask_all(code, &[], "no fields");
        assert!(missing.code != OK && !missing.remark.is_empty(), "{missing:?}");
    }
    let end = members.ask_all(MAX_OFFSET, &queue("1", &[]), "");
    assert_eq!(end.field("offset"), next.to_string(), "what was refused is not stored");
}

#[test]
fn topics_groups_and_offsets_are_the_same_whoever_is_asked() {
    let mut members = Members::start();
    let (leader, [first, second]) = (members.leader, [members.followers()[0], members.followers()[1]]);
    for (slot, name) in [(leader, "AtLeader"), (first, "AtFollower")] {
        let created = members.ask(slot, CREATE_TOPIC, &topic(name), "");
        assert_eq!((created.code, created.remark.as_str(), created.fields.len()), (OK, "", 0), "{created:?}");
        assert!(members.ask(leader, ALL_TOPICS, &[], "").text().contains(&format!("\"{name}\"")));
    }
    let refused = members.ask_all(CREATE_TOPIC, &topic("TBW102"), "");
    assert_eq!((refused.code, refused.remark.as_str()), (1, "The topic[TBW102] is conflict with system topic."));
    for (slot, name) in [(leader, "at-leader"), (second, "at-follower")] {
        let created = members.ask(slot, CREATE_GROUP, &[], format!(r#"{{"groupName":"{name}","retryMaxTimes":3}}"#));
        assert_eq!((created.code, created.remark.as_str(), created.fields.len()), (OK, "", 0), "{created:?}");
        assert!(members.ask(leader, ALL_GROUPS, &[], "").text().contains(&format!(r#""groupName":"{name}""#)));
    }
    assert_ne!(members.ask_all(CREATE_GROUP, &[], "no JSON").code, OK);

    for number in 0..5 {
        let sent = members.ask(first, SEND_V2, &send_fields(SEND_V2, "0"), number.to_string());
        assert_eq!(sent.code, OK, "{sent:?}");
    }
    assert_eq!(members.ask_all(MAX_OFFSET, &queue("0", &[]), "").field("offset"), "5");
    assert_eq!(members.ask_all(MIN_OFFSET, &queue("0", &[]), "").field("offset"), "0");
    assert_eq!(members.ask_all(MAX_OFFSET, &queue("1", &[]), "").field("offset"), "0");
    let earliest = members.ask_all(EARLIEST_TIME, &queue("0", &[]), "");
    assert!(earliest.field("timestamp").parse::<i64>().is_ok_and(|at| at > 1_700_000_000_000), "{earliest:?}");
    assert_eq!(members.ask_all(EARLIEST_TIME, &queue("1", &[]), "").field("timestamp"), "-1");
    for (timestamp, offset) in [("0", "0"), ("9000000000000", "4")] {
        let found = members.ask_all(SEARCH_OFFSET, &queue("0", &[("timestamp", timestamp)]), "");
        assert_eq!(found.field("offset"), offset, "at {timestamp}");
    }
    let nowhere = [("topic", "Nowhere"), ("queueId", "0"), ("timestamp", "0"), ("consumerGroup", "cg")];
    for code in [MAX_OFFSET, MIN_OFFSET, EARLIEST_TIME, SEARCH_OFFSET] {
        members.ask_all(code, &nowhere, "");
        assert_eq!(members.ask_all(code, &[], "").code, 1, "{code} without fields");
    }

    let strict = [("setZeroIfNotFound", "false")];
    assert_eq!(members.ask_all(QUERY_OFFSET, &queue("0", &strict), "").code, QUERY_NOT_FOUND);
    for (slot, offset) in [(leader, "1"), (first, "2"), (second, "3")] {
        let committed = members.ask(slot, COMMIT_OFFSET, &queue("0", &[("commitOffset", offset)]), "");
        assert_eq!((committed.code, committed.remark.as_str(), committed.fields.len()), (OK, "", 0), "{committed:?}");
        assert_eq!(members.ask_all(QUERY_OFFSET, &queue("0", &strict), "").field("offset"), offset);
    }
    // One way: the member that was told knows at once, the others soon and never less than it.
    let one_way = queue("0", &[("commitOffset", "4")]);
    members.connections[first].tell(COMMIT_OFFSET, &one_way).expect("writes");
    assert_eq!(members.ask(first, QUERY_OFFSET, &queue("0", &strict), "").field("offset"), "4");
    assert_eq!(members.ask_all(QUERY_OFFSET, &queue("0", &strict), "").field("offset"), "4");
}

#[test]
fn every_member_serves_pulls_and_answers_held_ones_when_a_message_comes() {
    let mut members = Members::start();
    for number in 0..3 {
        let sent = members.ask(members.leader, SEND_V2, &send_fields(SEND_V2, "0"), number.to_string());
        assert_eq!(sent.code, OK, "{sent:?}");
    }
    let (expected, _) = members.pull(members.leader, "0", 0);
    assert_eq!((expected.code, record::messages(&expected.body).map_or(0, |all| all.len())), (OK, 3));
    for slot in members.followers() {
        let same = until("the follower has the messages", PATIENCE, || {
            let (answer, _) = members.pull(slot, "0", 0);
            (answer.body == expected.body).then_some(answer)
        });
        let answer = same.unwrap_or_else(|late| panic!("{late}\n{}", members.cluster.tails()));
        assert_eq!(Answer { opaque: 0, ..answer }, Answer { opaque: 0, ..expected.clone() });
        let (nothing, _) = members.pull(slot, "0", 3);
        assert_eq!((nothing.code, nothing.field("nextBeginOffset")), (PULL_NOT_FOUND, "3"), "{nothing:?}");
    }

    for slot in 0..3 {
        let from = members.ask(members.leader, MAX_OFFSET, &queue("0", &[]), "").field("offset").to_owned();
        let held = &mut members.connections[slot];
        let opaque = held.send(PULL, &pull("0", &from, "6", "15000"), &[]).expect("writes");
        held.set_limit(Duration::from_millis(300)).expect("a limit");
        let early = held.receive();
        assert!(early.is_err(), "member {slot} did not hold it: {early:?}");
        held.set_limit(PATIENCE).expect("a limit");

        let mut sender = Connection::open(&members.cluster.address(members.leader), PATIENCE).expect("it listens");
        let sent = sender.ask(SEND_V2, &send_fields(SEND_V2, "0"), b"awaited").expect("an answer");
        let arrived = Instant::now();
        assert_eq!((sent.code, sent.field("queueOffset")), (OK, from.as_str()), "{sent:?}");
        let woken = members.connections[slot].receive().expect("an answer");
        let waited = arrived.elapsed();
        assert_eq!((woken.opaque, woken.code), (opaque, OK), "{woken:?}");
        let found = record::messages(&woken.body).unwrap_or_default();
        assert_eq!(found.iter().map(|message| message.body.as_slice()).collect::<Vec<_>>(), [b"awaited"]);
        assert!(waited < Duration::from_secs(1), "member {slot} answered {waited:?} after the arrival");
    }
}

/// Sends to the one member that is left; it must wait for a leader, and then say that there is none.
fn assert_not_available(members: &mut Members, slot: usize, body: &str) {
    let asked = Instant::now();
    let answer = members.ask(slot, SEND_V2, &send_fields(SEND_V2, "0"), body);
    let waited = asked.elapsed();
    assert_eq!(answer.code, SERVICE_NOT_AVAILABLE, "{body}: {answer:?} after {waited:?}");
    assert!(answer.remark.contains("service not available now"), "{answer:?}");
    let hold = Duration::from_millis(1000)..Duration::from_millis(2500);
    assert!(hold.contains(&waited), "{body}: answered after {waited:?}");
}

/// The messages of queue 0 as member `slot` has them; a follower may be a moment behind.
fn bodies(members: &mut Members, slot: usize) -> Vec<String> {
    let (_, messages) = members.pull(slot, "0", 0);
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

fn await_bodies(members: &mut Members, slot: usize, expected: &[&str]) {
    let mut found = Vec::new();
    let same = until("the messages that were acknowledged", PATIENCE, || {
        found = bodies(members, slot);
        (found == expected).then_some(())
    });
    same.unwrap_or_else(|late| panic!("{late}: {expected:?}, there are {found:?}"));
}

#[test]
fn without_a_leader_a_send_is_refused_after_the_hold_and_never_stored() {
    let mut members = Members::start();
    let last = members.followers()[0];
    let sent = members.ask(last, SEND_V2, &send_fields(SEND_V2, "0"), "before");
    assert_eq!(sent.code, OK, "{sent:?}");
    await_bodies(&mut members, last, &["before"]);

    let others: Vec<usize> = (0..3).filter(|slot| *slot != last).collect();
    others.iter().for_each(|slot| members.cluster.kill(*slot));
    for attempt in ["at once", "when it is known", "again"] {
        assert_not_available(&mut members, last, attempt);
    }
    let asked = members.ask(last, QUERY_OFFSET, &queue("0", &[]), "");
    assert_eq!(asked.code, SERVICE_NOT_AVAILABLE, "{asked:?}");
    assert_eq!(bodies(&mut members, last), ["before"], "pulls go on without a leader");
    let (nothing, _) = members.pull(last, "0", 1);
    assert_eq!(nothing.code, PULL_NOT_FOUND, "never 14: {nothing:?}");

    for slot in others {
        members.cluster.start_member(slot).unwrap_or_else(|error| panic!("{error}"));
    }
    members.cluster.await_members().unwrap_or_else(|error| panic!("{error}"));
    let sent = members.ask(last, SEND_V2, &send_fields(SEND_V2, "0"), "after");
    assert_eq!(sent.code, OK, "{sent:?}");
    await_bodies(&mut members, last, &["before", "after"]);
}

#[test]
fn members_that_stand_still_are_no_leader_either() {
    let mut members = Members::start();
    let last = members.followers()[0];
    let sent = members.ask(last, SEND_V2, &send_fields(SEND_V2, "0"), "before");
    assert_eq!(sent.code, OK, "{sent:?}");
    await_bodies(&mut members, last, &["before"]);
    for slot in (0..3).filter(|slot| *slot != last) {
        members.cluster.pause(slot).unwrap_or_else(|error| panic!("{error}"));
    }
    // A query that was on its way to the paused leader is asked again when nobody leads: it changes nothing, so its
    // client never hears of an unknown outcome.
    let known = until("the member notices that nobody leads", PATIENCE, || {
        let code = members.ask(last, QUERY_OFFSET, &queue("0", &[]), "").code;
        assert!(matches!(code, OK | QUERY_NOT_FOUND | SERVICE_NOT_AVAILABLE), "{code}");
        (code == SERVICE_NOT_AVAILABLE).then_some(())
    });
    known.unwrap_or_else(|late| panic!("{late}\n{}", members.cluster.tails()));
    for attempt in ["first", "second"] {
        assert_not_available(&mut members, last, attempt);
    }
    for slot in (0..3).filter(|slot| *slot != last) {
        members.cluster.resume(slot).unwrap_or_else(|error| panic!("{error}"));
    }
    let sent = until("a send is accepted again", PATIENCE, || {
        (members.ask(last, SEND_V2, &send_fields(SEND_V2, "0"), "after").code == OK).then_some(())
    });
    sent.unwrap_or_else(|late| panic!("{late}\n{}", members.cluster.tails()));
    await_bodies(&mut members, last, &["before", "after"]);
}
