//! What a topic's route means to producers and consumers.

use std::collections::BTreeMap;

use raftmq_model::permission;
use raftmq_model::queue::MessageQueue;
use raftmq_model::route::TopicRouteData;

use crate::error::ClientError;

/// The id of a group's master or leader.
pub(crate) const MASTER_ID: i64 = 0;

/// The route of one topic as a name server told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRoute {
    /// Addresses by brokerId, by broker group.
    pub brokers: BTreeMap<String, BTreeMap<i64, String>>,
    /// Queues to send to: writable, of groups that have a master.
    pub publish_queues: Vec<MessageQueue>,
    /// Queues to consume: readable.
    pub subscribe_queues: Vec<MessageQueue>,
}

impl TopicRoute {
    pub fn new(topic: &str, data: &TopicRouteData) -> TopicRoute {
        let brokers: BTreeMap<_, _> =
            data.broker_datas.iter().map(|broker| (broker.broker_name.clone(), broker.broker_addrs.clone())).collect();
        let has_master = |name: &str| brokers.get(name).is_some_and(|members| members.contains_key(&MASTER_ID));
        let mut queue_datas: Vec<_> = data.queue_datas.iter().collect();
        queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        let ordered = data.order_topic_conf.as_deref().map(ordered_queues).unwrap_or_default();
        let mut route = TopicRoute::default();
        for data in &queue_datas {
            if data.perm & permission::WRITE != 0 && ordered.is_empty() && has_master(&data.broker_name) {
                route.publish_queues.extend(queues(topic, &data.broker_name, data.write_queue_nums));
            }
            if data.perm & permission::READ != 0 {
                route.subscribe_queues.extend(queues(topic, &data.broker_name, data.read_queue_nums));
            }
        }
        for (broker_name, count) in ordered {
            route.publish_queues.extend(queues(topic, broker_name, count));
        }
        route.brokers = brokers;
        route
    }

    /// The route by which an unknown `topic` is created: the template topic's brokers and at most
    /// `most_queues` of its queues each.
    pub(crate) fn from_template(topic: &str, template: &TopicRouteData, most_queues: i32) -> TopicRoute {
        let mut data = template.clone();
        for queue in &mut data.queue_datas {
            let count = queue.read_queue_nums.min(most_queues);
            (queue.read_queue_nums, queue.write_queue_nums) = (count, count);
        }
        let mut route = TopicRoute::new(topic, &data);
        // It does not exist yet, so there is nothing to consume.
        route.subscribe_queues.clear();
        route
    }

    /// Address of the member that leads the group, as far as the name server knows.
    pub fn master(&self, broker_name: &str) -> Option<&str> {
        self.brokers.get(broker_name)?.get(&MASTER_ID).map(String::as_str)
    }

    /// Address of the member with this id, else of the master, else of any.
    pub fn member(&self, broker_name: &str, broker_id: i64) -> Option<&str> {
        let members = self.brokers.get(broker_name)?;
        members.get(&broker_id).or_else(|| members.values().next()).map(String::as_str)
    }

    /// [`TopicRoute::master`] of a queue's group, or why there is none.
    pub(crate) fn master_of(&self, queue: &MessageQueue) -> Result<&str, ClientError> {
        self.master(&queue.broker_name).ok_or_else(|| no_broker(queue))
    }

    /// [`TopicRoute::member`] of a queue's group, or why there is none.
    pub(crate) fn member_of(&self, queue: &MessageQueue, broker_id: i64) -> Result<&str, ClientError> {
        self.member(&queue.broker_name, broker_id).ok_or_else(|| no_broker(queue))
    }

    /// Addresses of all members of all groups.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.brokers.values().flat_map(BTreeMap::values).map(String::as_str)
    }
}

fn no_broker(queue: &MessageQueue) -> ClientError {
    ClientError::NoBroker { broker_name: queue.broker_name.clone(), topic: queue.topic.clone() }
}

fn queues(topic: &str, broker_name: &str, count: i32) -> impl Iterator<Item = MessageQueue> {
    /// RocketMQ's tools create at most some thousands; a name server that says more is not believed.
    const MOST_QUEUES: i32 = 1 << 16;
    (0..count.min(MOST_QUEUES)).map(move |queue_id| MessageQueue {
        broker_name: broker_name.to_owned(),
        queue_id,
        topic: topic.to_owned(),
    })
}

/// `broker-a:4;broker-b:4`, the queues of an ordered topic; what does not parse is skipped.
fn ordered_queues(configuration: &str) -> Vec<(&str, i32)> {
    configuration
        .split(';')
        .filter_map(|part| part.split_once(':'))
        .filter_map(|(name, count)| Some((name, count.trim().parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use raftmq_model::route::{BrokerData, QueueData};

    use super::*;

    fn broker(name: &str, ids: &[i64]) -> BrokerData {
        BrokerData {
            broker_addrs: ids.iter().map(|id| (*id, format!("{name}:{id}"))).collect(),
            broker_name: name.to_owned(),
            cluster: "C".to_owned(),
        }
    }

    fn queue(name: &str, perm: i32, read: i32, write: i32) -> QueueData {
        QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: read,
            topic_sys_flag: 0,
            write_queue_nums: write,
        }
    }

    fn data() -> TopicRouteData {
        TopicRouteData {
            broker_datas: vec![broker("b", &[0, 1]), broker("a", &[1]), broker("c", &[0])],
            queue_datas: vec![queue("c", 4, 2, 2), queue("b", 6, 3, 2), queue("a", 6, 1, 1)],
            ..TopicRouteData::default()
        }
    }

    fn ids(queues: &[MessageQueue]) -> Vec<String> {
        queues.iter().map(|queue| format!("{}{}", queue.broker_name, queue.queue_id)).collect()
    }

    #[test]
    fn producers_need_write_permission_and_a_master_consumers_need_read() {
        let route = TopicRoute::new("T", &data());
        assert_eq!(ids(&route.publish_queues), ["b0", "b1"]);
        assert_eq!(ids(&route.subscribe_queues), ["a0", "b0", "b1", "b2", "c0", "c1"]);
        assert_eq!((route.master("b"), route.master("a")), (Some("b:0"), None));
        assert_eq!(
            (route.member("a", 0), route.member("b", 1), route.member("x", 0)),
            (Some("a:1"), Some("b:1"), None)
        );
    }

    #[test]
    fn a_template_gives_at_most_our_number_of_queues() {
        let route = TopicRoute::from_template("New", &data(), 1);
        assert_eq!(ids(&route.publish_queues), ["b0"]);
        assert_eq!(route.publish_queues[0].topic, "New");
        assert!(route.subscribe_queues.is_empty());
    }

    #[test]
    fn an_order_configuration_decides_where_to_send() {
        let data = TopicRouteData { order_topic_conf: Some("b:1;x;c:2".to_owned()), ..data() };
        assert_eq!(ids(&TopicRoute::new("T", &data).publish_queues), ["b0", "c0", "c1"]);
    }
}
