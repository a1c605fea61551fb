//! Topics, groups, clients and offsets of one member, the same in classic mode and in a Raft group of one, and over
//! a restart.

use std::path::Path;

use crate::requests::{Connection, Mode, connect, eventually, start};

const CREATE_TOPIC: [(&str, &str); 6] = [
    ("topic", "T"),
    ("defaultTopic", "TBW102"),
    ("readQueueNums", "2"),
    ("writeQueueNums", "2"),
    ("perm", "6"),
    ("topicFilterType", "SINGLE_TAG"),
];

fn heartbeat(client: &str) -> String {
    format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"cg","messageModel":"CLUSTERING","subscriptionDataSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"T"}}],"unitMode":false}}],"producerDataSet":[{{"groupName":"pg"}}]}}"#
    )
}

fn of_queue<'a>(queue: &'a str, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![("consumerGroup", "cg"), ("topic", "T"), ("queueId", queue)];
    fields.extend_from_slice(more);
    fields
}

async fn committed(connection: &Connection, queue: &str) -> String {
    connection.ask(14, &of_queue(queue, &[]), "").await.field("offset")
}

async fn send(connection: &Connection, topic: &str, queue: &str, body: &str) -> String {
    let fields = [
        ("producerGroup", "pg"),
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", queue),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "0"),
    ];
    let answer = connection.ask(10, &fields, body).await;
    assert_eq!(answer.code(), 0, "{}", answer.remark());
    answer.field("queueOffset")
}

async fn topics(connection: &Connection) -> String {
    connection.ask(21, &[], "").await.body().to_owned()
}

