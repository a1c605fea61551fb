use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use raftmq_model::topic::{self, AUTO_CREATE_TOPIC_KEY};
use raftmq_remoting::{RemotingCommand, request_code};
use tokio::time::Instant;

use crate::answer;
use crate::error::ClientError;
use crate::instance::ClientInstance;
use crate::message::{self, Message};
use crate::retry;
use crate::route_cache::Unknown;
use crate::send_result::{SendError, SendResult, SendStatus};
use crate::topic_route::TopicRoute;

/// Settings of a producer. Defaults are RocketMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// For all attempts of one send together (3 s).
    pub send_timeout: Duration,
    /// Attempts after the first (2).
    pub retries: u32,
    /// Largest body, and largest batch body (4 MiB).
    pub max_message_bytes: usize,
    /// Queues per broker group for a topic that the send creates (4).
    pub new_topic_queues: i32,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            send_timeout: Duration::from_secs(3),
            retries: 2,
            max_message_bytes: 4 << 20,
            new_topic_queues: 4,
        }
    }
}

/// Sends messages. Queues take turns; many sends may be under way at once.
pub struct Producer {
    instance: ClientInstance,
    group: String,
    options: ProducerOptions,
    turn: AtomicUsize,
}

/// What goes into a send request besides the queue.
struct Payload<'a> {
    topic: &'a str,
    body: Bytes,
    flag: i32,
    properties: String,
    msg_id: String,
    is_batch: bool,
}

impl Producer {
    pub fn new(instance: &ClientInstance, group: &str, options: ProducerOptions) -> Producer {
        instance.add_producer_group(group);
        Producer { instance: instance.clone(), group: group.to_owned(), options, turn: AtomicUsize::new(0) }
    }

    /// Sends and waits until the broker has stored the message. Repeats as RocketMQ's producer does: after a lost
    /// connection and codes 1, 14, 16, 17, 204 and 205, all within the send timeout; so it may be stored twice.
    pub async fn send(&self, message: &Message) -> Result<SendResult, SendError> {
        let payload = self.single(message).map_err(|cause| SendError::new(0, false, cause))?;
        self.send_with_retries(&payload).await
    }

    /// Sends several messages of one topic to one queue. They are stored all or none, one after the other.
    pub async fn send_batch(&self, messages: &[Message]) -> Result<SendResult, SendError> {
        let payload = self.batch(messages).map_err(|cause| SendError::new(0, false, cause))?;
        self.send_with_retries(&payload).await
    }

    /// One attempt, to this queue, for checkers: an error says soundly whether the message can have been stored.
    pub async fn send_once(&self, message: &Message, queue: &MessageQueue) -> Result<SendResult, SendError> {
        let failed = |cause| SendError::new(1, false, cause);
        let payload = self.single(message).map_err(failed)?;
        let route = self.route(payload.topic).await.map_err(failed)?;
        self.attempt(&payload, &route, queue, self.options.send_timeout).await.map_err(failed)
    }

    /// Sends without an answer. `Ok` says that the bytes were handed to the connection, no more.
    pub async fn send_oneway(&self, message: &Message) -> Result<(), ClientError> {
        let payload = self.single(message)?;
        let route = self.route(payload.topic).await?;
        let queue = self.pick(&route, payload.topic, None)?;
        let address = route.master_of(queue)?;
        let request = self.request(&payload, queue).with_oneway();
        self.instance.connections().oneway(address, request).await
    }

