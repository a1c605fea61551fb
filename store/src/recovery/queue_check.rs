//! Holds messages of a classic log against the consume queues, read-only: RocketMQ's record sums only its body, and
//! the queues know position, size, tags and order besides.

use std::collections::HashMap;
use std::sync::Arc;

use raftmq_model::message_codec::StoredMessage;
use raftmq_model::sys_flag;
use raftmq_sys::{Disk, DiskFile};

use crate::consume_queue::{Extent, Survey, Unit};
use crate::error::OpenError;

/// Files kept open; all are closed when it is reached.
const OPEN_FILES_LIMIT: usize = 256;

pub(super) struct QueueCheck<'a> {
    disk: &'a dyn Disk,
    queues: HashMap<&'a str, HashMap<i32, Queue<'a>>>,
    /// Queues are complete for messages below.
    below: u64,
    /// Next offsets of queues that have no files yet.
    new_queues: HashMap<(String, i32), u64>,
    /// By queue and first byte.
    files: HashMap<(usize, u64), Arc<dyn DiskFile>>,
}

struct Queue<'a> {
    number: usize,
    survey: &'a Survey,
    min: u64,
    end: u64,
    next: u64,
}

impl<'a> QueueCheck<'a> {
    /// `queues` are complete for messages below `below`. Without any, only the order within each queue is checked.
    pub(super) fn new(disk: &'a dyn Disk, queues: impl Iterator<Item = (&'a Survey, &'a Extent)>, below: u64) -> Self {
        let mut table: HashMap<&str, HashMap<i32, Queue<'_>>> = HashMap::new();
        for (number, (survey, extent)) in queues.enumerate() {
            let (min, end) = extent.span;
            let queue = Queue { number, survey, min, end, next: end };
            if end > min {
                table.entry(survey.topic()).or_default().insert(survey.queue_id(), queue);
            }
        }
        QueueCheck { disk, queues: table, below, new_queues: HashMap::new(), files: HashMap::new() }
    }

    /// What contradicts a message that lies next in the log.
    pub(super) fn contradiction(&mut self, message: &StoredMessage<'_>) -> Result<Option<String>, OpenError> {
        if !sys_flag::takes_queue_offset(message.sys_flag) {
            return Ok(None);
        }
        let name = || format!("consume queue {}-{}", message.topic, message.queue_id);
        let offset = message.queue_offset.0;
        if message.physical_offset.0 < self.below {
            let (found, expected) = (self.unit(message)?, Unit::of(message));
            return Ok((found != Some(expected))
                .then(|| format!("{} has {found:?} at {offset}, the log has {expected:?}", name())));
        }
        let next = match self.queues.get_mut(message.topic).and_then(|queues| queues.get_mut(&message.queue_id)) {
            Some(queue) => &mut queue.next,
            None => self.new_queues.entry((message.topic.to_owned(), message.queue_id)).or_insert(offset),
        };
        if *next != offset {
            return Ok(Some(format!("{} goes on at {next}, the message has {offset}", name())));
        }
        *next += 1;
        Ok(None)
    }

    fn unit(&mut self, message: &StoredMessage<'_>) -> Result<Option<Unit>, OpenError> {
        let offset = message.queue_offset.0;
        let queue = self.queues.get(message.topic).and_then(|queues| queues.get(&message.queue_id));
        let Some(queue) = queue.filter(|queue| (queue.min..queue.end).contains(&offset)) else { return Ok(None) };
        let key = (queue.number, queue.survey.file_base(offset));
        if self.files.len() >= OPEN_FILES_LIMIT {
            self.files.clear();
        }
        let file = match self.files.get(&key) {
            Some(file) => Arc::clone(file),
            None => queue.survey.open(self.disk, key.1)?,
        };
        self.files.insert(key, Arc::clone(&file));
        queue.survey.unit(&*file, offset)
    }
}
