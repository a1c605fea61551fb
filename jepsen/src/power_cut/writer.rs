//! The child that writes: appends, flushes, and tells what it acknowledges.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use raftmq_model::message::Message;
use raftmq_model::message_codec;
use raftmq_store::{
    AppendEntry, ClassicStore, EncodedMessages, FlushMode, FrameId, LogRecord, ProposalRecord, RaftStore, StoreConfig,
    records,
};
use raftmq_sys::Seams;

use super::record::Record;
use super::{Mode, Result};

const MAX_BODY_BYTES: usize = 16 << 10;
const QUEUES: u64 = 4;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    mode: Mode,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    appends_per_flush: u64,
    #[arg(long)]
    never_flush: bool,
}

/// A store of small segments, so that a run of a second rolls some.
pub(crate) fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: 2 << 20,
        queue_file_bytes: 20 * 1000,
        max_message_bytes: MAX_BODY_BYTES,
        flush: FlushMode::Sync,
        ..StoreConfig::new(root)
    }
}

/// SplitMix64's output function: a number that looks random and follows from the seed.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Writes until it is killed or the disk is gone.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.mode {
        Mode::Classic => write_classic(arguments),
        Mode::Raft => write_raft(arguments),
    }
}

/// The messages of append number `round`.
fn messages(seed: u64, round: u64) -> Result<Vec<EncodedMessages>> {
    let draw = mix(seed ^ round.rotate_left(20));
    (0..1 + draw % 4)
        .map(|part| {
            let draw = mix(draw ^ part);
            let queue_id = (draw % QUEUES) as i32;
            // Mostly small, some near the limit.
            let limit = if draw.is_multiple_of(16) { MAX_BODY_BYTES } else { 1500 };
            let body: Vec<u8> = (0..mix(draw) % limit as u64).map(|at| mix(draw ^ (at / 8)) as u8).collect();
            let mut bytes = Vec::new();
            let message = Message {
                topic: "PowerCut",
                queue_id,
                flag: 0,
                sys_flag: 0,
                born_timestamp: round as i64,
                born_host: ([127, 0, 0, 1], 1).into(),
                store_host: ([127, 0, 0, 1], 10911).into(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &body,
                properties: b"TAGS\x01cut",
            };
            message_codec::encode(&message, MAX_BODY_BYTES, &mut bytes)?;
            Ok(EncodedMessages { topic: message.topic.into(), queue_id, count: 1, bytes })
        })
        .collect()
}

fn write_classic(arguments: &Arguments) -> Result<()> {
    let mut store = ClassicStore::open(config(&arguments.store), Seams::real())?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut waiting: Vec<EncodedMessages> = Vec::new();
    for round in 0.. {
        let mut batch = messages(arguments.seed, round)?;
        store.writer.append(&mut batch, &mut Vec::new())?;
        waiting.append(&mut batch);
        if round % arguments.appends_per_flush != 0 {
            continue;
        }
        if !arguments.never_flush {
            store.writer.flush()?;
        }
        for messages in waiting.drain(..) {
            let (_, LogRecord::Message(message)) = records(&messages.bytes).next().ok_or("no record")?? else {
                return Err("a record that is no message".into());
            };
            store.queues.dispatch(&message)?;
            writeln!(output, "{}", Record::of(message.physical_offset.0, &messages.bytes))?;
        }
        store.queues.set_dispatched(store.writer.end(), None);
        output.flush()?;
    }
    Ok(())
}

fn write_raft(arguments: &Arguments) -> Result<()> {
    let mut store = RaftStore::open(config(&arguments.store), Seams::real())?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut acknowledged = 0;
    for index in 0.. {
        let id = FrameId { term: 1, leader: 0, index };
        let mut proposal: Vec<_> = messages(arguments.seed, index)?.into_iter().map(ProposalRecord::Messages).collect();
        store.writer.append(AppendEntry::Proposal(id, &mut proposal), &mut Vec::new())?;
        let end = store.writer.write()?;
        if index % arguments.appends_per_flush != 0 {
            continue;
        }
        if !arguments.never_flush {
            let (done, flushed) = mpsc::channel();
            store.flusher.flush_to(end, Box::new(move |result| drop(done.send(result))));
            flushed.recv()??;
        }
        while acknowledged <= index {
            for frame in store.entries.read(acknowledged, index + 1, 1 << 20)? {
                writeln!(output, "{}", Record::of(frame.header.id.index, &frame.bytes))?;
                acknowledged += 1;
            }
        }
        output.flush()?;
    }
    Ok(())
}
