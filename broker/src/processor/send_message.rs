//! Requests 10, 310 and 320: messages into the log (RocketMQ `SendMessageProcessor`).
//!
//! All sends of one read of a connection become one piece of work for the proposer and are answered with one write.

use std::borrow::Cow;
use std::sync::Arc;

use raftmq_model::message::Message;
use raftmq_model::{message_codec, message_id, permission, properties, sys_flag, topic};
use raftmq_remoting::header::SendMessageRequestHeader;
use raftmq_remoting::{FieldValue, RemotingCommand, ReplyBuffer, RequestMeta, Session, response_code};
use raftmq_store::{Appended, EncodedMessages, ProposalRecord};

use super::batch_body;
use crate::group::Group;
use crate::proposer::{ProposeError, Work, WorkRecords};
use crate::replicator::ReplicateError;
use crate::state_machine::{AutoCreate, Command, SendCreation, Topic, decide_for_send};
use crate::topics_in_creation::Creation;

/// A send that waits for its batch.
struct PendingSend {
    meta: RequestMeta,
    queue_id: i32,
    message_count: u32,
    bytes: usize,
}

/// What the sends of one read become.
struct Encoded {
    records: Vec<ProposalRecord>,
    /// Topics that these records create, each before its first message.
    creations: Vec<Creation>,
}

/// Why a send is answered without being proposed.
struct Refusal {
    code: i32,
    remark: String,
}

impl Refusal {
    fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal { code, remark: remark.into() }
    }
}

/// Encodes and proposes the sends of one read. Those that are refused are answered into `replies`.
pub fn handle(group: &Arc<Group>, session: &Arc<Session>, requests: Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
    // Before anything is checked against the tables.
    let epoch = group.replicator.leadership().epoch();
    let mut encoded = Encoded { records: Vec::with_capacity(requests.len()), creations: Vec::new() };
    let mut pending = Vec::with_capacity(requests.len());
    let mut kept = Vec::with_capacity(requests.len());
    let mut scratch = Vec::new();
    for request in requests {
        match encode(group, session, &request, &mut scratch, &mut encoded) {
            Ok(send) => {
                pending.push(send);
                kept.push(request);
            }
            Err(refusal) => refuse(group, replies, request.meta(), refusal.code, &refusal.remark),
        }
    }
    if pending.is_empty() {
        return;
    }
    let (group_, session) = (group.clone(), session.clone());
    let Encoded { records, creations } = encoded;
    let creates_topic = !creations.is_empty();
    let done = Box::new(move |result: Result<&[Appended], ProposeError>| {
        answer(&group_, &session, pending, kept, creates_topic, result);
    });
    let until_ended = creates_topic.then(|| Box::new(creations) as Box<dyn Send>);
    group.proposer.submit(Work { epoch, records: WorkRecords::Ready(records), done, until_ended });
}

fn answer(
    group: &Arc<Group>,
    session: &Arc<Session>,
    pending: Vec<PendingSend>,
    requests: Vec<RemotingCommand>,
    creates_topic: bool,
    result: Result<&[Appended], ProposeError>,
) {
    let mut replies = ReplyBuffer::default();
    match result {
        Ok(appended) => {
            let (mut messages, mut bytes, mut id) = (0, 0, String::new());
            for (send, appended) in pending.iter().zip(appended) {
                messages += u64::from(send.message_count);
                bytes += send.bytes as u64;
                stored(group, &mut replies, send, appended, &mut id);
            }
            group.metrics.messages_in.add(messages);
            group.metrics.bytes_in.add(bytes);
            if creates_topic {
                group.send_when_registered(session, replies);
                return;
            }
        }
        Err(error) => {
            let (code, remark) = match &error {
                // Nothing was appended: this member or a new leader may take the same requests again.
                ProposeError::Replicate(ReplicateError::NotAppended(_)) => {
                    group.hold_again(session, requests);
                    return;
                }
                ProposeError::Busy { .. } => (
                    response_code::SYSTEM_BUSY,
                    format!("[OVERLOAD]system busy, start flow control for a while: {error}"),
                ),
                ProposeError::Expired(_) => (response_code::SERVICE_NOT_AVAILABLE, error.to_string()),
                ProposeError::Replicate(ReplicateError::Illegal(_)) => {
                    (response_code::MESSAGE_ILLEGAL, error.to_string())
                }
                ProposeError::Replicate(ReplicateError::Unknown(_)) => (
                    response_code::SYSTEM_ERROR,
                    format!("[PC_SYNCHRONIZED]broker busy, wait quorum ack timeout: {error}"),
                ),
                ProposeError::Replicate(ReplicateError::Stopped(_)) => {
                    (response_code::SERVICE_NOT_AVAILABLE, format!("service not available now: {error}"))
                }
            };
            for send in &pending {
                refuse(group, &mut replies, send.meta, code, &remark);
            }
        }
    }
    session.send(replies);
}

