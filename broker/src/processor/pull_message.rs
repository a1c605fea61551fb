//! Requests 11 and 361: messages out of the log (RocketMQ `PullMessageProcessor`).
//!
//! Any member serves a pull up to what it has dispatched. What only the leader may say (offset moved, because the
//! client stores the offset that comes with it) is asked of the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftmq_model::offset::QueueOffset;
use raftmq_model::permission;
use raftmq_model::subscription::{EXPRESSION_TAG, SubscriptionData};
use raftmq_model::sys_flag::pull;
use raftmq_remoting::header::PullMessageRequestHeader;
use raftmq_remoting::{FieldValue, RemotingCommand, ReplyBuffer, RequestMeta, Session, response_code};
use raftmq_store::{ConsumeQueue, Unit};

use crate::group::Group;
use crate::pull_hold::Waiter;

/// Consume queue units looked at for one pull (RocketMQ: 16,000 bytes of consume queue).
const SCAN_UNITS: usize = 800;
const READ_UNITS: usize = 64;

/// A pull that found nothing and waits.
pub struct HeldPull {
    session: Arc<Session>,
    request: RemotingCommand,
    wanted: Arc<Wanted>,
}

/// A pull after its checks.
struct Wanted {
    topic: Arc<str>,
    queue_id: i32,
    from: QueueOffset,
    max_messages: usize,
    /// What the client takes at most (5.x).
    max_bytes: Option<usize>,
    subscription: Arc<SubscriptionData>,
}

impl Waiter for HeldPull {
    fn wants(&self, tags_code: i64) -> bool {
        self.wanted.subscription.matches_tags_code(tags_code)
    }

    fn is_gone(&self) -> bool {
        self.session.is_closed()
    }
}

/// What a look into one queue gave; names and codes are RocketMQ's `GetMessageStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Found,
    NoMatchedLogicQueue,
    NoMessageInQueue,
    OffsetTooSmall,
    OffsetOverflowOne,
    OffsetOverflowBadly,
    NoMatchedMessage,
    MessageWasRemoving,
    Unreadable,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Found => "FOUND",
            Status::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Status::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Status::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Status::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Status::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Status::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Status::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Status::Unreadable => "MESSAGE_UNREADABLE",
        }
    }
}

struct Look {
    status: Status,
    code: i32,
    next: QueueOffset,
    min: QueueOffset,
    max: QueueOffset,
    messages: Vec<Bytes>,
    count: u64,
}

struct Refusal {
    code: i32,
    remark: String,
    /// It rests on tables in which this member may be behind, or on heartbeats that it has not got yet.
    leader_may_know_better: bool,
}

/// Whether a pull that finds nothing may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// As long as its client says.
    Allowed,
    /// A client of another member asks. That member holds pulls itself; but if it must ask the leader each time, an
    /// answer at once would make the client ask in a loop.
    Briefly,
    /// Woken, or its time is over: whatever is found now is the answer.
    Over,
}

/// One run of a pull.
#[derive(Clone, Copy)]
struct Pass {
    hold: Hold,
    /// The offset that rides on it is to be taken.
    commits: bool,
    /// Behind a read barrier: what is found is not older than the request.
    is_confirmed: bool,
}

/// How long the leader holds a pull for a client of another member; shorter than that member waits.
const FORWARDED_HOLD: Duration = Duration::from_secs(1);

/// Answers a pull into `replies`, or holds it.
pub fn handle(group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand, replies: &mut ReplyBuffer) {
    let (hold, commits) = if session.is_detached() { (Hold::Briefly, false) } else { (Hold::Allowed, true) };
    run(group, session, request, Pass { hold, commits, is_confirmed: false }, replies);
}

/// The last run of a pull that was held.
const AGAIN: Pass = Pass { hold: Hold::Over, commits: false, is_confirmed: false };

/// Runs pulls again that an arrival woke or whose time is over. Called on the I/O runtime.
pub fn resume(group: &Arc<Group>, woken: Vec<HeldPull>) {
    for pull in woken {
        let mut replies = ReplyBuffer::default();
        run(group, &pull.session, pull.request, AGAIN, &mut replies);
        pull.session.send(replies);
    }
}

