use std::collections::BTreeSet;
use std::time::Duration;

use raftmq_client::{
    ConsumeFrom, Message, Producer, ProducerOptions, PullConsumer, PullRequest, PullStatus, PushConsumer, PushOptions,
};
use raftmq_model::offset::QueueOffset;
use raftmq_model::subscription::SubscriptionData;

use crate::fake_cluster::FakeCluster;

async fn send(cluster: &FakeCluster, bodies: &[&str]) {
    let producer = Producer::new(&cluster.client(), "pg", ProducerOptions::default());
    for body in bodies {
        let tag = &body[..1];
        producer.send(&Message::new("T", (*body).to_owned()).with_tag(tag)).await.expect("the send is answered");
    }
}

fn options() -> PushOptions {
    PushOptions { from: ConsumeFrom::First, ..PushOptions::new("cg", "T") }
}

/// The next `count` bodies; every batch is done.
async fn take(consumer: &mut PushConsumer, count: usize) -> BTreeSet<String> {
    let mut bodies = BTreeSet::new();
    while bodies.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await;
        let batch = next.expect("messages within 5 s").expect("the consumer runs");
        bodies.extend(
            batch.messages.iter().map(|message| String::from_utf8(message.body.to_vec()).expect("bodies are text")),
        );
        consumer.done(&batch);
    }
    bodies
}

#[tokio::test]
async fn a_pull_gives_messages_and_where_to_go_on() {
    let cluster = FakeCluster::start(&[("T", 1)]).await;
    send(&cluster, &["a1", "b2", "a3"]).await;
    let consumer = PullConsumer::new(&cluster.client(), "cg");
    let queue = consumer.queues("T").await.unwrap().remove(0);
    let subscription = SubscriptionData::from_tags("T", "a").unwrap();
    let pull = |offset| PullRequest {
        queue: &queue,
        subscription: &subscription,
        offset: QueueOffset(offset),
        max_messages: 32,
        hold: None,
    };
    let pulled = consumer.pull(&pull(0)).await.unwrap();
    assert_eq!(
        (pulled.status, pulled.next_offset, pulled.max_offset),
        (PullStatus::Found, QueueOffset(2), QueueOffset(3))
    );
    assert_eq!(pulled.messages.len(), 1, "the fake broker does not filter, the client does");
    assert_eq!(consumer.pull(&pull(3)).await.unwrap().status, PullStatus::NoNewMessage);
    let pulled = consumer.pull(&pull(9)).await.unwrap();
    assert_eq!((pulled.status, pulled.next_offset), (PullStatus::OffsetIllegal, QueueOffset(3)));

    assert_eq!(consumer.committed(&queue).await.unwrap(), None);
    consumer.commit(&queue, QueueOffset(2)).await.unwrap();
    assert_eq!(consumer.committed(&queue).await.unwrap(), Some(QueueOffset(2)));
}

#[tokio::test]
async fn a_consumer_takes_all_queues_and_commits_what_is_done() {
    let cluster = FakeCluster::start(&[("T", 2)]).await;
    send(&cluster, &["a", "b", "c", "d", "e"]).await;
    let mut consumer = PushConsumer::start(&cluster.client(), options()).await.unwrap();
    assert_eq!(consumer.queues().len(), 2);
    assert_eq!(take(&mut consumer, 5).await, ["a", "b", "c", "d", "e"].map(str::to_owned).into());
    consumer.close().await;
    let committed: i64 = cluster.state.lock().committed.values().sum();
    assert_eq!(committed, 5);
    assert!(cluster.state.lock().members["cg"].is_empty(), "it has left");

    send(&cluster, &["f"]).await;
    let mut consumer = PushConsumer::start(&cluster.client(), options()).await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["f".to_owned()].into(), "it goes on where it was");
}

#[tokio::test]
async fn what_is_not_done_is_not_committed() {
    let cluster = FakeCluster::start(&[("T", 1)]).await;
    send(&cluster, &["a"]).await;
    let mut consumer = PushConsumer::start(&cluster.client(), options()).await.unwrap();
    assert!(consumer.next().await.is_some());
    consumer.close().await;
    assert!(cluster.state.lock().committed.is_empty());
}

#[tokio::test]
async fn a_notice_makes_the_members_share() {
    let cluster = FakeCluster::start(&[("T", 4)]).await;
    let consumer = PushConsumer::start(&cluster.client(), options()).await.unwrap();
    assert_eq!(consumer.queues().len(), 4);
    // It sorts before any of ours, whose ids start with an address.
    cluster.state.lock().strangers = vec!["!".to_owned()];
    cluster.state.notify();
    let shared = async {
        while consumer.queues().len() != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), shared).await.expect("it shares within 5 s");
    assert_eq!(consumer.queues().iter().map(|queue| queue.queue_id).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn a_topic_that_does_not_exist_yet_is_waited_for() {
    let cluster = FakeCluster::start(&[]).await;
    cluster.state.lock().creates_topics = true;
    let mut consumer = PushConsumer::start(&cluster.client(), options()).await.unwrap();
    assert!(consumer.queues().is_empty());
    send(&cluster, &["a"]).await;
    assert_eq!(take(&mut consumer, 1).await, ["a".to_owned()].into());
}
