//! Requests 38, 14, 15 and 29 to 32: members of consumer groups, and offsets (RocketMQ `ConsumerManageProcessor`,
//! `AdminBrokerProcessor`).
//!
//! Queries are called behind a read barrier by the leader: a paused leader must not answer from old tables.

use std::time::Duration;

use raftmq_model::offset::QueueOffset;
use raftmq_model::subscription::validate_group;
use raftmq_remoting::body::ConsumerList;
use raftmq_remoting::header::{
    ConsumerGroupRequestHeader, FieldError, QueryConsumerOffsetRequestHeader, QueueRequestHeader,
    SearchOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use raftmq_remoting::{RemotingCommand, request_code, response_code};
use raftmq_store::{CommitLog, ConsumeQueue, ReadError, Unit};
use raftmq_sys::host;

use super::{Handled, Reply};
use crate::group::Group;
use crate::leader_hold::AGE_FIELD;
use crate::offset_coalescer::{GroupQueue, OffsetCoalescer};
use crate::state_machine::{Command, ConsumerOffsetTable, OffsetCommit};

/// Request 38. Nobody online is an error, not an empty list: clients take it for "ask again later".
pub fn consumer_list(group: &Group, request: &RemotingCommand) -> Handled {
    let header = match ConsumerGroupRequestHeader::decode(&request.fields) {
        Ok(header) => header,
        Err(error) => return Reply::from(error).into(),
    };
    match group.clients.consumer_ids(&header.consumer_group) {
        Some(consumer_id_list) => Reply::ok().with_body(ConsumerList { consumer_id_list }.to_json()).into(),
        None => Reply::system_error(format!("no consumer for this group, {}", header.consumer_group)).into(),
    }
}

/// Request 15. Overwrites, backwards too. One-way commits wait to be merged with others; the rest is answered when it
/// is in the log.
pub fn update_offset(group: &Group, request: &RemotingCommand) -> Handled {
    update(&group.offset_commits, request).unwrap_or_else(Handled::Reply)
}

/// Forgets what waits for the queue that a commit is about: the commit itself is on its way to the leader.
pub fn forget_waiting(group: &Group, request: &RemotingCommand) {
    if let Ok(header) = UpdateConsumerOffsetRequestHeader::decode(&request.fields) {
        group.offset_commits.remove(&header.consumer_group, &header.topic, header.queue_id);
    }
}

fn update(waiting: &OffsetCoalescer, request: &RemotingCommand) -> Result<Handled, Reply> {
    let header = UpdateConsumerOffsetRequestHeader::decode(&request.fields)?;
    let (group, topic, queue_id) = (header.consumer_group, header.topic, header.queue_id);
    // RocketMQ would store a negative one, and clients would take it for "no offset".
    let offset = u64::try_from(header.commit_offset)
        .map_err(|_| Reply::system_error(format!("commitOffset {} is negative", header.commit_offset)))?;
    validate_group(&group).map_err(Reply::system_error)?;
    if request.is_oneway() {
        let age = request.fields.get(AGE_FIELD).and_then(|age| age.parse().ok()).map(Duration::from_millis);
        match age {
            Some(age) => waiting.add_forwarded(&group, &topic, queue_id, offset, age),
            None => waiting.add(&group, &topic, queue_id, offset),
        }
        return Ok(Handled::Silent);
    }
    waiting.remove(&group, &topic, queue_id);
    let commit =
        OffsetCommit { group: group.into_owned(), topic: topic.into_owned(), queue_id, offset: QueueOffset(offset) };
    Ok(Handled::Propose { commands: vec![Command::CommitOffsets { commits: vec![commit] }], then: Reply::ok() })
}

/// The queue that an offset query is about.
pub fn queried(request: &RemotingCommand) -> Option<GroupQueue> {
    if request.code != request_code::QUERY_CONSUMER_OFFSET {
        return None;
    }
    let header = QueryConsumerOffsetRequestHeader::decode(&request.fields).ok()?;
    let (group, topic) = (header.consumer_group.into_owned(), header.topic.into_owned());
    Some(GroupQueue { group, topic, queue_id: header.queue_id })
}

/// Request 14. A group without an offset begins at 0 where the first message is still there and hot: new groups on
/// young topics read from the beginning, whatever they ask for. Clients and tests depend on it.
pub fn query_offset(group: &Group, request: &RemotingCommand) -> Reply {
    let begins_hot = |topic: &str, queue_id| match group.queues.queue(topic, queue_id) {
        Some(queue) => queue.min_offset() == QueueOffset(0) && !is_cold(&group.log, &queue, hot_bytes(group)),
        None => true,
    };
    query(&group.consumer_offsets, request, begins_hot).unwrap_or_else(|reply| reply)
}

fn query(
    offsets: &ConsumerOffsetTable,
    request: &RemotingCommand,
    begins_hot: impl Fn(&str, i32) -> bool,
) -> Result<Reply, Reply> {
    let header = QueryConsumerOffsetRequestHeader::decode(&request.fields)?;
    if let Some(offset) = offsets.get(&header.consumer_group, &header.topic, header.queue_id) {
        return Ok(Reply::ok().with_number("offset", offset.0 as i64));
    }
    if header.set_zero_if_not_found != Some(false) && begins_hot(&header.topic, header.queue_id) {
        return Ok(Reply::ok().with_number("offset", 0));
    }
    Err(Reply::error(response_code::QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"))
}

/// The newest part of the log that counts as in memory.
fn hot_bytes(group: &Group) -> u64 {
    host::memory_bytes() / 100 * u64::from(group.config.access_message_in_memory_max_ratio)
}

/// Whether the first message of a queue lies further from the end of the log than `hot_bytes`.
fn is_cold(log: &CommitLog, queue: &ConsumeQueue, hot_bytes: u64) -> bool {
    let mut units: Vec<Unit> = Vec::with_capacity(1);
    // A queue that cannot be read begins nowhere in particular; the pull will say what is wrong.
    let read = queue.read(queue.min_offset(), 1, &mut units);
    read.is_ok() && units.first().is_some_and(|unit| log.end().0.saturating_sub(unit.physical_offset.0) > hot_bytes)
}

/// Request 30: the next offset to be written, 0 for an unknown queue.
pub fn max_offset(group: &Group, request: &RemotingCommand) -> Reply {
    let max = |queue: Option<&ConsumeQueue>| Ok(queue.map_or(0, |queue| queue.max_offset().0 as i64));
    of_queue(group, QueueRequestHeader::decode(&request.fields), "offset", max)
}

/// Request 31: the first offset still there. A queue without a message yet begins at 0: Java makes the queue when it is
/// asked for, and its clients refuse a negative answer.
pub fn min_offset(group: &Group, request: &RemotingCommand) -> Reply {
    let min = |queue: Option<&ConsumeQueue>| Ok(queue.map_or(0, |queue| queue.min_offset().0 as i64));
    of_queue(group, QueueRequestHeader::decode(&request.fields), "offset", min)
}

/// Request 32: store time of the first message still there, −1 if there is none.
pub fn earliest_store_time(group: &Group, request: &RemotingCommand) -> Reply {
    let earliest = |queue: Option<&ConsumeQueue>| match queue {
        Some(queue) => Ok(raftmq_store::earliest_store_time(&group.log, queue)?.unwrap_or(-1)),
        None => Ok(-1),
    };
    of_queue(group, QueueRequestHeader::decode(&request.fields), "timestamp", earliest)
}

/// Request 29. Without a `boundaryType` the nearest message counts, as in RocketMQ 4.9; with one the first at or
/// after the time (LOWER) or the last at or before it (UPPER), as in 5.x.
pub fn search_offset(group: &Group, request: &RemotingCommand) -> Reply {
    let SearchOffsetRequestHeader { topic, queue_id, timestamp, boundary_type } =
        match SearchOffsetRequestHeader::decode(&request.fields) {
            Ok(header) => header,
            Err(error) => return error.into(),
        };
    let search = |queue: Option<&ConsumeQueue>| {
        let Some(queue) = queue else { return Ok(0) };
        let found = match boundary_type.as_deref() {
            None => raftmq_store::offset_by_time(&group.log, queue, timestamp)?.0,
            Some(boundary) => {
                let (min, max) = (queue.min_offset().0, queue.max_offset().0);
                let upper = boundary.eq_ignore_ascii_case("UPPER");
                boundary_by_time(min, max, timestamp, upper, |offset| store_time(&group.log, queue, offset))?
            }
        };
        Ok(found as i64)
    };
    of_queue(group, Ok(QueueRequestHeader { topic, queue_id }), "offset", search)
}

/// `[min, max)` is ordered by store time. LOWER beyond the last message is `max`, UPPER before the first is 0.
fn boundary_by_time(
    min: u64,
    max: u64,
    timestamp: i64,
    upper: bool,
    time_of: impl Fn(u64) -> Result<i64, ReadError>,
) -> Result<u64, ReadError> {
    let (mut low, mut high) = (min, max);
    while low < high {
        let middle = low + (high - low) / 2;
        let time = time_of(middle)?;
        if time < timestamp || (upper && time == timestamp) { low = middle + 1 } else { high = middle }
    }
    Ok(match upper {
        false => low,
        true if low == min => 0,
        true => low - 1,
    })
}

/// Store time of one message; one that is gone by now counts as older than everything.
pub(super) fn store_time(log: &CommitLog, queue: &ConsumeQueue, offset: u64) -> Result<i64, ReadError> {
    let mut units: Vec<Unit> = Vec::with_capacity(1);
    queue.read(QueueOffset(offset), 1, &mut units)?;
    let Some(unit) = units.first() else { return Ok(i64::MIN) };
    let record = raftmq_store::read_message(log, unit.physical_offset)?;
    // `read_message` has decoded it once.
    Ok(raftmq_model::message_codec::decode(&record).map_or(i64::MIN, |message| message.store_timestamp))
}

/// Answers one number about a queue.
fn of_queue(
    group: &Group,
    header: Result<QueueRequestHeader<'_>, FieldError>,
    name: &'static str,
    value: impl FnOnce(Option<&ConsumeQueue>) -> Result<i64, ReadError>,
) -> Reply {
    let header = match header {
        Ok(header) => header,
        Err(error) => return error.into(),
    };
    match value(group.queues.queue(&header.topic, header.queue_id).as_deref()) {
        Ok(value) => Reply::ok().with_number(name, value),
        Err(error) => Reply::system_error(error),
    }
}

#[cfg(test)]
mod tests {
    use raftmq_remoting::FieldValue;

    use super::*;
    use crate::state_machine::{Changes, Tables};

    fn coalescer() -> OffsetCoalescer {
        OffsetCoalescer::new(std::sync::Arc::new(raftmq_sys::RealClock::new()), None)
    }

    fn commit(offset: i64) -> RemotingCommand {
        RemotingCommand::request(15)
            .with_field("consumerGroup", "cg")
            .with_field("topic", "T")
            .with_field("queueId", 3)
            .with_field("commitOffset", offset)
    }

    fn waiting(coalescer: &OffsetCoalescer) -> Option<Command> {
        coalescer.drain_with(|taken| taken.map(|taken| taken.to_command()))
    }

    fn command(offset: u64) -> Command {
        let commit =
            OffsetCommit { group: "cg".to_owned(), topic: "T".to_owned(), queue_id: 3, offset: QueueOffset(offset) };
        Command::CommitOffsets { commits: vec![commit] }
    }

    #[test]
    fn an_answered_commit_is_proposed_and_replaces_what_waits() {
        let coalescer = coalescer();
        coalescer.add("cg", "T", 3, 9);
        let Ok(Handled::Propose { commands, then }) = update(&coalescer, &commit(5)) else { panic!() };
        assert_eq!((commands, then), (vec![command(5)], Reply::ok()));
        assert_eq!(waiting(&coalescer), None);
    }

    #[test]
    fn one_way_commits_wait() {
        let coalescer = coalescer();
        assert!(matches!(update(&coalescer, &commit(5).with_oneway()), Ok(Handled::Silent)));
        assert_eq!(waiting(&coalescer), Some(command(5)));
    }

    #[test]
    fn commits_that_make_no_sense_are_refused() {
        let coalescer = coalescer();
        let remark = |request: &RemotingCommand| {
            let reply = update(&coalescer, request).unwrap_err();
            (reply.code, reply.remark.unwrap())
        };
        assert_eq!(remark(&commit(-1)), (1, "commitOffset -1 is negative".to_owned()));
        let request = RemotingCommand::request(15).with_field("consumerGroup", "cg");
        assert_eq!(remark(&request), (1, "the custom field <topic> is null".to_owned()));
        let request = request.with_field("topic", "T").with_field("queueId", "x");
        assert_eq!(remark(&request), (1, "the custom field <queueId> is not a number of 32 bits: x".to_owned()));
    }

    #[test]
    fn a_group_without_an_offset_begins_at_zero_only_where_that_is_hot() {
        let (tables, mut changes) = (Tables::default(), Changes::default());
        let request = || {
            RemotingCommand::request(14)
                .with_field("consumerGroup", "cg")
                .with_field("topic", "T")
                .with_field("queueId", 3)
        };
        let ask = |request: &RemotingCommand, hot| {
            query(&tables.consumer_offsets, request, |_, _| hot).unwrap_or_else(|reply| reply)
        };
        assert_eq!(ask(&request(), true).fields, [("offset", FieldValue::Int(0))]);
        assert_eq!(ask(&request(), false).code, response_code::QUERY_NOT_FOUND);
        let strict = request().with_field("setZeroIfNotFound", "false");
        assert_eq!(ask(&strict, true).code, response_code::QUERY_NOT_FOUND);
        tables.apply(&command(7), &mut changes);
        assert_eq!(ask(&strict, false).fields, [("offset", FieldValue::Int(7))]);
    }

    #[test]
    fn boundaries_are_those_of_5x() {
        let times = [10, 20, 20, 30];
        let find = |timestamp, upper| {
            boundary_by_time(5, 9, timestamp, upper, |offset| Ok(times[offset as usize - 5])).unwrap()
        };
        assert_eq!([9, 10, 15, 20, 30, 31].map(|time| find(time, false)), [5, 5, 6, 6, 8, 9]);
        assert_eq!([9, 10, 15, 20, 30, 31].map(|time| find(time, true)), [0, 5, 5, 7, 8, 8]);
    }
}