fn run(group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand, pass: Pass, replies: &mut ReplyBuffer) {
    let meta = request.meta();
    let is_leading = || group.replicator.leadership().is_leading();
    let (header, wanted) = match check(group, &request) {
        Ok(checked) => checked,
        Err(refusal) => {
            if refusal.leader_may_know_better && !session.is_detached() && !is_leading() {
                let instead = not_found_at_all(&request);
                ask_leader(group, session, request, instead, false);
                return;
            }
            replies.push(meta, refusal.code, Some(&refusal.remark), &[], &[]);
            return;
        }
    };
    if pass.commits && header.sys_flag & pull::COMMIT_OFFSET != 0 {
        group.commit_offset_later(&header.consumer_group, &wanted.topic, wanted.queue_id, header.commit_offset);
    }
    let look = look(group, &wanted);
    let behind =
        matches!(look.status, Status::OffsetOverflowBadly | Status::NoMatchedLogicQueue | Status::NoMessageInQueue)
            && look.code == response_code::PULL_OFFSET_MOVED;
    let may_suspend = pass.hold != Hold::Over && header.sys_flag & pull::SUSPEND != 0;
    if look.code == response_code::PULL_OFFSET_MOVED && !pass.is_confirmed {
        if is_leading() {
            drop(header);
            confirm(group, session, request, pass, not_found_here(&look, wanted.from));
            return;
        }
        // This member cannot tell whether the client or itself is behind.
        if !(behind && may_suspend) {
            drop(header);
            ask_leader(group, session, request, not_found_here(&look, wanted.from), false);
            return;
        }
    } else if look.code != response_code::PULL_NOT_FOUND || !may_suspend {
        answer(group, meta, &look, replies);
        return;
    }
    let asked = Duration::from_millis(u64::try_from(header.suspend_timeout_millis).unwrap_or(0));
    let suspend = match pass.hold {
        Hold::Briefly => asked.min(FORWARDED_HOLD),
        _ if group.config.long_polling => asked,
        _ => group.config.short_polling_time,
    };
    drop(header);
    let deadline = group.seams.clock.monotonic() + suspend.min(group.config.pull_hold_max_time);
    let fields = request.fields.detached();
    let request = RemotingCommand { fields, body: Bytes::copy_from_slice(&request.body), ..request };
    let held = HeldPull { session: session.clone(), request, wanted: wanted.clone() };
    let end = || readable_end(group, &wanted);
    if let Err(held) = group.holds.hold(&wanted.topic, wanted.queue_id, wanted.from, deadline, held, end) {
        run(group, session, held.request, AGAIN, replies);
    }
}

/// Asks the leader as if the pull came now: it may have been held here for long, and what is old is not passed on.
fn ask_leader(
    group: &Arc<Group>,
    session: &Arc<Session>,
    mut request: RemotingCommand,
    instead: NotFound,
    bounced: bool,
) {
    request.received_us = group.seams.clock.monotonic().as_micros() as u64;
    group.forward_pull(session, request, instead, bounced);
}

/// Looks again behind a read barrier: a leader that was replaced and does not know it yet would move its client to an
/// offset behind which there are more messages.
fn confirm(group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand, pass: Pass, instead: NotFound) {
    let (group, session) = (group.clone(), session.clone());
    group.io.clone().spawn(async move {
        if let Err(error) = group.read_barrier().await {
            tracing::debug!(%error, "a pull waits for a leader");
            ask_leader(&group, &session, request, instead, true);
            return;
        }
        let mut replies = ReplyBuffer::default();
        run(&group, &session, request, Pass { commits: false, is_confirmed: true, ..pass }, &mut replies);
        session.send(replies);
    });
}

/// What the client gets when the leader cannot be asked and this member knows nothing of the queue.
fn not_found_at_all(request: &RemotingCommand) -> NotFound {
    let offset = PullMessageRequestHeader::decode(&request.fields).map_or(0, |header| header.queue_offset);
    let from = QueueOffset(u64::try_from(offset).unwrap_or(0));
    NotFound { from, min: QueueOffset(0), max: from }
}

/// What the client gets when the leader cannot be asked: nothing new, its own offset.
fn not_found_here(look: &Look, from: QueueOffset) -> NotFound {
    NotFound { from, min: look.min, max: look.max }
}

/// Numbers for an answer 19 that promises nothing.
#[derive(Clone, Copy, Debug)]
pub struct NotFound {
    from: QueueOffset,
    min: QueueOffset,
    max: QueueOffset,
}

impl NotFound {
    pub fn answer(self, meta: RequestMeta, replies: &mut ReplyBuffer) {
        let fields = offsets(self.from, self.min, self.max);
        replies.push(meta, response_code::PULL_NOT_FOUND, Some("NO_LEADER_KNOWN"), &fields, &[]);
    }
}

fn offsets(next: QueueOffset, min: QueueOffset, max: QueueOffset) -> [(&'static str, FieldValue<'static>); 4] {
    [
        ("maxOffset", FieldValue::Int(max.0 as i64)),
        ("minOffset", FieldValue::Int(min.0 as i64)),
        ("nextBeginOffset", FieldValue::Int(next.0 as i64)),
        ("suggestWhichBrokerId", FieldValue::Int(0)),
    ]
}

