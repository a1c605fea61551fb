use std::sync::Arc;

use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;

use crate::broker_offsets::Broker;
use crate::error::ClientError;
use crate::instance::ClientInstance;
use crate::pull::{self, PullRequest, PullResult};
use crate::route_cache::Unknown;
use crate::topic_route::{MASTER_ID, TopicRoute};

/// Reads queues that the caller chooses, from offsets that the caller chooses. Fails rather than retries; after a
/// failure of the connection the route is asked for again at the next call.
pub struct PullConsumer {
    instance: ClientInstance,
    group: String,
}

impl PullConsumer {
    pub fn new(instance: &ClientInstance, group: &str) -> PullConsumer {
        PullConsumer { instance: instance.clone(), group: group.to_owned() }
    }

    /// The queues of a topic that can be read.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.instance.refresh_route(topic, Unknown::Fails).await?.subscribe_queues.clone())
    }

    /// Pulls from the member that leads.
    pub async fn pull(&self, request: &PullRequest<'_>) -> Result<PullResult, ClientError> {
        let route = self.route(request.queue).await?;
        let address = route.member_of(request.queue, MASTER_ID)?;
        let pulled = pull::pull(self.instance.connections(), address, &self.group, request).await;
        self.checked(request.queue, pulled).await
    }

    /// Pulls from the member at `address`, whatever its role.
    pub async fn pull_from(&self, address: &str, request: &PullRequest<'_>) -> Result<PullResult, ClientError> {
        pull::pull(self.instance.connections(), address, &self.group, request).await
    }

    /// Where the group goes on; `None` if it has never been in this queue.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let route = self.route(queue).await?;
        let committed = self.broker(&route, queue)?.committed(&self.group, queue).await;
        self.checked(queue, committed).await
    }

    /// Returns when the broker has the offset.
    pub async fn commit(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        let route = self.route(queue).await?;
        let committed = self.broker(&route, queue)?.commit(&self.group, queue, offset).await;
        self.checked(queue, committed).await
    }

    /// The first offset that is still there.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let route = self.route(queue).await?;
        let offset = self.broker(&route, queue)?.min_offset(queue).await;
        self.checked(queue, offset).await
    }

    /// The next offset to be written.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let route = self.route(queue).await?;
        let offset = self.broker(&route, queue)?.max_offset(queue).await;
        self.checked(queue, offset).await
    }

    /// The offset of the message stored at, or nearest to, this time in milliseconds since the Unix epoch.
    pub async fn search_offset(&self, queue: &MessageQueue, unix_ms: i64) -> Result<QueueOffset, ClientError> {
        let route = self.route(queue).await?;
        let offset = self.broker(&route, queue)?.search_offset(queue, unix_ms).await;
        self.checked(queue, offset).await
    }

    async fn route(&self, queue: &MessageQueue) -> Result<Arc<TopicRoute>, ClientError> {
        self.instance.route(&queue.topic, Unknown::Fails).await
    }

    fn broker<'a>(&'a self, route: &'a TopicRoute, queue: &MessageQueue) -> Result<Broker<'a>, ClientError> {
        Ok(self.instance.broker(route.member_of(queue, MASTER_ID)?))
    }

    /// Has the route asked for again if the failure says that it is old.
    async fn checked<T>(&self, queue: &MessageQueue, outcome: Result<T, ClientError>) -> Result<T, ClientError> {
        if let Err(error) = &outcome {
            self.instance.route_failed(&queue.topic, error).await;
        }
        outcome
    }
}
