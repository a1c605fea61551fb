use std::time::Duration;

use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use raftmq_model::subscription::SubscriptionData;
use raftmq_model::topic::RETRY_PREFIX;
use tokio::sync::mpsc;

use crate::error::ClientError;
use crate::instance::ClientInstance;
use crate::pull::{self, PullRequest, PullStatus};
use crate::push_consumer::Batch;
use crate::push_consumer::assignment::Taken;
use crate::push_consumer::options::{ConsumeFrom, PushOptions};
use crate::route_cache::Unknown;
use crate::topic_route::MASTER_ID;

/// Pause after a failed pull. RocketMQ's client waits 3 s; a failover here takes less than one.
const PAUSE: Duration = Duration::from_millis(200);

/// Pulls one queue and hands the messages over, until the queue is given up.
pub(super) struct QueueReader {
    pub(super) instance: ClientInstance,
    pub(super) options: PushOptions,
    pub(super) subscription: SubscriptionData,
    pub(super) queue: MessageQueue,
    pub(super) batches: mpsc::Sender<Batch>,
}

impl QueueReader {
    pub(super) async fn run(self, taken: Taken) {
        let Taken { turn, mut until } = taken;
        tokio::select! {
            // Nothing is ever sent: this ends when the sender is dropped.
            _ = until.changed() => {}
            () = self.read(turn) => {}
        }
    }

    async fn read(&self, turn: u64) {
        let mut offset = loop {
            match self.first_offset().await {
                Ok(offset) => break offset,
                Err(error) => self.wait_after(error).await,
            }
        };
        let mut broker_id = MASTER_ID;
        loop {
            let pulled = match self.pull(offset, broker_id).await {
                Ok(pulled) => pulled,
                Err(error) => {
                    self.wait_after(error).await;
                    continue;
                }
            };
            if pulled.status == PullStatus::OffsetIllegal {
                let (queue, from, to) = (&self.queue, offset, pulled.next_offset);
                tracing::warn!(?queue, %from, %to, "offset is outside the queue");
            }
            offset = pulled.next_offset;
            broker_id = pulled.suggested_broker_id;
            // An empty batch carries progress past messages that did not match.
            if pulled.status == PullStatus::NoNewMessage {
                continue;
            }
            let batch = Batch { queue: self.queue.clone(), messages: pulled.messages, next_offset: offset, turn };
            if self.batches.send(batch).await.is_err() {
                return;
            }
        }
    }

    /// Where the group was, else where a new group starts.
    async fn first_offset(&self) -> Result<QueueOffset, ClientError> {
        let route = self.instance.route(&self.queue.topic, Unknown::Fails).await?;
        let broker = self.instance.broker(route.member_of(&self.queue, MASTER_ID)?);
        if let Some(offset) = broker.committed(&self.options.group, &self.queue).await? {
            return Ok(offset);
        }
        match self.options.from {
            _ if self.queue.topic.starts_with(RETRY_PREFIX) => broker.min_offset(&self.queue).await,
            ConsumeFrom::First => broker.min_offset(&self.queue).await,
            ConsumeFrom::Last => broker.max_offset(&self.queue).await,
            ConsumeFrom::Timestamp(unix_ms) => broker.search_offset(&self.queue, unix_ms).await,
        }
    }

    async fn pull(&self, offset: QueueOffset, broker_id: i64) -> Result<pull::PullResult, ClientError> {
        let route = self.instance.route(&self.queue.topic, Unknown::Fails).await?;
        let request = PullRequest {
            queue: &self.queue,
            subscription: &self.subscription,
            offset,
            max_messages: self.options.max_messages,
            hold: Some(self.options.hold),
        };
        let address = route.member_of(&self.queue, broker_id)?;
        pull::pull(self.instance.connections(), address, &self.options.group, &request).await
    }

    /// Before the next try. The queue may be given up meanwhile, which ends it.
    async fn wait_after(&self, error: ClientError) {
        let queue = &self.queue;
        tracing::debug!(?queue, %error, "queue not read, trying again");
        self.instance.route_failed(&self.queue.topic, &error).await;
        tokio::time::sleep(PAUSE).await;
    }
}
