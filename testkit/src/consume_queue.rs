//! The consume queues of a stopped member, held against its commitlog.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::commit_log::{CommitLogFiles, LogError};
use crate::record::{u32_at, u64_at};

const UNIT_BYTES: usize = 20;

/// A queue that does not say what the commitlog says.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("read {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("queue {queue} of {topic}: {problem}")]
    Wrong { topic: String, queue: u32, problem: String },
}

/// `(topic, queue id)` to the number of messages in it.
pub type Queues = BTreeMap<(String, u32), u64>;

/// Checks that the queue offsets in the commitlog are dense (0, 1, 2, … in each queue, in log order) and that the
/// consume-queue files hold exactly those messages. The store must not be running: the newest units are in memory.
pub fn check(store: &Path) -> Result<Queues, QueueError> {
    let log = CommitLogFiles::open(store)?;
    let mut expected: BTreeMap<(String, u32), Vec<u64>> = BTreeMap::new();
    let mut gap = None;
    log.messages(&mut |at, message| {
        let positions = expected.entry((message.topic.clone(), message.queue_id)).or_default();
        if message.queue_offset != positions.len() as u64 && gap.is_none() {
            let problem = format!("queue offset {} follows on {} messages", message.queue_offset, positions.len());
            gap = Some(QueueError::Wrong { topic: message.topic, queue: message.queue_id, problem });
        }
        positions.push(at);
    })?;
    if let Some(gap) = gap {
        return Err(gap);
    }
    for ((topic, queue), positions) in &expected {
        check_files(store, topic, *queue, positions)?;
    }
    Ok(expected.into_iter().map(|(queue, positions)| (queue, positions.len() as u64)).collect())
}

fn check_files(store: &Path, topic: &str, queue: u32, expected: &[u64]) -> Result<(), QueueError> {
    let wrong = |problem| QueueError::Wrong { topic: topic.to_owned(), queue, problem };
    let directory = store.join("consumequeue").join(topic).join(queue.to_string());
    let positions = units(&directory)?;
    if let Some(index) = positions.iter().zip(expected).position(|(unit, message)| unit != message) {
        return Err(wrong(format!(
            "unit {index} names offset {}, the message is at {}",
            positions[index], expected[index]
        )));
    }
    if positions.len() != expected.len() {
        return Err(wrong(format!("{} units for {} messages", positions.len(), expected.len())));
    }
    Ok(())
}

/// Physical offsets of the units under one queue's directory, up to the first that was never written.
fn units(directory: &Path) -> Result<Vec<u64>, QueueError> {
    let io = |source| QueueError::Io { path: directory.to_owned(), source };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        if let Some(base) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) {
            files.insert(base, entry.path());
        }
    }
    let mut positions = Vec::new();
    for path in files.values() {
        let bytes = std::fs::read(path).map_err(io)?;
        for unit in bytes.chunks_exact(UNIT_BYTES) {
            match (u64_at(unit, 0), u32_at(unit, 8)) {
                (Some(position), Some(size)) if size > 0 => positions.push(position),
                _ => return Ok(positions),
            }
        }
    }
    Ok(positions)
}