async fn everything(mode: Mode, root: &Path) {
    let broker = start(mode, root).await;
    let one = connect(&broker).await;
    // A Raft member serves when it leads; requests wait until then, but topics of the start come a moment later.
    eventually("topics of the start", async || topics(&one).await.contains("\"SCHEDULE_TOPIC_XXXX\"")).await;

    let created = one.ask(17, &CREATE_TOPIC, "").await;
    assert_eq!(created.code(), 0, "{}", created.remark());
    assert!(topics(&one).await.contains(r#""T":{"order":false,"perm":6,"readQueueNums":2,"#));
    let refused =
        one.ask(17, &[("topic", "TBW102"), ("readQueueNums", "1"), ("writeQueueNums", "1"), ("perm", "6")], "");
    assert_eq!(refused.await.remark(), "The topic[TBW102] is conflict with system topic.");

    clients(&broker, &one).await;
    offsets(&one).await;

    let group = r#"{"groupName":"other","retryMaxTimes":3}"#;
    assert_eq!(one.ask(200, &[], group).await.code(), 0);
    assert!(one.ask(201, &[], "").await.body().contains(r#""groupName":"other","#));
    assert_eq!(one.ask(207, &[("groupName", "other")], "").await.code(), 0);
    assert!(!one.ask(201, &[], "").await.body().contains("\"other\""));
    let before = (topics(&one).await, one.ask(201, &[], "").await.body().to_owned());
    broker.shutdown().await;

    let broker = start(mode, root).await;
    let again = connect(&broker).await;
    assert_eq!(committed(&again, "0").await, "3", "offsets survive");
    assert_eq!((topics(&again).await, again.ask(201, &[], "").await.body().to_owned()), before);
    assert_eq!(send(&again, "T", "0", "d").await, "3", "queues go on");
    deletion(&again).await;
    broker.shutdown().await;
}

async fn clients(broker: &raftmq_broker::Broker, one: &Connection) {
    let nobody = one.ask(38, &[("consumerGroup", "cg")], "").await;
    assert_eq!((nobody.code(), nobody.remark()), (1, "no consumer for this group, cg"));
    assert_eq!(one.ask(34, &[], &heartbeat("client-1")).await.code(), 0);
    assert!(topics(one).await.contains("\"%RETRY%cg\""), "made before the heartbeat was answered");
    let two = connect(broker).await;
    assert_eq!(two.ask(34, &[], &heartbeat("client-2")).await.code(), 0);
    assert_eq!(
        one.ask(38, &[("consumerGroup", "cg")], "").await.body(),
        r#"{"consumerIdList":["client-1","client-2"]}"#
    );
    eventually("both are told", async || two.notices.take() == [(40, "cg".to_owned())]).await;
    one.notices.take();
    two.close();
    eventually("who stays is told", async || one.notices.take().contains(&(40, "cg".to_owned()))).await;
    assert_eq!(one.ask(38, &[("consumerGroup", "cg")], "").await.body(), r#"{"consumerIdList":["client-1"]}"#);
    let leave = [("clientID", "client-1"), ("producerGroup", ""), ("consumerGroup", "cg")];
    assert_eq!(one.ask(35, &leave, "").await.code(), 0);
    assert_eq!(one.ask(38, &[("consumerGroup", "cg")], "").await.code(), 1);
    let check = r#"{"clientId":"c","group":"cg","subscriptionData":{"expressionType":"SQL92","topic":"T"}}"#;
    assert_eq!(one.ask(46, &[], check).await.code(), 1);
}

async fn offsets(one: &Connection) {
    assert_eq!(committed(one, "0").await, "0", "a new group begins at a hot first message");
    let strict = one.ask(14, &of_queue("0", &[("setZeroIfNotFound", "false")]), "").await;
    assert_eq!(strict.code(), 22);
    for expected in ["0", "1", "2"] {
        assert_eq!(send(one, "T", "0", "message").await, expected);
    }
    assert_eq!(one.ask(30, &of_queue("0", &[]), "").await.field("offset"), "3");
    assert_eq!(one.ask(31, &of_queue("0", &[]), "").await.field("offset"), "0");
    assert_eq!(one.ask(30, &of_queue("1", &[]), "").await.field("offset"), "0");
    assert_eq!(one.ask(31, &of_queue("1", &[]), "").await.field("offset"), "0");
    let first: i64 = one.ask(32, &of_queue("0", &[]), "").await.field("timestamp").parse().unwrap();
    assert!(first > 1_700_000_000_000);
    assert_eq!(one.ask(32, &of_queue("1", &[]), "").await.field("timestamp"), "-1");
    let search = async |timestamp: i64, more: &[(&'static str, &str)]| {
        let timestamp = timestamp.to_string();
        let fields = [&[("timestamp", timestamp.as_str())], more].concat();
        one.ask(29, &of_queue("0", &fields), "").await.field("offset")
    };
    assert_eq!(search(0, &[]).await, "0");
    assert_eq!(search(i64::MAX, &[]).await, "2");
    assert_eq!(search(i64::MAX, &[("boundaryType", "LOWER")]).await, "3");
    assert_eq!(search(i64::MAX, &[("boundaryType", "UPPER")]).await, "2");

    assert_eq!(one.ask(15, &of_queue("0", &[("commitOffset", "2")]), "").await.code(), 0);
    assert_eq!(committed(one, "0").await, "2");
    one.tell(15, &of_queue("0", &[("commitOffset", "3")]));
    eventually("the one-way commit", async || committed(one, "0").await == "3").await;
    let stats = one.ask(202, &[("topic", "T")], "").await;
    assert!(stats.body().starts_with(r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"last"#));
    assert!(stats.body().contains(r#""maxOffset":3,"minOffset":0}"#), "{}", stats.body());
    let unknown = one.ask(202, &[("topic", "nothing")], "").await;
    assert_eq!((unknown.code(), unknown.remark()), (17, "topic[nothing] not exist"));
}

async fn deletion(again: &Connection) {
    assert_eq!(again.ask(215, &[("topic", "T")], "").await.code(), 0);
    assert!(!topics(again).await.contains("\"T\":"));
    assert_eq!(again.ask(215, &[("topic", "T")], "").await.code(), 0, "deleted already");
    assert_eq!(again.ask(17, &CREATE_TOPIC, "").await.code(), 0);
    assert_eq!(send(again, "T", "0", "e").await, "4", "goes on from where it ended");
    assert_eq!(again.ask(31, &of_queue("0", &[]), "").await.field("offset"), "4", "without the old messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_classic_member_serves_and_keeps_its_tables() {
    let root = tempfile::tempdir().unwrap();
    everything(Mode::Classic, root.path()).await;
    let topics = std::path::Path::new(root.path()).join("config/topics.json");
    assert!(topics.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raft_member_serves_and_keeps_its_tables() {
    let root = tempfile::tempdir().unwrap();
    everything(Mode::Raft, root.path()).await;
    assert!(!root.path().join("config/topics.json").exists(), "tables are in the log");
}
