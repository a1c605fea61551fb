//! Routes and lists of topics.

use std::collections::{BTreeMap, BTreeSet};

use raftmq_remoting::body::{ClusterInfo, TopicList};
use raftmq_remoting::header::{
    BrokerNameRequestHeader, ClusterRequestHeader, DeleteTopicFromNamesrvRequestHeader, GetRouteInfoRequestHeader,
};
use raftmq_remoting::{RemotingCommand, response_code};

use super::Inner;
use super::request::{Answer, Refusal};
use crate::kv_config::ORDER_TOPIC_NAMESPACE;
use crate::route_json::{self, RouteForm};

/// Bits of a topic's sysFlag (RocketMQ `TopicSysFlag`).
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 1 << 1;

impl Inner {
    pub(super) fn route(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = GetRouteInfoRequestHeader::decode(&request.fields)?;
        let topic = header.topic;
        let Some(mut route) = self.routes().route(&topic) else {
            return Err(Refusal::new(
                response_code::TOPIC_NOT_EXIST,
                format!(
                    "No topic route info in name server for the topic: {topic}\nSee \
                     https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
                ),
            ));
        };
        if self.config().order_message {
            route.order_topic_conf = self.settings.get(ORDER_TOPIC_NAMESPACE, &topic);
        }
        let form = RouteForm::of(request.version, header.accept_standard_json_only);
        Ok(Answer::body(route_json::render(&route, form)))
    }

    pub(super) fn cluster_info(&self) -> Result<Answer, Refusal> {
        let mut clusters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut brokers = BTreeMap::new();
        for broker in self.routes().brokers() {
            clusters.entry(broker.cluster.clone()).or_default().insert(broker.broker_name.clone());
            brokers.insert(broker.broker_name.clone(), broker);
        }
        let info = ClusterInfo { broker_addr_table: brokers, cluster_addr_table: clusters };
        Ok(Answer::body(info.to_json()))
    }

    pub(super) fn all_topics(&self) -> Result<Answer, Refusal> {
        list(self.routes().topics(), None)
    }

    pub(super) fn topics_of_cluster(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = ClusterRequestHeader::decode(&request.fields)?;
        list(self.routes().topics_of_cluster(&header.cluster), None)
    }

    pub(super) fn system_topics(&self) -> Result<Answer, Refusal> {
        let (topics, broker_address) = self.routes().system_topics();
        list(topics, broker_address)
    }

    pub(super) fn unit_topics(&self) -> Result<Answer, Refusal> {
        list(self.routes().topics_with_flag(|flag| flag & UNIT != 0), None)
    }

    pub(super) fn unit_sub_topics(&self) -> Result<Answer, Refusal> {
        list(self.routes().topics_with_flag(|flag| flag & UNIT_SUB != 0), None)
    }

    pub(super) fn unit_sub_only_topics(&self) -> Result<Answer, Refusal> {
        list(self.routes().topics_with_flag(|flag| flag & (UNIT | UNIT_SUB) == UNIT_SUB), None)
    }

    pub(super) fn delete_topic(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = DeleteTopicFromNamesrvRequestHeader::decode(&request.fields)?;
        let cluster = header.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
        self.routes().delete_topic(&header.topic, cluster);
        Ok(Answer::empty())
    }

    pub(super) fn wipe_write_permission(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = BrokerNameRequestHeader::decode(&request.fields)?;
        let count = self.routes().wipe_write_permission(&header.broker_name);
        Ok(Answer::field("wipeTopicCount", count))
    }

    pub(super) fn add_write_permission(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = BrokerNameRequestHeader::decode(&request.fields)?;
        let count = self.routes().add_write_permission(&header.broker_name);
        Ok(Answer::field("addTopicCount", count))
    }
}

fn list(topics: impl IntoIterator<Item = String>, broker_addr: Option<String>) -> Result<Answer, Refusal> {
    Ok(Answer::body(TopicList { topic_list: topics.into_iter().collect(), broker_addr }.to_json()))
}