    /// The queues that `topic` can be sent to now.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.route(topic).await?.publish_queues.clone())
    }

    /// Asks the name server again, as a checker does after failed attempts of [`Producer::send_once`].
    pub async fn refresh_route(&self, topic: &str) -> Result<(), ClientError> {
        self.instance.refresh_route(topic, self.unknown()).await.map(drop)
    }

    async fn send_with_retries(&self, payload: &Payload<'_>) -> Result<SendResult, SendError> {
        let deadline = Instant::now() + self.options.send_timeout;
        let mut attempts = 0;
        let mut unknown_before = false;
        let mut failed_group: Option<String> = None;
        loop {
            attempts += 1;
            let cause = match self.try_once(payload, failed_group.as_deref(), deadline).await {
                Ok(result) => return Ok(result),
                Err((group, cause)) => {
                    failed_group = group;
                    cause
                }
            };
            let out_of_attempts = attempts > self.options.retries || Instant::now() >= deadline;
            if out_of_attempts || !retry::is_retried(&cause) {
                return Err(SendError::new(attempts, unknown_before, cause));
            }
            unknown_before |= cause.effect_is_unknown();
            if retry::suggests_new_route(&cause)
                && let Err(error) = self.instance.refresh_route(payload.topic, self.unknown()).await
            {
                tracing::debug!(topic = payload.topic, %error, "no new route for the next attempt");
            }
        }
    }

    /// Says which broker group failed, so that the next attempt goes to another.
    async fn try_once(
        &self,
        payload: &Payload<'_>,
        failed_group: Option<&str>,
        deadline: Instant,
    ) -> Result<SendResult, (Option<String>, ClientError)> {
        let route = self.route(payload.topic).await.map_err(|error| (None, error))?;
        let queue = self.pick(&route, payload.topic, failed_group).map_err(|error| (None, error))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let sent = self.attempt(payload, &route, queue, left).await;
        sent.map_err(|error| (Some(queue.broker_name.clone()), error))
    }

    async fn attempt(
        &self,
        payload: &Payload<'_>,
        route: &TopicRoute,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let address = route.master_of(queue)?;
        let answer = self.instance.connections().ask(address, self.request(payload, queue), timeout).await?;
        let Some(status) = SendStatus::from_code(answer.code) else {
            return Err(answer::refusal(address, answer));
        };
        Ok(SendResult {
            status,
            msg_id: payload.msg_id.clone(),
            offset_msg_id: answer::text(address, &answer, "msgId")?,
            queue: MessageQueue { queue_id: answer::number(address, &answer, "queueId")?, ..queue.clone() },
            queue_offset: QueueOffset(answer::number(address, &answer, "queueOffset")?),
        })
    }

    /// SEND_MESSAGE_V2 or SEND_BATCH_MESSAGE, whose fields are named by letters.
    fn request(&self, payload: &Payload<'_>, queue: &MessageQueue) -> RemotingCommand {
        let code = match payload.is_batch {
            true => request_code::SEND_BATCH_MESSAGE,
            false => request_code::SEND_MESSAGE_V2,
        };
        RemotingCommand::request(code)
            .with_field("a", self.group.as_str())
            .with_field("b", payload.topic)
            .with_field("c", AUTO_CREATE_TOPIC_KEY)
            .with_field("d", self.options.new_topic_queues)
            .with_field("e", queue.queue_id)
            .with_field("f", 0)
            .with_field("g", self.instance.unix_ms())
            .with_field("h", payload.flag)
            .with_field("i", payload.properties.as_str())
            .with_field("j", 0)
            .with_field("k", false)
            .with_field("m", payload.is_batch)
            .with_field("n", queue.broker_name.as_str())
            .with_body(payload.body.clone())
    }

    fn single<'a>(&self, message: &'a Message) -> Result<Payload<'a>, ClientError> {
        self.check(message)?;
        self.check_size(message.body.len())?;
        let msg_id = self.instance.next_unique_id();
        Ok(Payload {
            topic: &message.topic,
            body: message.body.clone(),
            flag: message.flag,
            properties: message.properties_text(&msg_id)?,
            msg_id,
            is_batch: false,
        })
    }

    fn batch<'a>(&self, messages: &'a [Message]) -> Result<Payload<'a>, ClientError> {
        let first = messages.first().ok_or_else(|| ClientError::Invalid("a batch needs a message".to_owned()))?;
        let mut encoded = Vec::with_capacity(messages.len());
        let mut ids = Vec::with_capacity(messages.len());
        for message in messages {
            self.check(message)?;
            if message.topic != first.topic {
                let reason = format!("a batch has one topic, not {} and {}", first.topic, message.topic);
                return Err(ClientError::Invalid(reason));
            }
            let id = self.instance.next_unique_id();
            encoded.push((message, message.properties_text(&id)?));
            ids.push(id);
        }
        let body = message::encode_batch(&encoded);
        self.check_size(body.len())?;
        Ok(Payload {
            topic: &first.topic,
            body,
            flag: 0,
            properties: String::new(),
            msg_id: ids.join(","),
            is_batch: true,
        })
    }

    fn check(&self, message: &Message) -> Result<(), ClientError> {
        topic::validate_name(&message.topic)
            .map_err(|error| ClientError::Invalid(format!("topic {:?}: {error}", message.topic)))?;
        if message.body.is_empty() {
            return Err(ClientError::Invalid("the message body is empty, which RocketMQ does not allow".to_owned()));
        }
        Ok(())
    }

    fn check_size(&self, size_bytes: usize) -> Result<(), ClientError> {
        let limit_bytes = self.options.max_message_bytes;
        if size_bytes > limit_bytes {
            let reason = format!("body of {size_bytes} bytes exceeds the producer's limit of {limit_bytes}");
            return Err(ClientError::Invalid(reason));
        }
        Ok(())
    }

    fn unknown(&self) -> Unknown {
        Unknown::IsCreated { most_queues: self.options.new_topic_queues }
    }

    async fn route(&self, topic: &str) -> Result<Arc<TopicRoute>, ClientError> {
        self.instance.route(topic, self.unknown()).await
    }

    /// The next queue in turn, of another group than the one that failed just now if there is one.
    fn pick<'a>(
        &self,
        route: &'a TopicRoute,
        topic: &str,
        failed_group: Option<&str>,
    ) -> Result<&'a MessageQueue, ClientError> {
        let queues = &route.publish_queues;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..queues.len()).map(|step| &queues[(turn.wrapping_add(step)) % queues.len()]);
        in_turn
            .clone()
            .find(|queue| Some(queue.broker_name.as_str()) != failed_group)
            .or_else(|| in_turn.clone().next())
            .ok_or_else(|| ClientError::NoRoute {
                topic: topic.to_owned(),
                remark: "no broker in it takes messages now".to_owned(),
            })
    }
}
