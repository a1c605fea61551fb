//! What brokers tell about themselves.

use std::time::Duration;

use raftmq_model::route::DataVersion;
use raftmq_remoting::body::{self, KvTable, RegisterBrokerBody, TopicConfigSerializeWrapper, body_crc32};
use raftmq_remoting::header::{BrokerRequestHeader, RegisterBrokerRequestHeader};
use raftmq_remoting::{RemotingCommand, Session};

use super::Inner;
use super::request::{Answer, Refusal};
use crate::kv_config::ORDER_TOPIC_NAMESPACE;
use crate::route_table::{BrokerIdentity, Registration};

/// The first version that registers with a `RegisterBrokerBody`; before, the body was its topics alone (V3_0_11).
const REGISTER_BODY_SINCE: i32 = 37;

fn identity<'a>(header: &'a BrokerRequestHeader<'_>) -> BrokerIdentity<'a> {
    BrokerIdentity {
        cluster: &header.cluster_name,
        broker_name: &header.broker_name,
        address: &header.broker_addr,
        broker_id: header.broker_id,
    }
}

/// What a broker registers; a very old one sends its topics alone.
fn registered_body(request: &RemotingCommand, compressed: bool) -> Result<RegisterBrokerBody, Refusal> {
    if request.version >= REGISTER_BODY_SINCE {
        return RegisterBrokerBody::decode(&request.body, compressed).map_err(Refusal::error);
    }
    let topic_config_serialize_wrapper = TopicConfigSerializeWrapper::parse(&request.body).map_err(Refusal::error)?;
    Ok(RegisterBrokerBody { topic_config_serialize_wrapper, ..RegisterBrokerBody::default() })
}

impl Inner {
    pub(super) fn register(&self, session: &Session, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = RegisterBrokerRequestHeader::decode(&request.fields)?;
        let checksum = header.body_crc32.filter(|checksum| *checksum != 0);
        if checksum.is_some_and(|checksum| checksum != body_crc32(&request.body)) {
            return Err(Refusal::error("crc32 not match"));
        }
        let body = registered_body(request, header.compressed)?;
        let topics: Vec<_> = body.topic_config_serialize_wrapper.topic_config_table.into_values().collect();
        let timeout = header.heartbeat_timeout_millis.and_then(|millis| u64::try_from(millis).ok());
        let registration = Registration {
            broker: BrokerIdentity {
                cluster: &header.cluster_name,
                broker_name: &header.broker_name,
                address: &header.broker_addr,
                broker_id: header.broker_id,
            },
            ha_server_address: &header.ha_server_addr,
            data_version: body.topic_config_serialize_wrapper.data_version,
            topics: &topics,
            filter_servers: &body.filter_server_list,
            expires_after: timeout.map(Duration::from_millis),
            connection: session.id(),
        };
        let registered = self.routes().register(&registration, self.seams.clock.monotonic());
        let mut answer = Answer::empty();
        answer.fields.extend(registered.ha_server_address.map(|address| ("haServerAddr", address)));
        answer.fields.extend(registered.master_address.map(|address| ("masterAddr", address)));
        if self.config().return_order_topic_config
            && let Some(table) = self.settings.namespace(ORDER_TOPIC_NAMESPACE)
        {
            answer.body = KvTable { table }.to_json();
        }
        Ok(answer)
    }

    pub(super) fn query_data_version(&self, session: &Session, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = BrokerRequestHeader::decode(&request.fields)?;
        let version: DataVersion = body::parse(&request.body).map_err(Refusal::error)?;
        let now = self.seams.clock.monotonic();
        let (changed, known) = self.routes().query_data_version(identity(&header), version, session.id(), now);
        let mut answer = Answer::field("changed", changed);
        if let Some(known) = known {
            answer.body = body::fastjson::to_vec(&known);
        }
        Ok(answer)
    }

    pub(super) fn heartbeat(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        // Only the names are of use here; the rest is for 5.x's controllers.
        let (name, address) = (request.fields.get("brokerName"), request.fields.get("brokerAddr"));
        if let (Some(name), Some(address)) = (name, address) {
            self.routes().handle_heartbeat(&name, &address, self.seams.clock.monotonic());
        }
        Ok(Answer::empty())
    }

    pub(super) fn unregister(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = BrokerRequestHeader::decode(&request.fields)?;
        self.routes().unregister(identity(&header));
        Ok(Answer::empty())
    }
}
