//! The requests of a broker to its name servers.

use raftmq_model::route::DataVersion;
use raftmq_model::topic::TopicConfig;
use raftmq_remoting::body::{RegisterBrokerBody, TopicConfigSerializeWrapper, body_crc32, fastjson};
use raftmq_remoting::{RemotingCommand, request_code};

use super::{Context, MemberState};

/// Registers all topics, or these alone.
pub(super) fn register(context: &Context, member: MemberState, only: Option<Vec<TopicConfig>>) -> RemotingCommand {
    let config = &context.config;
    let (version, topics) = match only {
        Some(topics) => (context.topics.data_version(), topics),
        None => {
            let (version, topics) = context.topics.all();
            (version, topics.iter().map(|topic| topic.config.clone()).collect())
        }
    };
    let registered = topics.into_iter().map(|mut topic| {
        // What the broker as a whole refuses, none of its topics offers.
        topic.perm &= config.broker_permission;
        (topic.topic_name.clone(), topic)
    });
    let body = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version: with_epoch(version, member),
            topic_config_table: registered.collect(),
        },
    };
    let compressed = config.compressed_register;
    let body = body.encode(compressed);
    identified(request_code::REGISTER_BROKER, context, member)
        .with_field("haServerAddr", config.ha_address())
        .with_field("compressed", compressed)
        .with_field("bodyCrc32", body_crc32(&body))
        .with_body(body)
}

/// Asks whether the name server has this version of the topics.
pub(super) fn query_data_version(context: &Context, member: MemberState) -> RemotingCommand {
    let version = with_epoch(context.topics.data_version(), member);
    identified(request_code::QUERY_DATA_VERSION, context, member).with_body(fastjson::to_vec(&version))
}

/// The answer to that question; one that does not say counts as "changed".
pub(super) fn is_changed(answer: &RemotingCommand) -> bool {
    answer.fields.get("changed").is_none_or(|text| text != "false")
}

pub(super) fn unregister(context: &Context, member: MemberState) -> RemotingCommand {
    identified(request_code::UNREGISTER_BROKER, context, member)
}

fn identified(code: i32, context: &Context, member: MemberState) -> RemotingCommand {
    let config = &context.config;
    RemotingCommand::request(code)
        .with_field("brokerName", &config.broker_name)
        .with_field("brokerAddr", config.broker_address())
        .with_field("clusterName", &config.cluster)
        .with_field("brokerId", member.broker_id)
}

fn with_epoch(version: DataVersion, member: MemberState) -> DataVersion {
    DataVersion { state_version: member.epoch, ..version }
}
