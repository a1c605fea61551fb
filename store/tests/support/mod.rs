//! What crash and damage suites share: small stores on a simulated disk, messages whose bodies say what they are,
//! and a reading of the whole log that trusts nothing.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use raftmq_model::message::Message;
use raftmq_model::message_codec::{self, BLANK_MAGIC};
use raftmq_model::offset::PhysicalOffset;
use raftmq_sim::SimMachine;
use raftmq_store::{CommitLog, EncodedMessages, FlushMode, StoreConfig};

pub(crate) const ROOT: &str = "/store";

/// A store in SYNC_FLUSH with segments as small as the largest body allows.
pub(crate) fn config(max_message_bytes: usize) -> StoreConfig {
    StoreConfig {
        segment_bytes: (max_message_bytes as u64 + 65_536 + 72).next_multiple_of(512),
        queue_file_bytes: 20 * 4,
        max_message_bytes,
        flush: FlushMode::Sync,
        zero_ahead_bytes: 8192,
        ..StoreConfig::new(ROOT)
    }
}

/// A machine whose disk has the store's root folder, as the first incarnation finds it.
pub(crate) fn machine(seed: u64) -> SimMachine {
    let machine = SimMachine::new(seed);
    machine.make_directory(Path::new(ROOT)).expect("an empty disk takes a directory");
    machine.restart()
}

/// Body of message `id`: the id, then bytes that follow from it.
pub(crate) fn body_of(id: u64, length: usize) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    let mut state = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while body.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        body.push((state >> 56) as u8);
    }
    body.truncate(length.max(8));
    body
}

/// A client batch of messages with these ids, all with bodies of one length.
pub(crate) fn batch(topic: &str, queue_id: i32, ids: &[u64], body_bytes: usize) -> EncodedMessages {
    let mut bytes = Vec::new();
    for id in ids {
        let message = Message {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: ([10, 0, 0, 9], 5000).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body_of(*id, body_bytes),
            properties: b"KEYS\x01k1\x02TAGS\x01TagA",
        };
        message_codec::encode(&message, usize::MAX, &mut bytes).expect("a small message encodes");
    }
    EncodedMessages { topic: topic.into(), queue_id, count: ids.len() as u32, bytes }
}

/// All message records of a classic log, by position; an error names the first byte that is none.
pub(crate) fn read_classic(log: &CommitLog) -> Result<BTreeMap<u64, Bytes>, String> {
    let mut records = BTreeMap::new();
    let (mut at, end) = (log.min_offset().0, log.end().0);
    while at < end {
        let head = slice(log, at, 8)?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let magic = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if magic != BLANK_MAGIC {
            records.insert(at, slice(log, at, size)?);
        }
        at += u64::from(size.max(8));
    }
    Ok(records)
}

fn slice(log: &CommitLog, at: u64, length: u32) -> Result<Bytes, String> {
    log.slice(PhysicalOffset(at), length).map_err(|error| format!("slice {at}+{length}: {error}"))
}
