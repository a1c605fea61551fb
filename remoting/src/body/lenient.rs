//! From a parsed value to a type, with the conversions that fastjson makes: numbers in strings and strings for numbers,
//! enums by ordinal, object keys in strings, `null` as "not there".

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

use super::lenient_json;

pub(super) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Lenient(value))
}

struct Lenient(Value);

impl IntoDeserializer<'_, Error> for Lenient {
    type Deserializer = Lenient;

    fn into_deserializer(self) -> Lenient {
        self
    }
}

impl Lenient {
    /// A whole number, whatever it is written as.
    fn integer(self) -> Result<i64, Error> {
        match &self.0 {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|double| double as i64)),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(truth) => Some(i64::from(*truth)),
            _ => None,
        }
        .ok_or_else(|| Error::custom(format_args!("{} is not a whole number", shortened(&self.0))))
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}

macro_rules! integers {
    ($($method:ident $visit:ident $kind:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.integer()?;
            let number = <$kind>::try_from(number).map_err(|_| Error::custom(format_args!("{number} is out of range")))?;
            visitor.$visit(number)
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0 {
            Value::String(text) => match text.trim().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(Error::custom(format_args!("{} is not a number", shortened(&self.0)))),
            },
            _ => self.0.deserialize_f64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0 {
            Value::String(text) => visitor.visit_bool(text.eq_ignore_ascii_case("true") || text == "1"),
            Value::Number(number) => visitor.visit_bool(number.as_i64() == Some(1)),
            _ => self.0.deserialize_bool(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            other => visitor.visit_string(other.to_string()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(values) => visitor
                .visit_seq(SeqDeserializer::new(values.into_iter().filter(|value| !value.is_null()).map(Lenient))),
            other => Err(Error::custom(format_args!("{} is not a list", shortened(&other)))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(entries) => {
                let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
                visitor.visit_map(MapDeserializer::new(
                    entries.map(|(key, value)| (Lenient(Value::String(key)), Lenient(value))),
                ))
            }
            // An object that is used as a key, or was put into a string by its sender.
            Value::String(text) => match lenient_json::parse(text.as_bytes()) {
                Ok(value @ Value::Object(_)) => Lenient(value).deserialize_map(visitor),
                _ => Err(Error::custom(format_args!("{} is not an object", shortened(&Value::String(text))))),
            },
            other => Err(Error::custom(format_args!("{} is not an object", shortened(&other)))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.0 {
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
                let ordinal = self.integer()?;
                Lenient(ordinal.into()).deserialize_enum(name, variants, visitor)
            }
            Value::Number(number) => match number.as_u64().and_then(|ordinal| variants.get(ordinal as usize)) {
                Some(variant) => visitor.visit_enum((*variant).into_deserializer()),
                // Not a name that any enum has: enums with a variant for what is unknown take that one.
                None => visitor.visit_enum("".into_deserializer()),
            },
            _ => self.0.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use raftmq_model::queue::MessageQueue;
    use raftmq_model::topic::{TopicConfig, TopicFilterType};
    use serde::Deserialize;

    use super::super::parse;

    #[test]
    fn numbers_strings_and_booleans_convert() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Sample {
            number: i64,
            text: String,
            flag: bool,
            tps: f64,
            none: Option<i32>,
        }
        let sample: Sample =
            parse(br#"{"number":"17","text":5,"flag":"TRUE","tps":"0.5","none":null,"x":{}}"#).unwrap();
        assert_eq!(sample, Sample { number: 17, text: "5".to_owned(), flag: true, tps: 0.5, none: None });
        assert!(parse::<Sample>(br#"{"number":"x"}"#).is_err());
    }

    #[test]
    fn object_keys_become_structs() {
        let text = br#"{{"brokerName":"b","queueId":1,"topic":"T"}:5,"{\"brokerName\":\"b\",\"queueId\":2,\"topic\":\"T\"}":6}"#;
        let table: BTreeMap<MessageQueue, i64> = parse(text).unwrap();
        let queues: Vec<_> = table.iter().map(|(queue, offset)| (queue.queue_id, *offset)).collect();
        assert_eq!(queues, [(1, 5), (2, 6)]);
    }

    #[test]
    fn integer_keys_with_and_without_quotes() {
        let table: BTreeMap<i32, i64> = parse(br#"{0:5,"1":6}"#).unwrap();
        assert_eq!(table, [(0, 5), (1, 6)].into());
    }

    #[test]
    fn enums_by_name_and_ordinal() {
        let config: TopicConfig = parse(br#"{"topicName":"T","topicFilterType":1,"attributes":{}}"#).unwrap();
        assert_eq!(config.topic_filter_type, TopicFilterType::MultiTag);
        let config: TopicConfig = parse(br#"{"topicName":"T","topicFilterType":"SINGLE_TAG","perm":null}"#).unwrap();
        assert_eq!((config.topic_filter_type, config.perm), (TopicFilterType::SingleTag, 6));
    }
}