fn answer(group: &Group, meta: RequestMeta, look: &Look, replies: &mut ReplyBuffer) {
    let fields = offsets(look.next, look.min, look.max);
    if look.status == Status::Found {
        group.metrics.messages_out.add(look.count);
        group.metrics.bytes_out.add(look.messages.iter().map(|slice| slice.len() as u64).sum());
    }
    replies.push_segments(meta, look.code, Some(look.status.name()), &fields, look.messages.clone());
}

fn readable_end(group: &Group, wanted: &Wanted) -> QueueOffset {
    group.queues.queue(&wanted.topic, wanted.queue_id).map_or(QueueOffset(0), |queue| queue.max_offset())
}

/// RocketMQ's checks, in its order.
fn check<'a>(
    group: &Group,
    request: &'a RemotingCommand,
) -> Result<(PullMessageRequestHeader<'a>, Arc<Wanted>), Refusal> {
    let refuse = |code, remark: String| Err(Refusal { code, remark, leader_may_know_better: false });
    // Tables that follow the leader's.
    let refuse_here = |code, remark: String| Err(Refusal { code, remark, leader_may_know_better: true });
    let header = match PullMessageRequestHeader::decode(&request.fields) {
        Ok(header) => header,
        Err(error) => return refuse(response_code::SYSTEM_ERROR, error.to_string()),
    };
    let config = &group.config;
    if !permission::is_readable(config.broker_permission) {
        return refuse(
            response_code::NO_PERMISSION,
            format!("the broker[{}] pulling message is forbidden", config.broker_ip1),
        );
    }
    let subscription_group = group.groups.get(&header.consumer_group);
    if subscription_group.is_none() && !config.auto_create_subscription_group {
        return refuse_here(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group [{}] does not exist, apply first please!", header.consumer_group),
        );
    }
    if subscription_group.as_ref().is_some_and(|found| !found.consume_enable) {
        return refuse_here(
            response_code::NO_PERMISSION,
            format!("subscription group no permission, {}", header.consumer_group),
        );
    }
    let Some(topic) = group.topics.get(&header.topic) else {
        return refuse_here(
            response_code::TOPIC_NOT_EXIST,
            format!("topic[{}] not exist, apply first please!", header.topic),
        );
    };
    if !permission::is_readable(topic.perm) {
        return refuse_here(
            response_code::NO_PERMISSION,
            format!("the topic[{}] pulling message is forbidden", header.topic),
        );
    }
    if header.queue_id < 0 || header.queue_id >= topic.read_queue_nums {
        return refuse_here(
            response_code::SYSTEM_ERROR,
            format!(
                "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}]",
                header.queue_id, header.topic, topic.read_queue_nums
            ),
        );
    }
    let subscription = find_subscription(group, &header)?;
    if !subscription.is_tag_type() {
        return refuse(
            response_code::SYSTEM_ERROR,
            format!("The broker does not support consumer to filter message by {}", subscription.expression_type),
        );
    }
    let wanted = Wanted {
        topic: topic.name.clone(),
        queue_id: header.queue_id,
        // A negative offset is below every minimum.
        from: QueueOffset(u64::try_from(header.queue_offset).unwrap_or(0)),
        max_messages: usize::try_from(header.max_msg_nums).unwrap_or(0).max(1),
        max_bytes: header.max_msg_bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0),
        subscription,
    };
    Ok((header, Arc::new(wanted)))
}

