//! Writes JSON byte for byte as Java's fastjson does: no blanks, fields in the order declared (ours are alphabetical),
//! `null` left out, keys that are not strings written as they are (`{0:1}`, `{{"queueId":0}:1}`).

use serde::Serialize;
use serde::ser::{self, Impossible, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

/// How keys that are not strings, and characters that are not ASCII, are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// What `RemotingSerializable` makes: readable by fastjson, but not always JSON.
    Fastjson,
    /// Real JSON (`QuoteFieldNames`, `BrowserCompatible`): keys quoted, `/` and non-ASCII escaped.
    Standard,
}

/// A body in fastjson's own dialect.
pub fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    write(value, Dialect::Fastjson)
}

/// A body in a dialect.
///
/// # Panics
///
/// If the type holds an enum variant with data or bytes, which no body has.
pub fn write<T: Serialize>(value: &T, dialect: Dialect) -> Vec<u8> {
    let mut writer = Writer { out: String::new(), dialect };
    match value.serialize(&mut writer) {
        Ok(()) => writer.out.into_bytes(),
        Err(Unsupported(what)) => panic!("a body cannot hold {what}"),
    }
}

struct Writer {
    out: String,
    dialect: Dialect,
}

/// A shape that no body has.
#[derive(Debug, thiserror::Error)]
#[error("a body cannot hold {0}")]
struct Unsupported(String);

impl ser::Error for Unsupported {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Unsupported(message.to_string())
    }
}

impl Writer {
    fn string(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\t' => self.out.push_str("\\t"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '/' if self.dialect == Dialect::Standard => self.out.push_str("\\/"),
                ' '..='~' => self.out.push(char),
                '\0'..='\u{1f}' | '\u{7f}' | '\u{2028}' => self.unicode(char),
                _ if self.dialect == Dialect::Standard => self.unicode(char),
                _ => self.out.push(char),
            }
        }
        self.out.push('"');
    }

    fn unicode(&mut self, char: char) {
        for unit in char.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04X}"));
        }
    }
}

/// An object or list under construction.
struct Compound<'a> {
    writer: &'a mut Writer,
    close: char,
    empty: bool,
}

impl Compound<'_> {
    fn comma(&mut self) {
        if !self.empty {
            self.writer.out.push(',');
        }
        self.empty = false;
    }

    /// A field, unless its value turns out to be `null`.
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Unsupported> {
        let (before, was_empty) = (self.writer.out.len(), self.empty);
        self.comma();
        self.writer.string(key);
        self.writer.out.push(':');
        let at = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if &self.writer.out[at..] == "null" {
            self.writer.out.truncate(before);
            self.empty = was_empty;
        }
        Ok(())
    }

    fn close(self) -> Result<(), Unsupported> {
        self.writer.out.push(self.close);
        Ok(())
    }
}

