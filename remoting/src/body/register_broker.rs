use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use raftmq_model::route::DataVersion;
use raftmq_model::topic::{TopicConfig, TopicFilterType};
use serde::{Deserialize, Serialize};

use super::{BodyError, TopicConfigSerializeWrapper, fastjson, parse};

/// Most that a compressed registration may inflate to: some 500 000 topics.
pub const MAX_INFLATED_BYTES: usize = 64 << 20;

/// Request 103: what a broker tells a name server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    pub filter_server_list: Vec<String>,
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

/// CRC-32 as the field `bodyCrc32` has it: 31 bits.
pub fn body_crc32(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

impl RegisterBrokerBody {
    /// The body as Java writes it.
    ///
    /// Compressed, it is zlib over: DataVersion as JSON after its length, number of topics, per topic
    /// `name readQueues writeQueues perm filterType` after its length, filter servers as JSON after their length; all
    /// lengths i32. `order` and `topicSysFlag` are not in it.
    pub fn encode(&self, compressed: bool) -> Vec<u8> {
        if !compressed {
            return fastjson::to_vec(self);
        }
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        let block = |plain: &mut Vec<u8>, bytes: &[u8]| {
            plain.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
            plain.extend_from_slice(bytes);
        };
        block(&mut plain, &fastjson::to_vec(&wrapper.data_version));
        plain.extend_from_slice(&(wrapper.topic_config_table.len() as i32).to_be_bytes());
        for topic in wrapper.topic_config_table.values() {
            let (reads, writes) = (topic.read_queue_nums, topic.write_queue_nums);
            let filter = topic.topic_filter_type.name();
            block(&mut plain, format!("{} {reads} {writes} {} {filter}", topic.topic_name, topic.perm).as_bytes());
        }
        block(&mut plain, &fastjson::to_vec(&self.filter_server_list));
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing into memory does not fail.
        let _ = encoder.write_all(&plain);
        encoder.finish().unwrap_or_default()
    }

    /// Reads a body in either form. What follows the filter servers (5.x mappings) is ignored.
    pub fn decode(body: &[u8], compressed: bool) -> Result<RegisterBrokerBody, BodyError> {
        if !compressed {
            return parse(body);
        }
        let plain = inflate(body)?;
        let mut reader = Blocks { bytes: &plain, at: 0 };
        let data_version: DataVersion = parse(reader.block("data version")?)?;
        let count = reader.integer("number of topics")?;
        let mut wrapper = TopicConfigSerializeWrapper { data_version, ..TopicConfigSerializeWrapper::default() };
        for _ in 0..count {
            let at = reader.at;
            let topic = topic(reader.block("topic")?).ok_or(BodyError::Layout { what: "not a topic", at })?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_server_list = parse(reader.block("filter servers")?)?;
        Ok(RegisterBrokerBody { filter_server_list, topic_config_serialize_wrapper: wrapper })
    }
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut plain = Vec::new();
    ZlibDecoder::new(body).take(MAX_INFLATED_BYTES as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > MAX_INFLATED_BYTES {
        return Err(BodyError::TooLarge { limit_bytes: MAX_INFLATED_BYTES });
    }
    Ok(plain)
}

/// `name readQueues writeQueues perm filterType`.
fn topic(text: &[u8]) -> Option<TopicConfig> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let name = words.next().filter(|name| !name.is_empty())?;
    let read_queue_nums = words.next()?.parse().ok()?;
    let write_queue_nums = words.next()?.parse().ok()?;
    let perm = words.next()?.parse().ok()?;
    let topic_filter_type = TopicFilterType::parse(words.next()?)?;
    Some(TopicConfig { read_queue_nums, write_queue_nums, topic_filter_type, ..TopicConfig::new(name, 0, perm) })
}

struct Blocks<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Blocks<'a> {
    fn integer(&mut self, what: &'static str) -> Result<usize, BodyError> {
        let error = BodyError::Layout { what, at: self.at };
        let word = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
        let Some(word) = word else { return Err(error) };
        self.at += 4;
        usize::try_from(i32::from_be_bytes(*word)).map_err(|_| error)
    }

    fn block(&mut self, what: &'static str) -> Result<&'a [u8], BodyError> {
        let at = self.at;
        let length = self.integer(what)?;
        let block = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        self.at += length;
        block.ok_or(BodyError::Layout { what, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RegisterBrokerBody {
        RegisterBrokerBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
                data_version: DataVersion { counter: 7, state_version: 0, timestamp: 1_700_000_000_000 },
                topic_config_table: [("T".to_owned(), TopicConfig::new("T", 8, 6))].into(),
            },
        }
    }

    #[test]
    fn javas_compressed_body_reads() {
        let hex = "78da63606050af564ace2fcd2b492d52b232d7512ac9cc4d2d2e49cc2d50b232343740805a060606\
                   4620160a51b000423385604f3f771fd7f8104777a02853742c00c4cd110f";
        let body: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        assert_eq!(body_crc32(&body), 1_517_187_090);
        assert_eq!(RegisterBrokerBody::decode(&body, true).unwrap(), sample());
    }

    #[test]
    fn both_forms_come_back() {
        for compressed in [false, true] {
            let body = sample().encode(compressed);
            assert_eq!(RegisterBrokerBody::decode(&body, compressed).unwrap(), sample());
        }
        assert_eq!(
            String::from_utf8(sample().encode(false)).unwrap(),
            r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"timestamp":1700000000000},"topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":8}}}}"#
        );
    }

    #[test]
    fn the_masked_checksum() {
        assert_eq!(body_crc32(b"hello"), 907_060_870);
    }

    #[test]
    fn broken_bodies_are_errors() {
        assert!(matches!(RegisterBrokerBody::decode(b"no zlib", true), Err(BodyError::Inflate(_))));
        let compressed = |plain: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        };
        for plain in [
            &b""[..],
            b"\0\0\0\x7f{}",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x02{}\x7f\xff\xff\xff",
            b"\0\0\0\x02{}\0\0\0\x01\0\0\0\x01T",
        ] {
            let decoded = RegisterBrokerBody::decode(&compressed(plain), true);
            assert!(matches!(decoded, Err(BodyError::Layout { .. })), "{plain:?}: {decoded:?}");
        }
        let bomb = compressed(&vec![0; MAX_INFLATED_BYTES + 1]);
        assert!(matches!(RegisterBrokerBody::decode(&bomb, true), Err(BodyError::TooLarge { .. })));
    }
}
