use std::sync::Arc;
use std::time::Duration;

use raftmq_model::queue::MessageQueue;
use raftmq_model::subscription::{SUBSCRIBE_ALL, SubscriptionData};
use raftmq_model::topic;
use raftmq_remoting::body::ConsumerList;
use raftmq_remoting::{RemotingCommand, request_code};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::answer;
use crate::error::ClientError;
use crate::heartbeat::ConsumerMember;
use crate::instance::ClientInstance;
use crate::push_consumer::Batch;
use crate::push_consumer::assignment::Assignment;
use crate::push_consumer::options::PushOptions;
use crate::push_consumer::queue_reader::QueueReader;
use crate::rebalance;
use crate::route_cache::Unknown;
use crate::topic_route::MASTER_ID;

/// Until the next rebalance when the last one left something open.
const SOON: Duration = Duration::from_secs(1);
/// A consumer that closes while a leader is elected waits for the new one, this often and this long in between.
const LAST_COMMITS: usize = 20;
const LAST_COMMIT_PAUSE: Duration = Duration::from_millis(150);

/// Decides which queues are ours, starts and ends their readers, commits what was consumed. The only one that
/// commits, so that an older offset never follows a newer one.
pub(super) struct Coordinator {
    instance: ClientInstance,
    options: PushOptions,
    subscriptions: Vec<SubscriptionData>,
    assignment: Arc<Assignment>,
    batches: mpsc::Sender<Batch>,
    membership: watch::Receiver<u64>,
}

impl Coordinator {
    pub(super) fn new(
        instance: ClientInstance,
        options: PushOptions,
        assignment: Arc<Assignment>,
        batches: mpsc::Sender<Batch>,
    ) -> Result<Coordinator, ClientError> {
        let retry_topic = topic::retry_topic(&options.group);
        let mut subscriptions = Vec::new();
        // Java's consumers subscribe their retry topic too, and a group's members must agree.
        for (topic, tags) in [(options.topic.as_str(), options.tags.as_str()), (&retry_topic, SUBSCRIBE_ALL)] {
            let mut subscription =
                SubscriptionData::from_tags(topic, tags).map_err(|error| ClientError::Invalid(error.to_string()))?;
            subscription.sub_version = instance.unix_ms();
            subscriptions.push(subscription);
        }
        let membership = instance.membership();
        Ok(Coordinator { instance, options, subscriptions, assignment, batches, membership })
    }

    /// Makes the group's brokers know us, then takes our share for the first time.
    pub(super) async fn join(&mut self) -> Result<(), ClientError> {
        self.instance.add_consumer(ConsumerMember {
            group: self.options.group.clone(),
            consume_from: self.options.from.for_heartbeat(),
            subscriptions: self.subscriptions.clone(),
        });
        match self.instance.route(&self.options.topic, Unknown::Fails).await {
            Ok(_) | Err(ClientError::NoRoute { .. }) => {}
            Err(error) => {
                self.instance.remove_consumer(&self.options.group);
                return Err(error);
            }
        }
        self.instance.beat().await;
        self.rebalance().await;
        Ok(())
    }