/// The answer of a stored message; 4.x clients need region and trace flag on every answer. `id` is kept between calls
/// for its memory.
fn stored(group: &Group, replies: &mut ReplyBuffer, send: &PendingSend, appended: &Appended, id: &mut String) {
    id.clear();
    message_id::push(group.store_host, appended.first, id);
    for offset in &appended.rest {
        id.push(',');
        message_id::push(group.store_host, *offset, id);
    }
    replies.push(
        send.meta,
        response_code::SUCCESS,
        None,
        &[
            ("MSG_REGION", FieldValue::Str(&group.config.region_id)),
            ("TRACE_ON", FieldValue::Bool(group.config.trace_on)),
            ("msgId", FieldValue::Str(id)),
            ("queueId", FieldValue::Int(i64::from(send.queue_id))),
            ("queueOffset", FieldValue::Int(appended.queue_offset.0 as i64)),
        ],
        &[],
    );
}

fn refuse(group: &Group, replies: &mut ReplyBuffer, meta: RequestMeta, code: i32, remark: &str) {
    replies.push(
        meta,
        code,
        Some(remark),
        &[
            ("MSG_REGION", FieldValue::Str(&group.config.region_id)),
            ("TRACE_ON", FieldValue::Bool(group.config.trace_on)),
        ],
        &[],
    );
}

