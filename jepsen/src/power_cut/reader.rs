//! The child that recovers a store and tells everything it finds.

use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use raftmq_model::message_codec::{self, BLANK_MAGIC, StoredMessage};
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_store::{ClassicStore, ConsumeQueues, LogRecord, RaftStore, records};
use raftmq_sys::Seams;

use super::record::Record;
use super::story::DONE;
use super::writer::config;
use super::{Mode, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    mode: Mode,
    /// Keep the store open until killed.
    #[arg(long)]
    stay: bool,
}

/// Opens, tells, and closes or stays.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    match arguments.mode {
        Mode::Classic => {
            let store = ClassicStore::open(config(&arguments.store), Seams::real())?;
            tell_classic(&store, &mut output)?;
            tell_done(output, arguments.stay)?;
            store.writer.close()?;
        }
        Mode::Raft => {
            let store = RaftStore::open(config(&arguments.store), Seams::real())?;
            tell_raft(&store, &mut output)?;
            tell_done(output, arguments.stay)?;
            store.writer.close()?;
        }
    }
    Ok(())
}

fn tell_done(mut output: impl Write, stay: bool) -> Result<()> {
    writeln!(output, "{DONE}")?;
    output.flush()?;
    if stay {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Queue offsets must be dense within the log, in log order.
#[derive(Default)]
struct Dense {
    next: BTreeMap<(String, i32), u64>,
}

impl Dense {
    fn see(&mut self, message: &StoredMessage<'_>) -> Result<()> {
        let next = self.next.entry((message.topic.to_owned(), message.queue_id)).or_default();
        if message.queue_offset != QueueOffset(*next) {
            let at = message.physical_offset;
            return Err(format!("message at {at} has queue offset {}, expected {next}", message.queue_offset).into());
        }
        *next += 1;
        Ok(())
    }

    fn compare(&self, queues: &ConsumeQueues) -> Result<()> {
        for ((topic, queue_id), count) in &self.next {
            let found = queues.queue(topic, *queue_id).map_or(QueueOffset(0), |queue| queue.max_offset());
            if found != QueueOffset(*count) {
                return Err(format!("queue {topic}-{queue_id} ends at {found}, the log has {count} messages").into());
            }
        }
        Ok(())
    }
}

fn tell_classic(store: &ClassicStore, output: &mut impl Write) -> Result<()> {
    let mut dense = Dense::default();
    let (mut at, end) = (store.log.min_offset(), store.log.end());
    while at < end {
        let head = store.log.slice(at, 8)?;
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if u32::from_be_bytes([head[4], head[5], head[6], head[7]]) != BLANK_MAGIC {
            let bytes = store.log.slice(at, size)?;
            dense.see(&message_codec::decode(&bytes)?)?;
            writeln!(output, "{}", Record::of(at.0, &bytes))?;
        }
        at = PhysicalOffset(at.0 + u64::from(size.max(8)));
    }
    dense.compare(&store.queues)
}

fn tell_raft(store: &RaftStore, output: &mut impl Write) -> Result<()> {
    let mut dense = Dense::default();
    let end = store.entries.last().map_or(0, |last| last.index + 1);
    let mut next = 0;
    while next < end {
        for frame in store.entries.read(next, end, 1 << 20)? {
            for record in records(&frame.body()) {
                if let (_, LogRecord::Message(message)) = record? {
                    dense.see(&message)?;
                }
            }
            writeln!(output, "{}", Record::of(frame.header.id.index, &frame.bytes))?;
            next += 1;
        }
    }
    Ok(())
}
