//! Requests 17, 215, 21 and 202: topics (RocketMQ `AdminBrokerProcessor`).

use std::collections::BTreeMap;

use raftmq_model::queue::MessageQueue;
use raftmq_model::topic::{self, TopicConfig, TopicFilterType};
use raftmq_remoting::body::{TopicConfigSerializeWrapper, TopicOffset, TopicStatsTable};
use raftmq_remoting::header::{CreateTopicRequestHeader, TopicRequestHeader};
use raftmq_remoting::{RemotingCommand, response_code};
use raftmq_store::ReadError;

use super::{Handled, Reply, consumer_manage};
use crate::group::Group;
use crate::state_machine::{Command, TopicDefaults};

/// Most queues that a topic may have here; each costs files and memory.
const MAX_QUEUES: i32 = 65_535;

/// Request 17: creates a topic or replaces its configuration.
pub fn put_topic(group: &Group, request: &RemotingCommand) -> Handled {
    match parse_topic(&group.topic_defaults, request) {
        Ok(config) => {
            let (name, queues) = (&config.topic_name, config.write_queue_nums);
            tracing::info!(topic = name, queues, "topic is created or changed by request");
            let at_unix_ms = group.seams.clock.unix_ms();
            let commands = vec![Command::PutTopic { config, from_auto_create: false, at_unix_ms }];
            Handled::Propose { commands, then: Reply::ok() }
        }
        Err(reply) => reply.into(),
    }
}

fn parse_topic(defaults: &TopicDefaults, request: &RemotingCommand) -> Result<TopicConfig, Reply> {
    let header = CreateTopicRequestHeader::decode(&request.fields)?;
    check_changeable(defaults, &header.topic)?;
    for (name, count) in [("readQueueNums", header.read_queue_nums), ("writeQueueNums", header.write_queue_nums)] {
        if !(0..=MAX_QUEUES).contains(&count) {
            return Err(Reply::system_error(format!("{name} is {count}, it must be from 0 to {MAX_QUEUES}")));
        }
    }
    let topic_filter_type = match header.topic_filter_type.as_deref() {
        Some(name) => TopicFilterType::parse(name)
            .ok_or_else(|| Reply::system_error(format!("topicFilterType {name} is not known")))?,
        None => TopicFilterType::SingleTag,
    };
    Ok(TopicConfig {
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type,
        topic_name: header.topic.into_owned(),
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    })
}

/// System topics cannot be changed by request.
fn check_changeable(defaults: &TopicDefaults, name: &str) -> Result<(), Reply> {
    topic::validate_name(name).map_err(Reply::system_error)?;
    if defaults.is_system_topic(name) {
        return Err(Reply::system_error(format!("The topic[{name}] is conflict with system topic.")));
    }
    Ok(())
}

/// Request 215. A topic that is not there is deleted already.
pub fn delete_topic(group: &Group, request: &RemotingCommand) -> Handled {
    let topic = match topic_to_delete(&group.topic_defaults, request) {
        Ok(topic) => topic,
        Err(reply) => return reply.into(),
    };
    if !group.topics.contains(&topic) {
        return Reply::ok().into();
    }
    tracing::info!(topic, "topic is deleted by request");
    Handled::DeleteTopic { topic }
}

fn topic_to_delete(defaults: &TopicDefaults, request: &RemotingCommand) -> Result<String, Reply> {
    let header = TopicRequestHeader::decode(&request.fields)?;
    check_changeable(defaults, &header.topic)?;
    Ok(header.topic.into_owned())
}

/// Request 21: all topics of this member.
pub fn all_topics(group: &Group) -> Handled {
    let (data_version, topics) = group.topics.all();
    let topics = topics.iter().map(|topic| (topic.name.to_string(), topic.config.clone()));
    let wrapper = TopicConfigSerializeWrapper { data_version, topic_config_table: topics.collect() };
    Reply::ok().with_body(wrapper.to_json()).into()
}

