//! One pull request and its answer.

use std::time::Duration;

use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use raftmq_model::subscription::{SUBSCRIBE_ALL, SubscriptionData};
use raftmq_model::sys_flag::pull as flag;
use raftmq_remoting::{RemotingCommand, request_code, response_code};

use crate::answer;
use crate::connections::Connections;
use crate::error::ClientError;
use crate::message::{self, ReceivedMessage};

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest<'a> {
    pub queue: &'a MessageQueue,
    pub subscription: &'a SubscriptionData,
    pub offset: QueueOffset,
    /// The broker gives at most 32 and 256 KiB by default.
    pub max_messages: u32,
    /// How long the broker holds the request while there is nothing to read; `None` answers at once.
    pub hold: Option<Duration>,
}

/// What came.
#[derive(Clone, Debug)]
pub struct PullResult {
    pub status: PullStatus,
    /// Where to go on.
    pub next_offset: QueueOffset,
    pub min_offset: QueueOffset,
    pub max_offset: QueueOffset,
    /// The member that the broker wants to be asked next.
    pub suggested_broker_id: i64,
    /// Those that match the subscription; bodies are checked and inflated.
    pub messages: Vec<ReceivedMessage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    Found,
    /// Nothing was there until the hold ended.
    NoNewMessage,
    /// Messages were there, none matched.
    NoMatchedMessage,
    /// The offset is outside the queue; `next_offset` is the nearest inside.
    OffsetIllegal,
}

/// Time for the answer itself on top of the hold. Brokers may answer an ended hold 5 s late (RocketMQ's sweep).
const ANSWER_TIME: Duration = Duration::from_secs(10);

pub(crate) async fn pull(
    connections: &Connections,
    address: &str,
    group: &str,
    request: &PullRequest<'_>,
) -> Result<PullResult, ClientError> {
    let timeout = request.hold.unwrap_or_default() + ANSWER_TIME;
    let answer = connections.ask(address, encode(group, request), timeout).await?;
    let status = match answer.code {
        response_code::SUCCESS => PullStatus::Found,
        response_code::PULL_NOT_FOUND => PullStatus::NoNewMessage,
        response_code::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatchedMessage,
        response_code::PULL_OFFSET_MOVED => PullStatus::OffsetIllegal,
        _ => return Err(answer::refusal(address, answer)),
    };
    let offset = |name| answer::number::<i64>(address, &answer, name).map(|offset| QueueOffset(offset.max(0) as u64));
    let (next_offset, min_offset) = (offset("nextBeginOffset")?, offset("minOffset")?);
    let max_offset = offset("maxOffset")?;
    let suggested_broker_id = answer::number(address, &answer, "suggestWhichBrokerId")?;
    let mut messages = match status {
        PullStatus::Found => message::decode_all(&request.queue.broker_name, answer.body)
            .map_err(|error| ClientError::bad_answer(address, error))?,
        _ => Vec::new(),
    };
    messages.retain(|message| matches_tag(request.subscription, message.tag()));
    Ok(PullResult { status, next_offset, min_offset, max_offset, suggested_broker_id, messages })
}

fn encode(group: &str, request: &PullRequest<'_>) -> RemotingCommand {
    let mut flags = flag::SUBSCRIPTION;
    if request.hold.is_some() {
        flags |= flag::SUSPEND;
    }
    let PullRequest { queue, subscription, .. } = request;
    RemotingCommand::request(request_code::PULL_MESSAGE)
        .with_field("consumerGroup", group)
        .with_field("topic", queue.topic.as_str())
        .with_field("queueId", queue.queue_id)
        .with_field("queueOffset", request.offset.0 as i64)
        .with_field("maxMsgNums", i64::from(request.max_messages))
        .with_field("sysFlag", flags)
        .with_field("commitOffset", 0)
        .with_field("suspendTimeoutMillis", request.hold.unwrap_or_default().as_millis() as i64)
        .with_field("subscription", subscription.sub_string.as_str())
        .with_field("subVersion", subscription.sub_version)
        .with_field("expressionType", subscription.expression_type.as_str())
}

/// The broker compares hashes; two tags may share one.
fn matches_tag(subscription: &SubscriptionData, tag: Option<&str>) -> bool {
    !subscription.is_tag_type()
        || subscription.sub_string == SUBSCRIBE_ALL
        || tag.is_some_and(|tag| subscription.tags_set.contains(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_by_name() {
        let subscription = SubscriptionData::from_tags("T", "AaAa || TagB").unwrap();
        assert!(matches_tag(&subscription, Some("AaAa")));
        // The same hash in Java.
        assert!(!matches_tag(&subscription, Some("BBBB")));
        assert!(!matches_tag(&subscription, None));
        assert!(matches_tag(&SubscriptionData::from_tags("T", "*").unwrap(), None));
    }
}
