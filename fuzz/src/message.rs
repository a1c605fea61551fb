//! Message records, command records and frames of any content do not panic, and what decodes is whole: its fields
//! take exactly its bytes, and patching it changes nothing else.

use raftmq_model::message::Message;
use raftmq_model::message_codec;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_model::{command_record, properties};
use raftmq_store::{FrameHeader, LogRecord, records};

pub fn run(input: &[u8]) {
    let mut end = 0;
    for record in records(input) {
        let Ok((at, record)) = record else { break };
        assert_eq!(at as usize, end, "records follow each other");
        end += match record {
            LogRecord::Message(message) => {
                let size = message.size_bytes as usize;
                check_message(&input[end..end + size]);
                size
            }
            LogRecord::Command(command) => {
                let mut again = Vec::new();
                command.encode(&mut again);
                assert_eq!(again, input[end..end + again.len()]);
                again.len()
            }
        };
        assert!(end <= input.len());
    }
    let _ = message_codec::decode(input);
    let _ = command_record::decode(input);
    if let Some(mut header) = FrameHeader::decode(input) {
        let found = header;
        assert_eq!(header.encode(), input[..64]);
        assert_eq!(header, found);
    }
}

fn check_message(record: &[u8]) {
    let Ok(message) = message_codec::decode(record) else { panic!("records() has decoded it") };
    let _ = (message.tags_code(), message.born_host(), message.store_host(), message.crc_matches());
    assert_eq!(properties::iter(message.properties).filter(|(name, _)| name.is_empty()).count(), 0);
    let mut patched = record.to_vec();
    message_codec::patch(&mut patched, QueueOffset(1), PhysicalOffset(2), 3);
    let Ok(again) = message_codec::decode(&patched) else { panic!("a patched record decodes") };
    assert_eq!(
        (again.queue_offset, again.physical_offset, again.store_timestamp),
        (QueueOffset(1), PhysicalOffset(2), 3)
    );
    assert_eq!((again.body, again.topic, again.properties), (message.body, message.topic, message.properties));
}

/// Two messages and a command.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    for store_host in [([127, 0, 0, 1], 10911).into(), ([0, 0, 0, 0, 0, 0, 0, 1], 10911).into()] {
        encode("TopicTest", 3, store_host, &mut bytes);
    }
    command_record::CommandRecord { kind: 1, version: 1, body: b"command" }.encode(&mut bytes);
    let mut frame = super::recovery::raft_segment();
    frame.truncate(64);
    vec![bytes, frame]
}

pub(crate) fn encode(topic: &str, queue_id: i32, store_host: std::net::SocketAddr, out: &mut Vec<u8>) {
    let message = Message {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: ([10, 0, 0, 9], 5000).into(),
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        properties: b"TAGS\x01TagA\x02KEYS\x01k",
    };
    message_codec::encode(&message, 1024, out).expect("a small message encodes");
}