/// Checks one send in RocketMQ's order and appends its records, with the creation of its topic before them if the
/// topic is new. `scratch` is kept between calls for its memory.
fn encode(
    group: &Group,
    session: &Session,
    request: &RemotingCommand,
    scratch: &mut Vec<u8>,
    into: &mut Encoded,
) -> Result<PendingSend, Refusal> {
    let header = SendMessageRequestHeader::decode(request)
        .map_err(|error| Refusal::new(response_code::SYSTEM_ERROR, error.to_string()))?;
    let now = group.seams.clock.unix_ms();
    let config = &group.config;
    if now < config.start_accept_send_timestamp {
        let until = config.start_accept_send_timestamp;
        return Err(Refusal::new(response_code::SYSTEM_ERROR, format!("broker unable to service, until {until}")));
    }
    if !permission::is_writable(config.broker_permission) {
        let remark = format!("the broker[{}] sending message is forbidden", config.broker_ip1);
        return Err(Refusal::new(response_code::NO_PERMISSION, remark));
    }
    topic::validate_name(&header.topic)
        .map_err(|error| Refusal::new(response_code::SYSTEM_ERROR, error.to_string()))?;
    if topic::is_send_forbidden(&header.topic) {
        let remark = format!("Sending message to topic[{}] is forbidden.", header.topic);
        return Err(Refusal::new(response_code::NO_PERMISSION, remark));
    }
    let (topic_config, creation) = find_topic(group, session, &header, &into.creations)?;
    let queues = topic_config.write_queue_nums.max(topic_config.read_queue_nums);
    if header.queue_id >= queues {
        let remark = format!(
            "request queueId[{}] is illegal, {:?} Producer: {}",
            header.queue_id,
            topic_config.config,
            session.peer()
        );
        return Err(Refusal::new(response_code::SYSTEM_ERROR, remark));
    }
    let queue_id = match header.queue_id {
        id if id >= 0 => id,
        _ if topic_config.write_queue_nums <= 0 => {
            let remark = format!("topic[{}] has no queue to write to: {:?}", header.topic, topic_config.config);
            return Err(Refusal::new(response_code::SYSTEM_ERROR, remark));
        }
        _ => group.seams.rng.below(topic_config.write_queue_nums as u64) as i32,
    };
    let mut flags = header.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    if topic_config.topic_filter_type == topic::TopicFilterType::MultiTag {
        flags |= sys_flag::MULTI_TAGS;
    }
    let message = Message {
        topic: &topic_config.name,
        queue_id,
        flag: header.flag,
        sys_flag: flags,
        born_timestamp: header.born_timestamp,
        born_host: session.peer(),
        store_host: group.store_host,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: &request.body,
        properties: &[],
    };
    let wire_properties = header.properties.as_deref().unwrap_or("").as_bytes();
    let mut encoded = EncodedMessages { topic: topic_config.name.clone(), queue_id, count: 0, bytes: Vec::new() };
    if header.batch {
        batch_body::encode(&message, wire_properties, &config.cluster, config.max_message_bytes, &mut encoded)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    } else {
        encode_single(group, message, wire_properties, scratch, &mut encoded)?;
    }
    let send = PendingSend { meta: request.meta(), queue_id, message_count: encoded.count, bytes: encoded.bytes.len() };
    if let Some(creation) = creation {
        let create = Command::PutTopic { config: topic_config.config.clone(), from_auto_create: true, at_unix_ms: now };
        into.records.push(ProposalRecord::Command(create.to_record()));
        into.creations.push(creation);
    }
    into.records.push(ProposalRecord::Messages(encoded));
    Ok(send)
}

/// The topic of a send and, if it is new, its creation. `creations` are those that the same proposal holds already.
fn find_topic(
    group: &Group,
    session: &Session,
    header: &SendMessageRequestHeader<'_>,
    creations: &[Creation],
) -> Result<(Arc<Topic>, Option<Creation>), Refusal> {
    let send = SendCreation {
        topic: &header.topic,
        default_topic: &header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        unit_mode: header.unit_mode,
        auto_create_topic_enable: group.config.auto_create_topic,
    };
    match decide_for_send(&group.topics, send) {
        AutoCreate::Use(topic) => return Ok((topic, None)),
        AutoCreate::Create(_) => {}
        AutoCreate::Refuse { code, remark } => return Err(Refusal { code, remark }),
    }
    if let Some(known) = creations.iter().find(|creation| *creation.topic().name == *header.topic) {
        return Ok((known.topic().clone(), None));
    }
    // Once more, with the topics in creation locked: the topic may have been applied since.
    let created = group.topics_in_creation.create(|| match decide_for_send(&group.topics, send) {
        AutoCreate::Create(config) => Ok(config),
        AutoCreate::Use(topic) => Err(Ok((topic, None))),
        AutoCreate::Refuse { code, remark } => Err(Err(Refusal { code, remark })),
    });
    let creation = match created {
        Ok(creation) => creation,
        Err(instead) => return instead,
    };
    let topic = creation.topic().clone();
    let (name, queues, client) = (&topic.name, topic.write_queue_nums, session.peer());
    tracing::info!(topic = %name, queues, %client, "topic is created by a send");
    Ok((topic, Some(creation)))
}

