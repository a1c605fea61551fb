use std::time::Duration;

use raftmq_client::{ClientError, Message, Producer, ProducerOptions, SendError, SendStatus};

use crate::fake_cluster::{FakeCluster, Fate};

fn producer(cluster: &FakeCluster) -> Producer {
    let options = ProducerOptions { send_timeout: Duration::from_secs(1), ..ProducerOptions::default() };
    Producer::new(&cluster.client(), "pg", options)
}

fn message() -> Message {
    Message::new("T", "hello").with_tag("a")
}

#[tokio::test]
async fn queues_take_turns_and_results_say_where() {
    let cluster = FakeCluster::start(&[("T", 2)]).await;
    let producer = producer(&cluster);
    let mut places = Vec::new();
    for _ in 0..4 {
        let result = producer.send(&message()).await.unwrap();
        assert_eq!((result.status, result.offset_msg_id.as_str()), (SendStatus::Ok, "OFFSETID"));
        assert_eq!(result.msg_id.len(), 32);
        places.push((result.queue.queue_id, result.queue_offset.0));
    }
    assert_eq!(places, [(0, 0), (1, 0), (0, 1), (1, 1)]);
}

#[tokio::test]
async fn refusals_that_java_retries_are_retried_and_others_are_not() {
    let cluster = FakeCluster::start(&[("T", 1)]).await;
    let producer = producer(&cluster);
    cluster.state.lock().fates = [Fate::Answered(14), Fate::Answered(1)].into();
    producer.send(&message()).await.unwrap();
    assert_eq!(cluster.state.lock().sends, 3);

    cluster.state.lock().fates = [Fate::Answered(13)].into();
    let error = producer.send(&message()).await.unwrap_err();
    assert!(
        matches!(error, SendError::Refused { attempts: 1, cause: ClientError::Refused { code: 13, .. } }),
        "{error}"
    );

    cluster.state.lock().fates = [Fate::Answered(14); 3].into();
    let error = producer.send(&message()).await.unwrap_err();
    assert!(
        matches!(error, SendError::Refused { attempts: 3, cause: ClientError::Refused { code: 14, .. } }),
        "{error}"
    );
}

#[tokio::test]
async fn an_open_attempt_makes_the_send_unknown_whatever_follows_but_success() {
    let cluster = FakeCluster::start(&[("T", 1)]).await;
    let producer = producer(&cluster);
    cluster.state.lock().fates = [Fate::Answered(1), Fate::Answered(14), Fate::Answered(14)].into();
    let error = producer.send(&message()).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown { attempts: 3, .. }), "{error}");

    cluster.state.lock().fates = [Fate::Dropped].into();
    producer.send(&message()).await.unwrap();
}

#[tokio::test]
async fn one_attempt_is_one_attempt() {
    let cluster = FakeCluster::start(&[("T", 1)]).await;
    let producer = producer(&cluster);
    let queue = producer.queues("T").await.unwrap().remove(0);
    for (fate, unknown) in
        [(Fate::Answered(14), false), (Fate::Answered(1), true), (Fate::Dropped, true), (Fate::Silent, true)]
    {
        cluster.state.lock().fates = [fate].into();
        let error = producer.send_once(&message(), &queue).await.unwrap_err();
        assert_eq!(error.is_unknown(), unknown, "{fate:?}: {error}");
    }
    assert_eq!(cluster.state.lock().sends, 4);
    producer.send_once(&message(), &queue).await.unwrap();
}

#[tokio::test]
async fn an_unknown_topic_is_created_by_the_template_or_refused() {
    let cluster = FakeCluster::start(&[]).await;
    let producer = producer(&cluster);
    let error = producer.send(&message()).await.unwrap_err();
    assert!(matches!(error, SendError::Refused { cause: ClientError::NoRoute { .. }, .. }), "{error}");
    cluster.state.lock().creates_topics = true;
    assert_eq!(producer.queues("T").await.unwrap().len(), 4);
    producer.send(&message()).await.unwrap();
}

#[tokio::test]
async fn a_batch_goes_to_one_queue() {
    let cluster = FakeCluster::start(&[("T", 4)]).await;
    let producer = producer(&cluster);
    let result = producer.send_batch(&[message(), message(), message()]).await.unwrap();
    assert_eq!(result.msg_id.split(',').count(), 3);
    assert_eq!(result.queue_offset.0, 0);
    let mixed = producer.send_batch(&[message(), Message::new("U", "x")]).await.unwrap_err();
    assert!(matches!(mixed, SendError::Refused { attempts: 0, .. }), "{mixed}");
}

#[tokio::test]
async fn without_a_name_server_the_error_names_all() {
    let config = raftmq_client::ClientConfig::new("127.0.0.1:1;127.0.0.1:2");
    let instance = raftmq_client::ClientInstance::start(config, raftmq_sys::Seams::real());
    let producer = Producer::new(&instance, "pg", ProducerOptions::default());
    let error = producer.send(&message()).await.unwrap_err();
    let SendError::Refused { cause: ClientError::NameServersUnreachable { addresses, .. }, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(addresses, "127.0.0.1:1;127.0.0.1:2");
}