fn find_subscription(group: &Group, header: &PullMessageRequestHeader<'_>) -> Result<Arc<SubscriptionData>, Refusal> {
    if header.sys_flag & pull::SUBSCRIPTION != 0 {
        let expression = header.subscription.as_deref().unwrap_or("*");
        let mut parsed = SubscriptionData::from_tags(&header.topic, expression).map_err(|_| Refusal {
            code: response_code::SUBSCRIPTION_PARSE_FAILED,
            remark: "parse the consumer's subscription failed".to_owned(),
            leader_may_know_better: false,
        })?;
        if let Some(expression_type) = header.expression_type.as_deref().filter(|kind| !kind.is_empty()) {
            parsed.expression_type = expression_type.to_owned();
        }
        return Ok(Arc::new(parsed));
    }
    let unknown = |what: &str| {
        let is_tag_type =
            header.expression_type.as_deref().is_none_or(|kind| kind.is_empty() || kind == EXPRESSION_TAG);
        if group.leader_hold.is_some() && is_tag_type {
            // This member may have started, or come to lead, since the client's last heartbeat, and the next one may be
            // half a minute away; after a refusal a client waits for seconds. It filters by tags itself once more.
            return SubscriptionData::from_tags(&header.topic, "*").map(Arc::new).map_err(|error| Refusal {
                code: response_code::SUBSCRIPTION_PARSE_FAILED,
                remark: error.to_string(),
                leader_may_know_better: false,
            });
        }
        Err(Refusal {
            code: response_code::SUBSCRIPTION_NOT_EXIST,
            remark: format!(
                "the consumer's {what} not exist, group: {}, topic: {}",
                header.consumer_group, header.topic
            ),
            leader_may_know_better: true,
        })
    };
    let Some(is_broadcasting) = group.clients.is_broadcasting(&header.consumer_group) else {
        return unknown("group info");
    };
    let may_broadcast = group.groups.get(&header.consumer_group).is_none_or(|config| config.consume_broadcast_enable);
    if is_broadcasting && !may_broadcast {
        return Err(Refusal {
            code: response_code::NO_PERMISSION,
            remark: format!("the consumer group[{}] can not consume by broadcast way", header.consumer_group),
            leader_may_know_better: false,
        });
    }
    let Some(found) = group.clients.subscription(&header.consumer_group, &header.topic) else {
        return unknown("subscription");
    };
    if found.sub_version < header.sub_version {
        return Err(Refusal {
            code: response_code::SUBSCRIPTION_NOT_LATEST,
            remark: "the consumer's subscription not latest".to_owned(),
            leader_may_know_better: true,
        });
    }
    Ok(found)
}

fn look(group: &Group, wanted: &Wanted) -> Look {
    let Some(queue) = group.queues.queue(&wanted.topic, wanted.queue_id) else {
        return empty(Status::NoMatchedLogicQueue, wanted, QueueOffset(0), QueueOffset(0));
    };
    let (min, max) = (queue.min_offset(), queue.max_offset());
    let from = wanted.from;
    if max == QueueOffset(0) {
        return empty(Status::NoMessageInQueue, wanted, min, max);
    }
    if from < min {
        return Look { next: min, ..empty(Status::OffsetTooSmall, wanted, min, max) };
    }
    if from == max {
        return Look { next: from, ..empty(Status::OffsetOverflowOne, wanted, min, max) };
    }
    if from > max {
        return Look { next: max, ..empty(Status::OffsetOverflowBadly, wanted, min, max) };
    }
    scan(group, wanted, &queue, min, max)
}

fn empty(status: Status, wanted: &Wanted, min: QueueOffset, max: QueueOffset) -> Look {
    let code = match status {
        Status::Found => response_code::SUCCESS,
        Status::Unreadable => response_code::SYSTEM_ERROR,
        Status::NoMatchedLogicQueue | Status::NoMessageInQueue if wanted.from == QueueOffset(0) => {
            response_code::PULL_NOT_FOUND
        }
        Status::OffsetOverflowOne => response_code::PULL_NOT_FOUND,
        Status::NoMatchedMessage | Status::MessageWasRemoving => response_code::PULL_RETRY_IMMEDIATELY,
        Status::NoMatchedLogicQueue
        | Status::NoMessageInQueue
        | Status::OffsetTooSmall
        | Status::OffsetOverflowBadly => response_code::PULL_OFFSET_MOVED,
    };
    Look { status, code, next: QueueOffset(0), min, max, messages: Vec::new(), count: 0 }
}

