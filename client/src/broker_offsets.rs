//! Offsets that a broker knows, of its queues and of consumer groups.

use std::time::Duration;

use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use raftmq_remoting::{RemotingCommand, request_code, response_code};

use crate::answer;
use crate::connections::Connections;
use crate::error::ClientError;

/// The broker that is asked.
#[derive(Clone, Copy)]
pub(crate) struct Broker<'a> {
    pub(crate) connections: &'a Connections,
    pub(crate) address: &'a str,
    pub(crate) timeout: Duration,
}

impl Broker<'_> {
    /// The next offset to be written.
    pub(crate) async fn max_offset(self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        self.offset(of_queue(request_code::GET_MAX_OFFSET, queue)).await
    }

    /// The first offset that is still there.
    pub(crate) async fn min_offset(self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        self.offset(of_queue(request_code::GET_MIN_OFFSET, queue)).await
    }

    /// The offset of the message stored at, or nearest to, this time in milliseconds since the Unix epoch.
    pub(crate) async fn search_offset(self, queue: &MessageQueue, unix_ms: i64) -> Result<QueueOffset, ClientError> {
        let request = of_queue(request_code::SEARCH_OFFSET_BY_TIMESTAMP, queue).with_field("timestamp", unix_ms);
        self.offset(request).await
    }

    /// Where the group goes on; `None` if it has never been here.
    pub(crate) async fn committed(self, group: &str, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let request = of_queue(request_code::QUERY_CONSUMER_OFFSET, queue).with_field("consumerGroup", group);
        match self.offset(request).await {
            Err(ClientError::Refused { code: response_code::QUERY_NOT_FOUND, .. }) => Ok(None),
            offset => offset.map(Some),
        }
    }

    pub(crate) async fn commit(
        self,
        group: &str,
        queue: &MessageQueue,
        offset: QueueOffset,
    ) -> Result<(), ClientError> {
        let request = of_queue(request_code::UPDATE_CONSUMER_OFFSET, queue)
            .with_field("consumerGroup", group)
            .with_field("commitOffset", offset.0 as i64);
        self.connections.invoke(self.address, request, self.timeout).await.map(drop)
    }

    async fn offset(self, request: RemotingCommand) -> Result<QueueOffset, ClientError> {
        let answer = self.connections.invoke(self.address, request, self.timeout).await?;
        // −1 is said of a queue that has nothing yet.
        let offset: i64 = answer::number(self.address, &answer, "offset")?;
        Ok(QueueOffset(offset.max(0) as u64))
    }
}

fn of_queue(code: i32, queue: &MessageQueue) -> RemotingCommand {
    RemotingCommand::request(code).with_field("topic", queue.topic.as_str()).with_field("queueId", queue.queue_id)
}
