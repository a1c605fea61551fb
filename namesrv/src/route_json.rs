//! The two JSON forms of a route that RocketMQ's name server writes.
//!
//! Clients do not all parse JSON: the Go client takes the addresses apart as text, so neither form has white space, and
//! the fields are in Java's order.

use raftmq_model::route::TopicRouteData;
use raftmq_remoting::body::fastjson::{self, Dialect};

/// Which of the two a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteForm {
    /// Integer keys without quotes, as fastjson writes maps: `{0:"a:10911"}`. For clients before 4.9.4.
    Fastjson,
    /// Quoted keys; `/` and everything beyond ASCII escaped (fastjson's BrowserCompatible). For clients from 4.9.4 on
    /// and for those that ask for it.
    Standard,
}

impl RouteForm {
    /// The version from which on a client gets the standard form: V4_9_4.
    const STANDARD_SINCE: i32 = 401;

    /// The form for a client of this version, which may have asked for standard JSON.
    pub fn of(version: i32, accepts_standard_json_only: bool) -> RouteForm {
        if version >= RouteForm::STANDARD_SINCE || accepts_standard_json_only {
            RouteForm::Standard
        } else {
            RouteForm::Fastjson
        }
    }
}

/// A route as JSON text.
pub fn render(route: &TopicRouteData, form: RouteForm) -> Vec<u8> {
    let dialect = match form {
        RouteForm::Fastjson => Dialect::Fastjson,
        RouteForm::Standard => Dialect::Standard,
    };
    fastjson::write(route, dialect)
}

#[cfg(test)]
mod tests {
    use raftmq_model::route::{BrokerData, QueueData};

    use super::*;

    fn text_of(route: &TopicRouteData, form: RouteForm) -> String {
        String::from_utf8(render(route, form)).unwrap()
    }

    fn route() -> TopicRouteData {
        TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_addrs: [(0, "127.0.0.1:10911".to_owned()), (1, "127.0.0.1:11011".to_owned())].into(),
                broker_name: "broker-a".to_owned(),
                cluster: "DefaultCluster".to_owned(),
            }],
            queue_datas: vec![QueueData {
                broker_name: "broker-a".to_owned(),
                perm: 6,
                read_queue_nums: 8,
                topic_sys_flag: 0,
                write_queue_nums: 8,
            }],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn old_clients_get_what_java_wrote_for_them() {
        assert_eq!(
            text_of(&route(), RouteForm::of(317, false)),
            "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"127.0.0.1:10911\",1:\"127.0.0.1:11011\"},\
             \"brokerName\":\"broker-a\",\"cluster\":\"DefaultCluster\"}],\"filterServerTable\":{},\
             \"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,\"readQueueNums\":8,\"topicSysFlag\":0,\
             \"writeQueueNums\":8}]}"
        );
    }

    #[test]
    fn newer_clients_get_standard_json() {
        let mut route = route();
        route.order_topic_conf = Some("broker-a:4;b/é\u{1F600}\u{7f}".to_owned());
        route.filter_server_table.insert("a:1".to_owned(), vec!["f:1".to_owned(), "f:2".to_owned()]);
        let text = text_of(&route, RouteForm::of(401, false));
        assert_eq!(
            text,
            "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"127.0.0.1:10911\",\"1\":\"127.0.0.1:11011\"},\
             \"brokerName\":\"broker-a\",\"cluster\":\"DefaultCluster\"}],\
             \"filterServerTable\":{\"a:1\":[\"f:1\",\"f:2\"]},\
             \"orderTopicConf\":\"broker-a:4;b\\/\\u00E9\\uD83D\\uDE00\\u007F\",\
             \"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,\"readQueueNums\":8,\"topicSysFlag\":0,\
             \"writeQueueNums\":8}]}"
        );
        assert_eq!(serde_json::from_str::<TopicRouteData>(&text).unwrap(), route);
        assert_eq!(text_of(&route, RouteForm::of(0, true)), text, "who asks for it gets it, too");
        assert!(text_of(&route, RouteForm::Fastjson).contains("b/é\u{1F600}\\u007F"), "raw for old clients");
    }
}
