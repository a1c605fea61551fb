//! Headers, fields and bodies of any content do not panic, and what was decoded is what encoding and decoding again
//! gives.

use bytes::{Bytes, BytesMut};
use raftmq_remoting::body::{self, CheckClientRequestBody, HeartbeatData, RegisterBrokerBody, TopicStatsTable};
use raftmq_remoting::header::{PullMessageRequestHeader, SendMessageRequestHeader};
use raftmq_remoting::{Codec, Frame, FrameDecoder, RemotingCommand, ReplyBuffer, request_code};

/// The first byte chooses what the rest is.
pub fn run(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => header(Codec::Json, bytes),
        1 => header(Codec::RocketMq, bytes),
        2 => json_body(bytes),
        _ => {
            let _ = RegisterBrokerBody::decode(bytes, true);
        }
    }
}

fn header(codec: Codec, bytes: &[u8]) {
    let frame = Frame { codec, header: Bytes::copy_from_slice(bytes), body: Bytes::from_static(b"body") };
    let Ok(command) = RemotingCommand::decode(frame) else { return };
    let again = FrameDecoder::default().decode(&mut BytesMut::from(command.to_bytes()));
    assert_eq!(again, Ok(Some(command.clone())));
    typed(command.clone());
    typed(RemotingCommand { code: request_code::SEND_MESSAGE, ..command.clone() });
    typed(RemotingCommand { code: request_code::SEND_MESSAGE_V2, ..command.clone() });
    answer(&command);
}

fn typed(command: RemotingCommand) {
    if let Ok(header) = SendMessageRequestHeader::decode(&command) {
        let fields = match command.code {
            request_code::SEND_MESSAGE => header.to_long_fields(),
            _ => header.to_short_fields(),
        };
        let again = RemotingCommand { fields, ..command.clone() };
        assert_eq!(SendMessageRequestHeader::decode(&again), Ok(header));
    }
    if let Ok(header) = PullMessageRequestHeader::decode(&command.fields) {
        assert_eq!(PullMessageRequestHeader::decode(&header.to_fields()), Ok(header));
    }
}

/// The answer to any request can be read, and is for that request.
fn answer(request: &RemotingCommand) {
    let mut replies = ReplyBuffer::new();
    replies.push(request.meta(), 1, request.remark.as_deref(), &[("a", 1.into())], &request.body);
    assert_eq!(replies.len(), usize::from(!request.is_oneway()));
    let mut bytes = BytesMut::from(replies.into_segments().concat().as_slice());
    if let Some(answer) = FrameDecoder::default().decode(&mut bytes).expect("our own answer") {
        assert_eq!((answer.opaque, answer.codec, answer.is_response()), (request.opaque, request.codec, true));
    }
    assert!(bytes.is_empty());
}

fn json_body(bytes: &[u8]) {
    if let Ok(value) = body::lenient_json::parse(bytes) {
        // A strict text of the same value reads back the same, if it is not nested too deep.
        let strict = value.to_string();
        assert_eq!(body::lenient_json::parse(strict.as_bytes()).as_ref(), Ok(&value), "{strict}");
    }
    if let Ok(heartbeat) = HeartbeatData::parse(bytes) {
        assert_eq!(HeartbeatData::parse(&heartbeat.to_json()).ok(), Some(heartbeat));
    }
    if let Ok(table) = TopicStatsTable::parse(bytes) {
        assert_eq!(TopicStatsTable::parse(&table.to_json()).ok(), Some(table));
    }
    if let Ok(register) = RegisterBrokerBody::decode(bytes, false) {
        assert_eq!(RegisterBrokerBody::decode(&register.encode(false), false).ok(), Some(register));
    }
    let _ = CheckClientRequestBody::parse(bytes);
}

const SEND_V2: &str = r#"{"code":310,"extFields":{"a":"pg","b":"T","c":"TBW102","d":"4","e":"1","f":"0","g":"1700000000000","h":"0","i":"KEYS\u0001k1\u0002UNIQ_KEY\u0001ABC","j":"0","k":"false","m":"false"},"flag":0,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":401}"#;

const PULL: &str = r#"{"code":11,"extFields":{"consumerGroup":"cg","topic":"T","queueId":0,"queueOffset":5,"maxMsgNums":32,"sysFlag":2,"commitOffset":0,"suspendTimeoutMillis":15000,"subVersion":1,"none":null},"flag":2,"language":1,"opaque":-6,"remark":"r","version":275}
"#;

const HEARTBEAT: &str = r#"{"clientID":"c@1","consumerDataSet":[{"consumeFromWhere":0,"consumeType":"CONSUME_PASSIVELY","groupName":"cg","messageModel":1,"subscriptionDataSet":[{"codeSet":["2598919",2],"subString":"TagA || TagB","subVersion":"1700000000001","tagsSet":["TagA"],"topic":"T"}],"unitMode":false}],"producerDataSet":[{"groupName":"pg"}]}"#;

const STATS: &str = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":9,"maxOffset":10,'minOffset':0},}/**/}"#;

const REGISTER: &str = r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"timestamp":1700000000000},"topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":8}}}}"#;

pub fn seeds() -> Vec<Vec<u8>> {
    let with_kind = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let binary = RemotingCommand::request(310).with_codec(Codec::RocketMq).with_remark("r");
    let binary = binary.with_field("a", "pg").with_field("d", 4).with_field("k", true).to_bytes();
    let register = RegisterBrokerBody::decode(REGISTER.as_bytes(), false).unwrap_or_default().encode(true);
    vec![
        with_kind(0, SEND_V2.as_bytes()),
        with_kind(0, PULL.as_bytes()),
        with_kind(1, &binary[8..]),
        with_kind(2, HEARTBEAT.as_bytes()),
        with_kind(2, STATS.as_bytes()),
        with_kind(2, REGISTER.as_bytes()),
        with_kind(3, &register),
    ]
}