fn encode_single(
    group: &Group,
    message: Message<'_>,
    wire_properties: &[u8],
    text: &mut Vec<u8>,
    encoded: &mut EncodedMessages,
) -> Result<(), Refusal> {
    let config = &group.config;
    let is_prepared = properties::get_str(wire_properties, properties::TRAN_MSG)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    // With these bits alone it would be stored where no consumer finds it.
    if is_prepared || message.sys_flag & sys_flag::TRANSACTION_MASK != 0 {
        let remark = format!(
            "the broker[{}] sending transaction message is forbidden: this version of RaftMQ has no transactions",
            config.broker_ip1
        );
        return Err(Refusal::new(response_code::NO_PERMISSION, remark));
    }
    let is_retry = message.topic.starts_with(topic::RETRY_PREFIX);
    if properties::is_delayed(wire_properties) && !is_retry {
        let remark = "this version of RaftMQ has no delayed messages: send without a delay level or a delivery time";
        return Err(Refusal::new(response_code::MESSAGE_ILLEGAL, remark));
    }
    text.clear();
    // With room for the cluster.
    text.reserve(wire_properties.len() + 64);
    if properties::get(wire_properties, properties::WAIT).is_some() {
        properties::push_without(text, wire_properties, &[properties::WAIT]);
    } else {
        text.extend_from_slice(wire_properties);
    }
    properties::push(text, properties::CLUSTER, &config.cluster);
    let message = Message { properties: text, ..message };
    encoded.bytes.reserve(message_codec::OVERHEAD_V4_BYTES + message.body.len() + message.topic.len() + text.len());
    message_codec::encode(&message, config.max_message_bytes, &mut encoded.bytes).map_err(|error| {
        let remark: Cow<'_, str> = format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit {}B, msg properties length limit 32KB. {error}",
            config.max_message_bytes
        )
        .into();
        Refusal::new(response_code::MESSAGE_ILLEGAL, remark)
    })?;
    encoded.count = 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::test_group::{TestGroup, send};

    #[tokio::test]
    async fn a_second_first_send_is_checked_against_the_wish_that_counts() {
        let fixture = TestGroup::new(&[]);
        fixture.ask(send("T", 2, 1));
        fixture.ask(send("T", 8, 5));
        assert_eq!(fixture.answers.take_codes(), [1], "queue 5 would be above the 2 of the first");
        fixture.ask(send("T", 8, 0));
        assert_eq!(fixture.batches(), 2);
        fixture.store_next();
        fixture.ask(send("T", 8, 5));
        assert_eq!(fixture.answers.take_codes(), [0, 1]);
        fixture.store_next();
        assert_eq!(fixture.answers.take_codes(), [0]);
        assert_eq!(fixture.group.topics.get("T").unwrap().write_queue_nums, 2);
        assert!(fixture.group.topics_in_creation.is_empty());
    }

    #[tokio::test]
    async fn a_creation_that_failed_binds_nobody() {
        let fixture = TestGroup::new(&[]);
        fixture.ask(send("T", 2, 1));
        fixture.ask(send("T", 2, 0));
        fixture.refuse_next();
        fixture.ask(send("T", 8, 5));
        assert_eq!(fixture.answers.take_codes(), [14, 1], "the second is still under way");
        fixture.refuse_next();
        fixture.ask(send("T", 8, 5));
        fixture.store_next();
        assert_eq!(fixture.answers.take_codes(), [14, 0]);
        assert_eq!(fixture.group.topics.get("T").unwrap().write_queue_nums, 8);
    }

    #[tokio::test]
    async fn a_read_that_creates_a_topic_twice_creates_it_once() {
        let fixture = TestGroup::new(&[]);
        fixture.ask_all(vec![send("T", 2, 1), send("T", 8, 5), send("T", 8, 0), send("U", 3, 2)]);
        assert_eq!(fixture.answers.take_codes(), [1]);
        assert_eq!(fixture.commands_of_next().len(), 2);
        fixture.store_next();
        assert_eq!(fixture.answers.take_codes(), [0, 0, 0]);
        assert!(fixture.group.topics_in_creation.is_empty());
    }
}
