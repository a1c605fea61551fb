//! What a client sees that talks to a member that does not lead.

use raftmq_broker::Broker;

use crate::requests::{Connection, connect, eventually, start_three};

fn heartbeat(client: &str, group: &str) -> String {
    format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"CLUSTERING","subscriptionDataSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"T"}}],"unitMode":false}}],"producerDataSet":[]}}"#
    )
}

const SEND: [(&str, &str); 8] = [
    ("producerGroup", "pg"),
    ("topic", "T"),
    ("defaultTopic", "TBW102"),
    ("defaultTopicQueueNums", "1"),
    ("queueId", "0"),
    ("sysFlag", "0"),
    ("bornTimestamp", "1700000000000"),
    ("flag", "0"),
];

/// As a push consumer asks: suspended if there is nothing, filtered by what its heartbeats say.
async fn pull(connection: &Connection, topic: &str, offset: &str) -> (i32, String) {
    let fields = [
        ("consumerGroup", "cg"),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", offset),
        ("maxMsgNums", "32"),
        ("sysFlag", "2"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "5000"),
        ("subVersion", "0"),
    ];
    let answer = connection.ask(11, &fields, "").await;
    (answer.code(), answer.field("nextBeginOffset"))
}

fn leader(members: &[Broker]) -> Option<usize> {
    members.iter().position(|member| member.group().replicator.leadership().is_leading())
}

struct Three {
    members: Vec<Broker>,
    leader: usize,
    at_leader: Connection,
    elsewhere: Connection,
    _root: tempfile::TempDir,
}

/// With a consumer of group cg and one message of topic T, both sent to the leader.
async fn three() -> Three {
    let root = tempfile::tempdir().unwrap();
    let members = start_three(root.path()).await;
    let everywhere = async || members.iter().all(|member| member.group().topics.contains("TBW102"));
    eventually("topics of the start", everywhere).await;
    // Its tables are full a moment before the name servers know it.
    eventually("a leader", async || leader(&members).is_some()).await;
    let leader = leader(&members).unwrap();
    let (at_leader, elsewhere) = (connect(&members[leader]).await, connect(&members[(leader + 1) % 3]).await);
    assert_eq!(at_leader.ask(34, &[], &heartbeat("client-1", "cg")).await.code(), 0);
    assert_eq!(at_leader.ask(10, &SEND, "one").await.code(), 0);
    Three { members, leader, at_leader, elsewhere, _root: root }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_know_one_list_of_consumers() {
    let three = three().await;
    let list = three.elsewhere.ask(38, &[("consumerGroup", "cg")], "").await;
    assert_eq!((list.code(), list.body()), (0, r#"{"consumerIdList":["client-1"]}"#));
    assert_eq!(three.elsewhere.ask(38, &[("consumerGroup", "nobody")], "").await.code(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_got_no_heartbeats_serves_a_pull_all_the_same() {
    let three = three().await;
    assert_eq!(pull(&three.elsewhere, "T", "0").await, (0, "1".to_owned()));
    assert_eq!(pull(&three.elsewhere, "nothing", "0").await.0, 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_of_a_group_that_a_member_does_not_know_yet_is_held_and_served() {
    let three = three().await;
    let send = async {
        let is_held = || three.members.iter().any(|member| !member.group().holds.is_empty());
        eventually("a held pull", async || is_held()).await;
        three.at_leader.ask(10, &SEND, "two").await
    };
    let (arrives, sent) = tokio::join!(pull(&three.elsewhere, "T", "1"), send);
    assert_eq!((arrives, sent.code()), ((0, "2".to_owned()), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_at_another_member_gets_its_retry_topic() {
    let three = three().await;
    assert_eq!(three.elsewhere.ask(34, &[], &heartbeat("client-2", "cg2")).await.code(), 0);
    let leader = three.members[three.leader].group();
    assert!(leader.topics.contains("%RETRY%cg2"), "made before the heartbeat was answered");
    assert!(leader.clients.consumer_ids("cg2").is_none(), "it is a client of the other member");
}
