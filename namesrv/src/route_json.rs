//! The two JSON forms of a route that RocketMQ's name server writes.
//!
//! Clients do not all parse JSON: the Go client takes the addresses apart as text, so neither form has white space, and
//! the fields are in Java's order.

use std::fmt::Write as _;

use raftmq_model::route::TopicRouteData;

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
pub fn render(route: &TopicRouteData, form: RouteForm) -> String {
    let mut json = Json { text: String::with_capacity(512), form };
    json.text.push_str("{\"brokerDatas\":[");
    json.list(&route.broker_datas, |json, broker| {
        json.text.push_str("{\"brokerAddrs\":{");
        json.list(&broker.broker_addrs, |json, (id, address)| {
            let quote = if json.form == RouteForm::Standard { "\"" } else { "" };
            let _ = write!(json.text, "{quote}{id}{quote}:");
            json.string(address);
        });
        json.text.push_str("},\"brokerName\":");
        json.string(&broker.broker_name);
        json.text.push_str(",\"cluster\":");
        json.string(&broker.cluster);
        json.text.push('}');
    });
    json.text.push_str("],\"filterServerTable\":{");
    json.list(&route.filter_server_table, |json, (address, servers)| {
        json.string(address);
        json.text.push_str(":[");
        json.list(servers, |json, server| json.string(server));
        json.text.push(']');
    });
    json.text.push('}');
    if let Some(order) = &route.order_topic_conf {
        json.text.push_str(",\"orderTopicConf\":");
        json.string(order);
    }
    json.text.push_str(",\"queueDatas\":[");
    json.list(&route.queue_datas, |json, queues| {
        json.text.push_str("{\"brokerName\":");
        json.string(&queues.broker_name);
        let _ = write!(
            json.text,
            ",\"perm\":{},\"readQueueNums\":{},\"topicSysFlag\":{},\"writeQueueNums\":{}}}",
            queues.perm, queues.read_queue_nums, queues.topic_sys_flag, queues.write_queue_nums
        );
    });
    json.text.push_str("]}");
    json.text
}

struct Json {
    text: String,
    form: RouteForm,
}

impl Json {
    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Json, T)) {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            write(self, item);
        }
    }

    fn string(&mut self, value: &str) {
        self.text.push('"');
        for char in value.chars() {
            match char {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\u{8}' => self.text.push_str("\\b"),
                '\t' => self.text.push_str("\\t"),
                '\n' => self.text.push_str("\\n"),
                '\u{c}' => self.text.push_str("\\f"),
                '\r' => self.text.push_str("\\r"),
                '/' if self.form == RouteForm::Standard => self.text.push_str("\\/"),
                ' '..='~' => self.text.push(char),
                _ if char.is_control() || char == '\u{2028}' || self.form == RouteForm::Standard => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.text, "\\u{unit:04X}");
                    }
                }
                _ => self.text.push(char),
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use raftmq_model::route::{BrokerData, QueueData};

    use super::*;

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
            render(&route(), RouteForm::of(317, false)),
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
        let text = render(&route, RouteForm::of(401, false));
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
        assert_eq!(render(&route, RouteForm::of(0, true)), text, "who asks for it gets it, too");
        assert!(render(&route, RouteForm::Fastjson).contains("b/é\u{1F600}\\u007F"), "raw for old clients");
    }
}