macro_rules! display {
    ($($method:ident $kind:ty;)*) => {$(
        fn $method(self, value: $kind) -> Result<(), Unsupported> {
            self.out.push_str(&value.to_string());
            Ok(())
        }
    )*};
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Impossible<(), Unsupported>;
    type SerializeTupleStruct = Impossible<(), Unsupported>;
    type SerializeTupleVariant = Impossible<(), Unsupported>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Impossible<(), Unsupported>;

    display! {
        serialize_bool bool;
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unsupported> {
        self.serialize_f64(f64::from(value))
    }

    /// Always with a fraction, as Java prints doubles.
    fn serialize_f64(self, value: f64) -> Result<(), Unsupported> {
        match value.is_finite() {
            true => self.out.push_str(&format!("{value:?}")),
            false => self.out.push_str("null"),
        }
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unsupported> {
        self.string(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Unsupported> {
        self.string(value);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unsupported> {
        Err(ser::Error::custom("bytes"))
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unsupported> {
        self.out.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unsupported> {
        self.string(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Unsupported> {
        Err(ser::Error::custom(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, Unsupported> {
        self.out.push('[');
        Ok(Compound { writer: self, close: ']', empty: true })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unsupported> {
        Err(ser::Error::custom("a tuple"))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unsupported> {
        Err(ser::Error::custom(name))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(ser::Error::custom(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, Unsupported> {
        self.out.push('{');
        Ok(Compound { writer: self, close: '}', empty: true })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Unsupported> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(ser::Error::custom(variant))
    }
}

impl SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.comma();
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    /// The key's own JSON; where it must be a string and is none, that JSON in a string.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        self.comma();
        let at = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        if self.writer.dialect == Dialect::Standard && !self.writer.out[at..].starts_with('"') {
            let text = self.writer.out.split_off(at);
            self.writer.string(&text);
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.writer.out.push(':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unsupported> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use raftmq_model::queue::MessageQueue;
    use raftmq_model::route::{BrokerData, QueueData, TopicRouteData};
    use raftmq_model::subscription::SubscriptionGroupConfig;

    use super::super::*;
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn queue() -> MessageQueue {
        MessageQueue { broker_name: "broker-a".to_owned(), queue_id: 0, topic: "T".to_owned() }
    }

    #[test]
    fn escapes_are_fastjsons() {
        let input = "a/b\"c\\d\t中\u{1}\u{7f}\u{2028}";
        assert_eq!(text(to_vec(&input)), r#""a/b\"c\\d\t中\u0001\u007F\u2028""#);
        assert_eq!(text(write(&input, Dialect::Standard)), r#""a\/b\"c\\d\t\u4E2D\u0001\u007F\u2028""#);
    }

    #[test]
    fn golden_bodies_of_java() {
        let kv = KvTable { table: [("k".to_owned(), "v".to_owned())].into() };
        assert_eq!(text(kv.to_json()), r#"{"table":{"k":"v"}}"#);
        let topics = TopicList { broker_addr: None, topic_list: ["T".to_owned()].into() };
        assert_eq!(text(topics.to_json()), r#"{"topicList":["T"]}"#);
        let topics = TopicList { broker_addr: Some("a:1".to_owned()), ..topics };
        assert_eq!(text(topics.to_json()), r#"{"brokerAddr":"a:1","topicList":["T"]}"#);
        let ids = ConsumerList { consumer_id_list: vec!["c1".to_owned(), "c2".to_owned()] };
        assert_eq!(text(ids.to_json()), r#"{"consumerIdList":["c1","c2"]}"#);
        let locked = LockBatchResponseBody { lock_ok_mq_set: vec![queue()] };
        assert_eq!(text(locked.to_json()), r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"T"}]}"#);
        assert_eq!(
            text(to_vec(&SubscriptionGroupConfig::new("cg"))),
            r#"{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"cg","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#
        );
        assert_eq!(text(to_vec(&vec![0.0, 1.5])), "[0.0,1.5]");
    }

    #[test]
    fn keys_that_are_objects_are_written_raw() {
        let offsets = TopicOffset { last_update_timestamp: 9, max_offset: 10, min_offset: 0 };
        let stats = TopicStatsTable { offset_table: [(queue(), offsets)].into() };
        let golden = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":9,"maxOffset":10,"minOffset":0}}}"#;
        assert_eq!(text(stats.to_json()), golden);
        assert_eq!(TopicStatsTable::parse(golden.as_bytes()).unwrap(), stats);
        let standard = write(&stats, Dialect::Standard);
        assert!(serde_json::from_slice::<serde_json::Value>(&standard).is_ok());
        assert_eq!(TopicStatsTable::parse(&standard).unwrap(), stats);
    }

    #[test]
    fn keys_that_are_integers_are_written_raw() {
        let offsets = [("T@cg".to_owned(), BTreeMap::from([(0, 5), (1, 6)]))].into();
        let offsets = ConsumerOffsetSerializeWrapper { offset_table: offsets };
        assert_eq!(text(offsets.to_json()), r#"{"offsetTable":{"T@cg":{0:5,1:6}}}"#);
        let broker = BrokerData {
            broker_addrs: [(0, "127.0.0.1:10911".to_owned())].into(),
            broker_name: "broker-a".to_owned(),
            cluster: "DefaultCluster".to_owned(),
        };
        let info = ClusterInfo {
            broker_addr_table: [("broker-a".to_owned(), broker)].into(),
            cluster_addr_table: [("DefaultCluster".to_owned(), ["broker-a".to_owned()].into())].into(),
        };
        assert_eq!(
            text(info.to_json()),
            r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#
        );
        assert_eq!(ClusterInfo::parse(&info.to_json()).unwrap(), info);
    }

    #[test]
    fn routes_in_both_dialects() {
        let route = TopicRouteData {
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
        };
        let golden = r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:11011"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;
        assert_eq!(text(to_vec(&route)), golden);
        let standard = golden.replace("{0:", "{\"0\":").replace(",1:", ",\"1\":");
        assert_eq!(text(write(&route, Dialect::Standard)), standard);
        assert_eq!(parse::<TopicRouteData>(golden.as_bytes()).unwrap(), route);
        assert_eq!(parse::<TopicRouteData>(standard.as_bytes()).unwrap(), route);
    }
}
