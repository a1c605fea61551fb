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
    /// The first unit of a message in the walk that has not been met.
    unmet: u64,
    /// Offset of the next message at or behind `below`.
    next: u64,
}

/// Where log and queues disagree.
pub(super) struct Unmet {
    /// Log position of the message that a unit points to.
    pub(super) at: u64,
    pub(super) what: String,
}

impl<'a> QueueCheck<'a> {
    /// Only the order within each queue is checked, and a queue may begin at 0 again: the log of a topic that was
    /// deleted and created anew.
    pub(super) fn of_order(disk: &'a dyn Disk) -> Self {
        QueueCheck { disk, queues: HashMap::new(), below: 0, new_queues: HashMap::new(), files: HashMap::new() }
    }

    /// `queues` are complete for messages below `below`; the walk begins at `from`.
    pub(super) fn new(
        disk: &'a dyn Disk,
        queues: impl Iterator<Item = (&'a Survey, &'a Extent)>,
        from: u64,
        below: u64,
    ) -> Result<Self, OpenError> {
        let mut check = QueueCheck { below, ..QueueCheck::of_order(disk) };
        for (number, (survey, extent)) in queues.enumerate() {
            let (min, end) = extent.span;
            let mut queue = Queue { number, survey, min, end, unmet: end, next: end };
            // Most queues have nothing in the part of the log that is walked.
            if extent.physical_end > from {
                queue.unmet = check.first_at(&queue, from)?;
            }
            if end > min {
                check.queues.entry(survey.topic()).or_default().insert(survey.queue_id(), queue);
            }
        }
        Ok(check)
    }

    /// What contradicts a message that lies next in the log.
    pub(super) fn contradiction(&mut self, message: &StoredMessage<'_>) -> Result<Option<String>, OpenError> {
        if !sys_flag::takes_queue_offset(message.sys_flag) {
            return Ok(None);
        }
        if message.physical_offset.0 < self.below { self.meet(message) } else { Ok(self.follow(message)) }
    }

    /// Below, each message has its unit. One of a topic that was deleted since has none: its queue is gone, or has
    /// begun anew behind it.
    fn meet(&mut self, message: &StoredMessage<'_>) -> Result<Option<String>, OpenError> {
        let (topic, queue_id, offset) = (message.topic, message.queue_id, message.queue_offset.0);
        let Some(queue) = self.queues.get(topic).and_then(|queues| queues.get(&queue_id)) else { return Ok(None) };
        let (number, survey, min, unmet, end) = (queue.number, queue.survey, queue.min, queue.unmet, queue.end);
        let first = self.unit(number, survey, min)?;
        if first.is_some_and(|first| first.physical_offset > message.physical_offset) {
            return Ok(None);
        }
        let found = if offset < end { self.unit(number, survey, offset)? } else { None };
        let expected = Unit::of(message);
        if offset != unmet || found != Some(expected) {
            return Ok(Some(format!(
                "consume queue {topic}-{queue_id} has {found:?} at {offset}, the log has {expected:?} (if the log is \
                 right, remove the folder consumequeue)"
            )));
        }
        if let Some(queue) = self.queues.get_mut(topic).and_then(|queues| queues.get_mut(&queue_id)) {
            queue.unmet += 1;
        }
        Ok(None)
    }

    /// Behind, the messages of a queue count on.
    fn follow(&mut self, message: &StoredMessage<'_>) -> Option<String> {
        let offset = message.queue_offset.0;
        let begins_anew = offset == 0 && self.queues.is_empty() && self.below == 0;
        let next = match self.queues.get_mut(message.topic).and_then(|queues| queues.get_mut(&message.queue_id)) {
            Some(queue) => &mut queue.next,
            None => self.new_queues.entry((message.topic.to_owned(), message.queue_id)).or_insert(offset),
        };
        if *next != offset && !begins_anew {
            let (topic, queue_id) = (message.topic, message.queue_id);
            return Some(format!("consume queue {topic}-{queue_id} goes on at {next}, the message has {offset}"));
        }
        *next = offset + 1;
        None
    }

    /// The first message in the log that a unit points to and that was not met in the walk.
    pub(super) fn unmet(&mut self) -> Result<Option<Unmet>, OpenError> {
        let mut behind = Vec::new();
        for queue in self.queues.values().flat_map(HashMap::values).filter(|queue| queue.unmet < queue.end) {
            behind.push((queue.number, queue.survey, queue.unmet));
        }
        let mut first: Option<Unmet> = None;
        for (number, survey, offset) in behind {
            let Some(unit) = self.unit(number, survey, offset)? else { continue };
            let at = unit.physical_offset.0;
            if first.as_ref().is_none_or(|first| at < first.at) {
                let name = format!("{}-{}", survey.topic(), survey.queue_id());
                first =
                    Some(Unmet { at, what: format!("no message for {unit:?} at {offset} of consume queue {name}") });
            }
        }
        Ok(first)
    }

    /// The first unit of a message at or behind a log position.
    fn first_at(&mut self, queue: &Queue<'a>, position: u64) -> Result<u64, OpenError> {
        let (mut low, mut high) = (queue.min, queue.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let unit = self.unit(queue.number, queue.survey, middle)?;
            if unit.is_some_and(|unit| unit.physical_offset.0 < position) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn unit(&mut self, number: usize, survey: &'a Survey, offset: u64) -> Result<Option<Unit>, OpenError> {
        let key = (number, survey.file_base(offset));
        if self.files.len() >= OPEN_FILES_LIMIT {
            self.files.clear();
        }
        let file = match self.files.get(&key) {
            Some(file) => Arc::clone(file),
            None => survey.open(self.disk, key.1)?,
        };
        self.files.insert(key, Arc::clone(&file));
        survey.unit(&*file, offset)
    }
}
