use std::collections::{BTreeMap, BTreeSet};

use raftmq_model::queue::MessageQueue;
use raftmq_model::route::TopicRouteData;
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_model::topic::{AUTO_CREATE_TOPIC_KEY, TopicConfig};
use raftmq_remoting::body::{ClusterInfo, KvTable, TopicList, TopicOffset, TopicStatsTable, fastjson};
use raftmq_remoting::{RemotingCommand, request_code};
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::instance::ClientInstance;
use crate::{answer, route_cache};

/// Questions and orders of operators.
pub struct Admin {
    instance: ClientInstance,
}

impl Admin {
    pub fn new(instance: &ClientInstance) -> Admin {
        Admin { instance: instance.clone() }
    }

    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        self.ask_name_server(RemotingCommand::request(request_code::GET_BROKER_CLUSTER_INFO)).await
    }

    /// All topics of all clusters.
    pub async fn topic_list(&self) -> Result<BTreeSet<String>, ClientError> {
        let request = RemotingCommand::request(request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        Ok(self.ask_name_server::<TopicList>(request).await?.topic_list)
    }

    /// The route as the name server tells it now, past the cache.
    pub async fn topic_route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        route_cache::fetch(self.instance.name_servers(), topic).await
    }

    /// Creates or changes a topic at the broker at `address`, which must be a master or, in Raft mode, any member.
    pub async fn create_topic(&self, address: &str, topic: &TopicConfig) -> Result<(), ClientError> {
        let request = RemotingCommand::request(request_code::UPDATE_AND_CREATE_TOPIC)
            .with_field("topic", topic.topic_name.as_str())
            .with_field("defaultTopic", AUTO_CREATE_TOPIC_KEY)
            .with_field("readQueueNums", topic.read_queue_nums)
            .with_field("writeQueueNums", topic.write_queue_nums)
            .with_field("perm", topic.perm)
            .with_field("topicFilterType", topic.topic_filter_type.name())
            .with_field("topicSysFlag", topic.topic_sys_flag)
            .with_field("order", topic.order);
        self.ask(address, request).await.map(drop)
    }

    /// Creates or changes a consumer group at the broker at `address`.
    pub async fn create_group(&self, address: &str, group: &SubscriptionGroupConfig) -> Result<(), ClientError> {
        let request = RemotingCommand::request(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
            .with_body(fastjson::to_vec(group));
        self.ask(address, request).await.map(drop)
    }

    /// The offsets of a topic's queues at the broker at `address`.
    pub async fn topic_stats(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<BTreeMap<MessageQueue, TopicOffset>, ClientError> {
        let request = RemotingCommand::request(request_code::GET_TOPIC_STATS_INFO).with_field("topic", topic);
        let answer = self.ask(address, request).await?;
        Ok(answer::body::<TopicStatsTable>(address, &answer)?.offset_table)
    }

    /// What a broker counts about itself.
    pub async fn runtime_info(&self, address: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.ask(address, RemotingCommand::request(request_code::GET_BROKER_RUNTIME_INFO)).await?;
        Ok(answer::body::<KvTable>(address, &answer)?.table)
    }

    async fn ask(&self, address: &str, request: RemotingCommand) -> Result<RemotingCommand, ClientError> {
        self.instance.connections().invoke(address, request, self.instance.config().request_timeout).await
    }

    async fn ask_name_server<T: DeserializeOwned>(&self, request: RemotingCommand) -> Result<T, ClientError> {
        let (address, answer) = self.instance.name_servers().invoke(request).await?;
        answer::body(&address, &answer)
    }
}