/// Collects wanted messages from `wanted.from` on; slices that lie side by side in the log become one.
fn scan(group: &Group, wanted: &Wanted, queue: &ConsumeQueue, min: QueueOffset, max: QueueOffset) -> Look {
    let limit_bytes = group.config.max_transfer_bytes_in_memory as usize;
    let limit_bytes = wanted.max_bytes.map_or(limit_bytes, |bytes| bytes.min(limit_bytes));
    let limit_count = wanted.max_messages.min(group.config.max_transfer_count_in_memory as usize).max(1) as u64;
    let mut found = empty(Status::NoMatchedMessage, wanted, min, max);
    let mut run = Run::default();
    let (mut scanned, mut bytes, mut removed, mut failed) = (0, 0, false, false);
    let mut units: Vec<Unit> = Vec::with_capacity(READ_UNITS);
    'units: while scanned < SCAN_UNITS {
        units.clear();
        let at = QueueOffset(wanted.from.0 + scanned as u64);
        failed = queue.read(at, READ_UNITS, &mut units).is_err();
        if failed || units.is_empty() {
            break;
        }
        for unit in &units {
            if !wanted.subscription.matches_tags_code(unit.tags_code) {
                scanned += 1;
                continue;
            }
            let size = unit.size_bytes as usize;
            let taken = found.count + run.count;
            if taken > 0 && (taken >= limit_count || bytes + size > limit_bytes) {
                break 'units;
            }
            if unit.physical_offset < group.log.min_offset() {
                (removed, scanned) = (true, scanned + 1);
                continue;
            }
            if !run.joins(unit) {
                let ended = std::mem::replace(&mut run, Run::of(unit, scanned));
                if let Err(first) = ended.read(group, &mut found) {
                    (failed, scanned, run) = (true, first, Run::default());
                    break 'units;
                }
            } else {
                (run.length, run.count) = (run.length + unit.size_bytes, run.count + 1);
            }
            bytes += size;
            scanned += 1;
        }
    }
    if let Err(first) = run.read(group, &mut found) {
        (failed, scanned) = (true, first);
    }
    found.next = QueueOffset(wanted.from.0 + scanned as u64);
    // Messages may have come since the end was read; no client is told of a next offset behind it.
    found.max = found.max.max(found.next);
    if found.count > 0 {
        (found.status, found.code) = (Status::Found, response_code::SUCCESS);
    } else if failed && scanned == 0 {
        (found.status, found.code) = (Status::Unreadable, response_code::SYSTEM_ERROR);
    } else if removed {
        found.status = Status::MessageWasRemoving;
    }
    found
}

/// Records that lie side by side in the log and in one slice.
#[derive(Default)]
struct Run {
    start: raftmq_model::offset::PhysicalOffset,
    length: u32,
    count: u64,
    /// Units scanned before its first: where the next pull goes on if these records cannot be read.
    first: usize,
}

/// A slice of a run stays below this, so that one unreadable page costs little.
const RUN_BYTES: u32 = 1 << 20;

impl Run {
    fn of(unit: &Unit, first: usize) -> Run {
        Run { start: unit.physical_offset, length: unit.size_bytes, count: 1, first }
    }

    fn joins(&self, unit: &Unit) -> bool {
        self.count > 0
            && self.start.after(u64::from(self.length)) == unit.physical_offset
            && self.length + unit.size_bytes <= RUN_BYTES
    }

    /// Adds the records to what was found. `Err` says where the run begins: a message that cannot be read now is not
    /// stepped over, else the client would store an offset behind it.
    fn read(self, group: &Group, found: &mut Look) -> Result<(), usize> {
        if self.count == 0 {
            return Ok(());
        }
        match group.log.slice(self.start, self.length) {
            Ok(slice) => {
                found.messages.push(slice);
                found.count += self.count;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, at = %self.start, "messages of the log cannot be read");
                Err(self.first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicator::ReplicateError;
    use crate::test_group::{TestGroup, send};

    fn pull(offset: i64) -> RemotingCommand {
        RemotingCommand::request(11)
            .with_field("consumerGroup", "cg")
            .with_field("topic", "T")
            .with_field("queueId", 0)
            .with_field("queueOffset", offset)
            .with_field("maxMsgNums", 32)
            .with_field("sysFlag", pull::SUBSCRIPTION)
            .with_field("commitOffset", 0)
            .with_field("suspendTimeoutMillis", 0)
            .with_field("subVersion", 0)
    }

    #[tokio::test]
    async fn a_client_is_moved_only_behind_a_read_barrier() {
        let fixture = TestGroup::new(&[("T", 1)]);
        fixture.ask(pull(1));
        assert!(fixture.answers.take_codes().is_empty(), "the leader may have been replaced");
        fixture.end_barrier(Ok(())).await;
        assert_eq!(fixture.answers.next_code().await, response_code::PULL_OFFSET_MOVED);
    }

    #[tokio::test]
    async fn what_the_barrier_brings_is_looked_at() {
        let fixture = TestGroup::new(&[("T", 1)]);
        fixture.ask(pull(1));
        fixture.ask(send("T", 1, 0));
        fixture.store_next();
        assert_eq!(fixture.answers.take_codes(), [0]);
        fixture.end_barrier(Ok(())).await;
        assert_eq!(fixture.answers.next_code().await, response_code::PULL_NOT_FOUND);
    }

    #[tokio::test]
    async fn without_a_majority_nobody_is_moved() {
        let fixture = TestGroup::new(&[("T", 1)]);
        fixture.ask(pull(1));
        fixture.end_barrier(Err(ReplicateError::NotAppended("test".to_owned()))).await;
        assert_eq!(fixture.answers.next_code().await, response_code::PULL_NOT_FOUND);
    }
}