    /// Works until `stop`, then leaves the group and answers.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<oneshot::Sender<()>>) {
        let (rebalance_period, commit_period) = {
            let config = self.instance.config();
            (config.rebalance, config.offset_commit)
        };
        let mut rebalance_at =
            Instant::now() + if self.assignment.queues().is_empty() { SOON } else { rebalance_period };
        let mut commit_at = Instant::now() + commit_period;
        let closed = loop {
            tokio::select! {
                // Without a sender the consumer was dropped unclosed: the same end, nobody waits for it.
                closed = &mut stop => break closed.ok(),
                // Its sender lives in the instance.
                _ = self.membership.changed() => rebalance_at = Instant::now(),
                () = sleep_until(rebalance_at) => {
                    let again = self.rebalance().await;
                    rebalance_at = Instant::now() + if again { SOON } else { rebalance_period };
                }
                () = sleep_until(commit_at) => {
                    self.commit_all().await;
                    commit_at = Instant::now() + commit_period;
                }
            }
        };
        self.leave().await;
        if let Some(closed) = closed {
            // Whoever closes may have stopped waiting.
            let _ = closed.send(());
        }
    }

    async fn leave(&self) {
        for _ in 0..LAST_COMMITS {
            if self.commit_all().await {
                break;
            }
            tokio::time::sleep(LAST_COMMIT_PAUSE).await;
        }
        for queue in self.assignment.queues() {
            self.assignment.release(&queue);
        }
        self.instance.remove_consumer(&self.options.group);
        self.instance.leave(&self.options.group).await;
    }

    /// Takes and gives up queues. Says whether it should be tried again soon.
    async fn rebalance(&mut self) -> bool {
        self.membership.mark_unchanged();
        let mut again = false;
        for subscription in &self.subscriptions {
            match self.share(&subscription.topic).await {
                Ok(share) => self.adopt(subscription, share).await,
                // Not there yet. The retry topic of a group may never be.
                Err(ClientError::NoRoute { .. }) => again |= subscription.topic == self.options.topic,
                Err(error) => {
                    again = true;
                    tracing::debug!(topic = subscription.topic, %error, "queues stay as they are");
                }
            }
        }
        again
    }

    /// Our part of the topic's queues, by the first broker that answers and knows us.
    async fn share(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        let route = self.instance.route(topic, Unknown::Fails).await?;
        let id = self.instance.client_id();
        let mut last = ClientError::NoRoute { topic: topic.to_owned(), remark: "it has no broker".to_owned() };
        for address in route.brokers.keys().filter_map(|name| route.member(name, MASTER_ID)) {
            match self.consumer_ids(address).await {
                Ok(ids) if ids.iter().any(|member| member == id) => {
                    return Ok(rebalance::allocate_averagely(id, &ids, &route.subscribe_queues));
                }
                Ok(_) => last = ClientError::bad_answer(address, "the group's members are without us"),
                Err(error) => last = error,
            }
        }
        // A broker that restarted, or a new leader, has not heard of us: the next try finds us.
        self.instance.route_failed(topic, &last).await;
        self.instance.beat().await;
        Err(last)
    }

    async fn consumer_ids(&self, address: &str) -> Result<Vec<String>, ClientError> {
        let request = RemotingCommand::request(request_code::GET_CONSUMER_LIST_BY_GROUP)
            .with_field("consumerGroup", self.options.group.as_str());
        let connections = self.instance.connections();
        let answer = connections.invoke(address, request, self.instance.config().request_timeout).await?;
        Ok(answer::body::<ConsumerList>(address, &answer)?.consumer_id_list)
    }

    async fn adopt(&self, subscription: &SubscriptionData, share: Vec<MessageQueue>) {
        let ours = self.assignment.queues();
        for queue in ours.iter().filter(|queue| queue.topic == subscription.topic && !share.contains(queue)) {
            self.commit(queue).await;
            self.assignment.release(queue);
        }
        for queue in share {
            let Some(taken) = self.assignment.take(&queue) else { continue };
            let reader = QueueReader {
                instance: self.instance.clone(),
                options: self.options.clone(),
                subscription: subscription.clone(),
                queue,
                batches: self.batches.clone(),
            };
            self.instance.spawn("client-reader", reader.run(taken));
        }
    }

    /// Says whether the brokers now know everything.
    async fn commit_all(&self) -> bool {
        let mut all = true;
        for queue in self.assignment.queues() {
            self.commit(&queue).await;
            all &= self.assignment.uncommitted(&queue).is_none();
        }
        all
    }

    /// Tells the broker how far a queue is consumed. A failure is tried again with the next commit.
    async fn commit(&self, queue: &MessageQueue) {
        let Some(offset) = self.assignment.uncommitted(queue) else { return };
        let committed = async {
            let route = self.instance.route(&queue.topic, Unknown::Fails).await?;
            let address = route.member_of(queue, MASTER_ID)?;
            self.instance.broker(address).commit(&self.options.group, queue, offset).await
        };
        match committed.await {
            Ok(()) => self.assignment.committed(queue, offset),
            Err(error) => {
                tracing::warn!(?queue, %offset, %error, "offset not committed");
                self.instance.route_failed(&queue.topic, &error).await;
            }
        }
    }
}
