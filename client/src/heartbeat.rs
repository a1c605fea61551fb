//! What a client tells brokers about itself.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use raftmq_model::subscription::SubscriptionData;
use raftmq_remoting::body::{ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData};
use raftmq_remoting::{RemotingCommand, request_code};

use crate::connections::Connections;
use crate::error::ClientError;

/// A consumer of this program, for the heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerMember {
    pub(crate) group: String,
    pub(crate) consume_from: ConsumeFromWhere,
    pub(crate) subscriptions: Vec<SubscriptionData>,
}

/// The body of a heartbeat.
pub(crate) fn body(client_id: &str, producer_groups: &BTreeSet<String>, consumers: &[ConsumerMember]) -> Bytes {
    let consumers = consumers.iter().map(|consumer| ConsumerData {
        consume_from_where: consumer.consume_from,
        consume_type: ConsumeType::ConsumePassively,
        group_name: consumer.group.clone(),
        message_model: MessageModel::Clustering,
        subscription_data_set: consumer.subscriptions.clone(),
        unit_mode: false,
    });
    let data = HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: consumers.collect(),
        producer_data_set: producer_groups.iter().map(|group| ProducerData { group_name: group.clone() }).collect(),
    };
    data.to_json().into()
}

pub(crate) async fn beat(
    connections: &Connections,
    address: &str,
    body: Bytes,
    timeout: Duration,
) -> Result<(), ClientError> {
    let request = RemotingCommand::request(request_code::HEART_BEAT).with_body(body);
    connections.invoke(address, request, timeout).await.map(drop)
}

pub(crate) async fn leave(
    connections: &Connections,
    address: &str,
    client_id: &str,
    consumer_group: &str,
    timeout: Duration,
) -> Result<(), ClientError> {
    let request = RemotingCommand::request(request_code::UNREGISTER_CLIENT)
        .with_field("clientID", client_id)
        .with_field("consumerGroup", consumer_group);
    connections.invoke(address, request, timeout).await.map(drop)
}