/// Request 202: offsets and last store time of each write queue.
pub fn topic_stats(group: &Group, request: &RemotingCommand) -> Handled {
    let name = match TopicRequestHeader::decode(&request.fields) {
        Ok(header) => header.topic,
        Err(error) => return Reply::from(error).into(),
    };
    let Some(topic) = group.topics.get(&name) else {
        return Reply::error(response_code::TOPIC_NOT_EXIST, format!("topic[{name}] not exist")).into();
    };
    let mut offset_table = BTreeMap::new();
    for queue_id in 0..topic.write_queue_nums {
        let offsets = match queue_offsets(group, &name, queue_id) {
            Ok(offsets) => offsets,
            Err(error) => return Reply::system_error(error).into(),
        };
        let broker_name = group.config.broker_name.clone();
        offset_table.insert(MessageQueue { broker_name, queue_id, topic: name.to_string() }, offsets);
    }
    Reply::ok().with_body(TopicStatsTable { offset_table }.to_json()).into()
}

fn queue_offsets(group: &Group, topic: &str, queue_id: i32) -> Result<TopicOffset, ReadError> {
    let Some(queue) = group.queues.queue(topic, queue_id) else { return Ok(TopicOffset::default()) };
    let (min, max) = (queue.min_offset().0, queue.max_offset().0);
    let last = if max > min { consumer_manage::store_time(&group.log, &queue, max - 1)?.max(0) } else { 0 };
    Ok(TopicOffset { last_update_timestamp: last, max_offset: max as i64, min_offset: min as i64 })
}

#[cfg(test)]
mod tests {
    use raftmq_model::offset::QueueOffset;

    use super::*;
    use crate::test_group::{TestGroup, send};

    fn put(topic: &str) -> RemotingCommand {
        RemotingCommand::request(17)
            .with_field("topic", topic)
            .with_field("defaultTopic", "TBW102")
            .with_field("readQueueNums", 4)
            .with_field("writeQueueNums", 8)
            .with_field("perm", 6)
            .with_field("topicFilterType", "SINGLE_TAG")
            .with_field("order", "true")
    }

    fn refusal(request: &RemotingCommand) -> String {
        let defaults = TopicDefaults { broker_name: "broker-a".to_owned(), ..TopicDefaults::default() };
        let reply = parse_topic(&defaults, request).unwrap_err();
        assert_eq!(reply.code, 1);
        reply.remark.unwrap()
    }

    #[test]
    fn a_topic_is_made_of_its_fields() {
        let config = parse_topic(&TopicDefaults::default(), &put("T")).unwrap();
        let expected = TopicConfig { order: true, read_queue_nums: 4, ..TopicConfig::new("T", 8, 6) };
        assert_eq!(config, expected);
    }

    #[test]
    fn bad_names_and_numbers_are_refused_in_rocketmqs_words() {
        assert_eq!(refusal(&put(" ")), "The specified topic is blank.");
        assert_eq!(refusal(&put("TBW102")), "The topic[TBW102] is conflict with system topic.");
        assert_eq!(refusal(&put("broker-a")), "The topic[broker-a] is conflict with system topic.");
        let request = RemotingCommand::request(17).with_field("topic", "T").with_field("perm", 6);
        assert_eq!(refusal(&request), "the custom field <readQueueNums> is null");
        let request = put("T").with_field("readQueueNums", 70_000);
        assert_eq!(refusal(&request), "readQueueNums is 70000, it must be from 0 to 65535");
    }

    #[tokio::test]
    async fn a_deletion_speaks_of_messages_that_were_in_flight() {
        let fixture = TestGroup::new(&[("T", 2)]);
        fixture.ask(send("T", 2, 0));
        fixture.store_next();
        fixture.ask(send("T", 2, 0));
        fixture.ask(send("T", 2, 1));
        fixture.ask(RemotingCommand::request(215).with_field("topic", "T"));
        fixture.ask(send("T", 2, 1));
        assert_eq!(fixture.batches(), 2, "the deletion waits, and what comes later waits behind it");
        fixture.store_next();
        fixture.store_next();
        assert_eq!(fixture.batches(), 2);
        let ends = match &fixture.commands_of_next()[..] {
            [Command::DeleteTopic { topic, ends, .. }] if topic == "T" => ends.clone(),
            others => panic!("{others:?}"),
        };
        assert_eq!(ends, [(0, QueueOffset(2)), (1, QueueOffset(1))]);
        fixture.store_next();
        fixture.store_next();
        assert_eq!(fixture.answers.take_codes(), [0; 5]);
        let again = fixture.group.queues.queue("T", 1).unwrap();
        assert_eq!((again.min_offset(), again.max_offset()), (QueueOffset(1), QueueOffset(2)));
    }
}
