use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use raftmq_model::message::Message;
use raftmq_model::message_codec;
use raftmq_model::offset::PhysicalOffset;
use raftmq_store::{
    Appended, ClassicStore, ConsumeQueue, ConsumeQueues, EncodedMessages, FlushMode, LogRecord, RaftStore, StoreConfig,
    Unit, records,
};
use raftmq_sys::Seams;

pub(crate) const SEGMENT_BYTES: u64 = 4096;

/// Small files, so that they roll.
pub(crate) fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT_BYTES,
        queue_file_bytes: 400,
        max_message_bytes: 1024,
        record_extra_bytes: 256,
        flush: FlushMode::Sync,
        zero_ahead_bytes: 0,
        ..StoreConfig::new(root)
    }
}

pub(crate) fn classic(root: &Path) -> ClassicStore {
    ClassicStore::open(config(root), Seams::real()).unwrap()
}

pub(crate) fn raft(root: &Path) -> RaftStore {
    RaftStore::open(config(root), Seams::real()).unwrap()
}

pub(crate) fn message(topic: &str, queue_id: i32, sys_flag: i32, body: &[u8], out: &mut Vec<u8>) {
    let message = Message {
        topic,
        queue_id,
        flag: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: "10.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"TAGS\x01TagA",
    };
    message_codec::encode(&message, 1 << 20, out).unwrap();
}

pub(crate) fn batch(topic: &str, queue_id: i32, bodies: &[&[u8]]) -> EncodedMessages {
    let mut bytes = Vec::new();
    bodies.iter().for_each(|body| message(topic, queue_id, 0, body, &mut bytes));
    EncodedMessages { topic: Arc::from(topic), queue_id, count: bodies.len() as u32, bytes }
}

/// Appends, and dispatches as a broker does.
pub(crate) fn append(store: &mut ClassicStore, mut batch: Vec<EncodedMessages>) -> Vec<Appended> {
    let mut appended = Vec::new();
    store.writer.append(&mut batch, &mut appended).unwrap();
    for messages in &batch {
        dispatch(&store.queues, &messages.bytes);
    }
    store.queues.set_dispatched(store.writer.end(), None);
    appended
}

pub(crate) fn dispatch(queues: &ConsumeQueues, bytes: &[u8]) {
    for record in records(bytes) {
        if let (_, LogRecord::Message(message)) = record.unwrap() {
            queues.dispatch(&message).unwrap();
        }
    }
}

pub(crate) fn units(queue: &ConsumeQueue) -> Vec<Unit> {
    let mut units = Vec::new();
    queue.read(queue.min_offset(), usize::MAX, &mut units).unwrap();
    units
}

pub(crate) fn body_at(log: &raftmq_store::CommitLog, at: PhysicalOffset) -> Vec<u8> {
    let record = raftmq_store::read_message(log, at).unwrap();
    message_codec::decode(&record).unwrap().body.to_vec()
}

/// Waits until everything handed to the flusher is durable.
pub(crate) fn barrier(store: &RaftStore) {
    let (sender, receiver) = mpsc::channel();
    store.flusher.barrier(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

/// All files under a folder with their content.
pub(crate) fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let disk = raftmq_sys::RealDisk::new();
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in raftmq_sys::Disk::list(&disk, &folder).unwrap() {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                folders.push(path);
            } else {
                found.push((path.to_string_lossy().into_owned(), raftmq_sys::Disk::read(&disk, &path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
