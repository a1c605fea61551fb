//! Sends: 10 with long names (RocketMQ `SendMessageRequestHeader`), 310 and 320 with letters
//! (`SendMessageRequestHeaderV2`).

use std::borrow::Cow;

use super::field::{FieldError, decode, encode, header};
use crate::command::RemotingCommand;
use crate::fields::ExtFields;
use crate::request_code;

/// A send. The lifetime is that of the request, whose header bytes the texts point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessageRequestHeader<'a> {
    pub producer_group: Cow<'a, str>,
    pub topic: Cow<'a, str>,
    /// Template to create the topic from, normally `TBW102`.
    pub default_topic: Cow<'a, str>,
    pub default_topic_queue_nums: i32,
    /// Below 0 the broker chooses.
    pub queue_id: i32,
    pub sys_flag: i32,
    /// Milliseconds since the Unix epoch.
    pub born_timestamp: i64,
    pub flag: i32,
    /// Encoded message properties.
    pub properties: Option<Cow<'a, str>>,
    pub reconsume_times: Option<i32>,
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch. This flag says so, not the request code.
    pub batch: bool,
    pub broker_name: Option<Cow<'a, str>>,
}

impl<'a> SendMessageRequestHeader<'a> {
    /// Reads the header in the form that the request's code has.
    pub fn decode(request: &'a RemotingCommand) -> Result<Self, FieldError> {
        match request.code {
            request_code::SEND_MESSAGE => SendMessageRequestHeader::decode_long(&request.fields),
            _ => SendMessageRequestHeader::decode_short(&request.fields),
        }
    }

    /// Reads the fields of request 10.
    fn decode_long(fields: &'a ExtFields) -> Result<Self, FieldError> {
        decode!(fields => SendMessageRequestHeader {
            producer_group: Cow<'a, str> = b"producerGroup",
            topic: Cow<'a, str> = b"topic",
            default_topic: Cow<'a, str> = b"defaultTopic",
            default_topic_queue_nums: i32 = b"defaultTopicQueueNums",
            queue_id: i32 = b"queueId",
            sys_flag: i32 = b"sysFlag",
            born_timestamp: i64 = b"bornTimestamp",
            flag: i32 = b"flag",
            properties: Option<Cow<'a, str>> = b"properties",
            reconsume_times: Option<i32> = b"reconsumeTimes",
            unit_mode: bool = b"unitMode",
            max_reconsume_times: Option<i32> = b"maxReconsumeTimes",
            batch: bool = b"batch",
            broker_name: Option<Cow<'a, str>> = b"bname",
        })
    }

    /// Reads the fields of requests 310 and 320.
    fn decode_short(fields: &'a ExtFields) -> Result<Self, FieldError> {
        decode!(fields => SendMessageRequestHeader {
            producer_group: Cow<'a, str> = b"a",
            topic: Cow<'a, str> = b"b",
            default_topic: Cow<'a, str> = b"c",
            default_topic_queue_nums: i32 = b"d",
            queue_id: i32 = b"e",
            sys_flag: i32 = b"f",
            born_timestamp: i64 = b"g",
            flag: i32 = b"h",
            properties: Option<Cow<'a, str>> = b"i",
            reconsume_times: Option<i32> = b"j",
            unit_mode: bool = b"k",
            max_reconsume_times: Option<i32> = b"l",
            batch: bool = b"m",
            broker_name: Option<Cow<'a, str>> = b"n",
        })
    }

    /// The fields of request 10.
    pub fn to_long_fields(&self) -> ExtFields {
        encode!(self => {
            producer_group = b"producerGroup",
            topic = b"topic",
            default_topic = b"defaultTopic",
            default_topic_queue_nums = b"defaultTopicQueueNums",
            queue_id = b"queueId",
            sys_flag = b"sysFlag",
            born_timestamp = b"bornTimestamp",
            flag = b"flag",
            properties = b"properties",
            reconsume_times = b"reconsumeTimes",
            unit_mode = b"unitMode",
            max_reconsume_times = b"maxReconsumeTimes",
            batch = b"batch",
            broker_name = b"bname",
        })
    }

    /// The fields of requests 310 and 320.
    pub fn to_short_fields(&self) -> ExtFields {
        encode!(self => {
            producer_group = b"a",
            topic = b"b",
            default_topic = b"c",
            default_topic_queue_nums = b"d",
            queue_id = b"e",
            sys_flag = b"f",
            born_timestamp = b"g",
            flag = b"h",
            properties = b"i",
            reconsume_times = b"j",
            unit_mode = b"k",
            max_reconsume_times = b"l",
            batch = b"m",
            broker_name = b"n",
        })
    }
}

header! {
    /// Answer to a send that was stored.
    SendMessageResponseHeader<'a> {
        /// The offset message id; of a batch all, with commas between.
        msg_id: Cow<'a, str> = b"msgId",
        queue_id: i32 = b"queueId",
        /// Of a batch that of the first message.
        queue_offset: i64 = b"queueOffset",
        transaction_id: Option<Cow<'a, str>> = b"transactionId",
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{Codec, FrameDecoder};

    fn sample() -> SendMessageRequestHeader<'static> {
        SendMessageRequestHeader {
            producer_group: "pg".into(),
            topic: "T".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: -1,
            sys_flag: 1,
            born_timestamp: 1_700_000_000_000,
            flag: 7,
            properties: Some("KEYS\u{1}k\u{2}".into()),
            reconsume_times: Some(0),
            unit_mode: true,
            max_reconsume_times: None,
            batch: true,
            broker_name: Some("broker-a".into()),
        }
    }

    #[test]
    fn both_forms_survive_both_codecs() {
        for codec in [Codec::Json, Codec::RocketMq] {
            let forms = [
                (request_code::SEND_MESSAGE, sample().to_long_fields()),
                (request_code::SEND_MESSAGE_V2, sample().to_short_fields()),
                (request_code::SEND_BATCH_MESSAGE, sample().to_short_fields()),
            ];
            for (code, fields) in forms {
                let sent = RemotingCommand::request(code).with_codec(codec).with_fields(fields);
                let mut input = BytesMut::from(sent.to_bytes());
                let received = FrameDecoder::default().decode(&mut input).unwrap().unwrap();
                assert_eq!(SendMessageRequestHeader::decode(&received).unwrap(), sample());
            }
        }
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let sent = RemotingCommand::request(310).with_fields(sample().to_short_fields());
        let received = FrameDecoder::default().decode(&mut BytesMut::from(sent.to_bytes())).unwrap().unwrap();
        let header = SendMessageRequestHeader::decode(&received).unwrap();
        assert!(matches!(header.topic, Cow::Borrowed(_)));
        assert!(matches!(header.properties, Some(Cow::Owned(_))), "JSON escapes the separators");
    }

    #[test]
    fn missing_fields_are_named_as_the_client_names_them() {
        let request = RemotingCommand::request(310).with_field("a", "pg");
        let error = SendMessageRequestHeader::decode(&request).unwrap_err();
        assert_eq!(error.to_string(), "the custom field <b> is null");
        let request = RemotingCommand::request(10).with_field("producerGroup", "pg");
        let error = SendMessageRequestHeader::decode(&request).unwrap_err();
        assert_eq!(error.to_string(), "the custom field <topic> is null");
    }
}
