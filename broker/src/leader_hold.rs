//! Requests that only the leader serves, at a member that does not lead: forwarded, or held while an election runs.
//!
//! A held request is dropped when its connection closes, and answered SERVICE_NOT_AVAILABLE (14) when the hold is
//! over; a pull is never answered 14, because clients wait a second after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raftmq_raft::{ForwardError, RaftGroup, Role};
use raftmq_remoting::{ClientIdentity, RemotingCommand, ReplyBuffer, Session, request_code, response_code};
use tokio::sync::watch;

use crate::dispatcher;
use crate::forward_codec::{self, Answer};
use crate::group::Group;
use crate::processor::pull_message::NotFound;
use crate::processor::{batch_body, consumer_manage};
use crate::replicator::Leadership;
use crate::state_machine::OffsetCommit;

/// Bounds of the hold.
#[derive(Clone, Copy, Debug)]
pub struct HoldLimits {
    /// Key raftHoldTimeMillis: how long a request waits for a leader.
    pub hold: Duration,
    /// How long an answer of the leader may take, once the request was sent.
    pub answer: Duration,
    /// Key proposerQueueMaxBytes: bytes of requests held or forwarded at once; beyond, they are answered SYSTEM_BUSY.
    pub bytes: usize,
}

pub struct LeaderHold {
    raft: Arc<RaftGroup>,
    limits: HoldLimits,
    under_way: Arc<AtomicUsize>,
    /// Held while waiting offsets are on their way: an acknowledged commit that came later must not overtake them.
    offsets: Arc<tokio::sync::Mutex<()>>,
}

/// What to answer when nobody took the requests.
enum Otherwise {
    ServiceNotAvailable,
    NotFound(NotFound),
    Success,
}

struct Place {
    under_way: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl LeaderHold {
    pub fn new(raft: Arc<RaftGroup>, limits: HoldLimits) -> LeaderHold {
        LeaderHold { raft, limits, under_way: Arc::default(), offsets: Arc::default() }
    }

    /// Takes requests of one connection, none of which is in the log.
    ///
    /// `bounced`: this member has just tried as the leader; without a pause it would try as fast as it is refused.
    pub fn submit(&self, group: &Arc<Group>, session: &Arc<Session>, requests: Vec<RemotingCommand>, bounced: bool) {
        self.start(group, session, requests, Otherwise::ServiceNotAvailable, bounced);
    }

    /// Takes one pull that only the leader can judge.
    pub fn submit_pull(
        &self,
        group: &Arc<Group>,
        session: &Arc<Session>,
        request: RemotingCommand,
        instead: NotFound,
        bounced: bool,
    ) {
        self.start(group, session, vec![request], Otherwise::NotFound(instead), bounced);
    }

    /// Takes a heartbeat whose groups only the leader can make. The client is told that all is well anyhow.
    pub fn submit_heartbeat(
        &self,
        group: &Arc<Group>,
        session: &Arc<Session>,
        request: RemotingCommand,
        bounced: bool,
    ) {
        self.start(group, session, vec![request], Otherwise::Success, bounced);
    }

    fn start(
        &self,
        group: &Arc<Group>,
        session: &Arc<Session>,
        mut requests: Vec<RemotingCommand>,
        otherwise: Otherwise,
        bounced: bool,
    ) {
        let max_body_bytes = group.config.max_message_bytes + batch_body::EXTRA_BYTES;
        let too_large = |request: &mut RemotingCommand| forward_codec::check_size(request, max_body_bytes).is_err();
        for request in requests.extract_if(.., too_large) {
            let Err(remark) = forward_codec::check_size(&request, max_body_bytes) else { continue };
            answer_all(session, &[request], response_code::MESSAGE_ILLEGAL, &remark);
        }
        if requests.is_empty() {
            return;
        }
        let bytes = requests.iter().map(forward_codec::request_bytes).sum();
        let held = self.under_way.fetch_add(bytes, Ordering::Relaxed);
        let place = Place { under_way: self.under_way.clone(), bytes };
        if held > 0 && held + bytes > self.limits.bytes {
            let remark = format!(
                "[OVERLOAD]system busy, start flow control for a while: requests of {held} bytes wait for the leader, proposerQueueMaxBytes is {}",
                self.limits.bytes
            );
            answer_all(session, &requests, response_code::SYSTEM_BUSY, &remark);
            return;
        }
        let (raft, limits) = (self.raft.clone(), self.limits);
        let waiting =
            Waiting { raft, limits, group: group.clone(), session: session.clone(), offsets: self.offsets.clone() };
        group.io.spawn(async move {
            let _place = place;
            waiting.serve(requests, otherwise, bounced).await;
        });
    }

    /// Passes on the offsets that wait now, in pieces; what did not reach the leader waits on.
    pub async fn forward_offsets(&self, group: &Group) {
        let mut left = group.offset_commits.len();
        while left > 0 {
            let passed_on = self.forward_some_offsets(group).await;
            if passed_on == 0 {
                break;
            }
            left = left.saturating_sub(passed_on);
        }
    }

    /// How many offsets are dealt with.
    async fn forward_some_offsets(&self, group: &Group) -> usize {
        let _in_order = self.offsets.lock().await;
        let Some(taken) = group.offset_commits.drain_with(|taken| taken) else { return 0 };
        let count = taken.commits().len();
        let requests: Vec<_> = taken.aged(group.seams.clock.monotonic()).map(offset_commit).collect();
        let nobody = ClientIdentity::default();
        let payload = forward_codec::encode_request(group.store_host, &nobody, Duration::ZERO, &requests);
        match self.raft.forward(payload, self.limits.answer).await.map(forward_codec::decode_answer) {
            Ok(Some(Answer::Replies(_))) => count,
            // The leader may have them; clients commit again within seconds. What is left waits for a better moment.
            Err(ForwardError::Unknown { .. }) | Ok(None) => 0,
            Ok(Some(Answer::NotLeader)) | Err(_) => {
                group.offset_commits.put_back(taken);
                0
            }
        }
    }

    /// Answers 14 to all: definitely not stored.
    pub fn refuse(session: &Session, requests: &[RemotingCommand], why: &str) {
        answer_all(
            session,
            requests,
            response_code::SERVICE_NOT_AVAILABLE,
            &format!("service not available now: {why}"),
        );
    }
}

/// Field of a waiting offset on its way to the leader: milliseconds since it came. No client sends it.
pub(crate) const AGE_FIELD: &str = "raftmqAgeMillis";

/// A one-way request as a waiting offset came from.
fn offset_commit((commit, age): (&OffsetCommit, Duration)) -> RemotingCommand {
    RemotingCommand::request(request_code::UPDATE_CONSUMER_OFFSET)
        .with_field("consumerGroup", &commit.group)
        .with_field("topic", &commit.topic)
        .with_field("queueId", commit.queue_id)
        .with_field("commitOffset", commit.offset)
        .with_field(AGE_FIELD, age.as_millis() as i64)
        .with_oneway()
}

fn answer_all(session: &Session, requests: &[RemotingCommand], code: i32, remark: &str) {
    let mut replies = ReplyBuffer::default();
    for request in requests {
        replies.push(request.meta(), code, Some(remark), &[], &[]);
    }
    session.send(replies);
}

/// What one connection waits with.
struct Waiting {
    raft: Arc<RaftGroup>,
    limits: HoldLimits,
    group: Arc<Group>,
    session: Arc<Session>,
    offsets: Arc<tokio::sync::Mutex<()>>,
}

/// Pause before this member looks again whether somebody leads.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Waiting {
    async fn serve(self, mut requests: Vec<RemotingCommand>, otherwise: Otherwise, bounced: bool) {
        let Waiting { raft, limits, group, session, .. } = &self;
        let clock = group.seams.clock.clone();
        // Counted from the arrival, however often a request comes back here: nothing is proposed long after it came.
        let came = came(&requests).unwrap_or_else(|| clock.monotonic());
        let deadline = came + limits.hold;
        let mut roles = raft.role();
        let mut pause = bounced;
        loop {
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                let remark =
                    format!("service not available now: no leader within {:?} (raftHoldTimeMillis)", limits.hold);
                give_up(session, &requests, &otherwise, response_code::SERVICE_NOT_AVAILABLE, &remark);
                return;
            }
            roles.borrow_and_update();
            if std::mem::replace(&mut pause, true) {
                // A leader that was not ready, or refused, tells nobody when it is: look again soon.
                tokio::select! {
                    _ = roles.changed() => {}
                    () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
                    () = session.closed() => return,
                }
            }
            match group.replicator.leadership() {
                Leadership::Leading { .. } => {
                    dispatcher::process_as_leader(group, session, requests);
                    return;
                }
                // One hop only: what was forwarded to us is not passed on.
                Leadership::Following { .. } if !session.is_detached() => match self.forward(&requests, came).await {
                    Forwarded::Answered => return,
                    Forwarded::Unknown(why) => {
                        // What changes nothing is asked again, here or at the next leader.
                        let done: Vec<_> =
                            requests.extract_if(.., |request| !dispatcher::is_repeatable(request.code)).collect();
                        let remark = format!("[PC_SYNCHRONIZED]broker busy, no answer from the leader: {why}");
                        give_up(session, &done, &otherwise, response_code::SYSTEM_ERROR, &remark);
                        if requests.is_empty() {
                            return;
                        }
                    }
                    Forwarded::NotTaken => {}
                },
                Leadership::Following { .. } | Leadership::Unknown { .. } => {}
            }
        }
    }

    async fn forward(&self, requests: &[RemotingCommand], came: Duration) -> Forwarded {
        let Waiting { raft, limits, group, session, offsets } = self;
        let about = |code| requests.iter().any(|request| request.code == code);
        let about_offsets = about(request_code::QUERY_CONSUMER_OFFSET) || about(request_code::UPDATE_CONSUMER_OFFSET);
        let clock = &group.seams.clock;
        let left = (came + limits.hold).saturating_sub(clock.monotonic());
        let _in_order = match about_offsets {
            // Whoever has the lock may wait for a leader that is paused or gone.
            true => match tokio::time::timeout(left, offsets.lock()).await {
                Ok(lock) => Some(lock),
                Err(_) => return Forwarded::NotTaken,
            },
            false => None,
        };
        let age = clock.monotonic().saturating_sub(came);
        forward(raft, limits, group, session, age, requests).await
    }
}

/// When the first of these requests came, if they know.
fn came(requests: &[RemotingCommand]) -> Option<Duration> {
    let came = requests.iter().map(|request| request.received_us).filter(|came| *came != 0).min();
    came.map(Duration::from_micros)
}

fn give_up(session: &Session, requests: &[RemotingCommand], otherwise: &Otherwise, code: i32, remark: &str) {
    match otherwise {
        Otherwise::ServiceNotAvailable => answer_all(session, requests, code, remark),
        Otherwise::NotFound(instead) => {
            let mut replies = ReplyBuffer::default();
            for request in requests {
                instead.answer(request.meta(), &mut replies);
            }
            session.send(replies);
        }
        Otherwise::Success => {
            let mut replies = ReplyBuffer::default();
            for request in requests {
                replies.push(request.meta(), response_code::SUCCESS, None, &[], &[]);
            }
            session.send(replies);
        }
    }
}

enum Forwarded {
    Answered,
    /// Definitely not in the log.
    NotTaken,
    Unknown(String),
}

async fn forward(
    raft: &RaftGroup,
    limits: &HoldLimits,
    group: &Group,
    session: &Session,
    age: Duration,
    requests: &[RemotingCommand],
) -> Forwarded {
    group.metrics.forwarded.add(requests.len() as u64);
    // A query must see what one-way commits have said to this member before it.
    let asked: Vec<_> = requests.iter().filter_map(consumer_manage::queried).collect();
    let waiting = group.offset_commits.drain_queues_with(&asked, |taken| taken);
    let now = group.seams.clock.monotonic();
    let mut all: Vec<_> = waiting.iter().flat_map(|taken| taken.aged(now)).map(offset_commit).collect();
    all.extend_from_slice(requests);
    let payload: Bytes = forward_codec::encode_request(session.peer(), &session.client(), age, &all);
    let mut roles = raft.role();
    let asked_under = roles.borrow_and_update().clone();
    let answer = tokio::select! {
        answer = raft.forward(payload, limits.answer) => answer,
        slot = another_leads(&mut roles, asked_under.epoch) => {
            let reason = format!("n{slot} leads now");
            Err(ForwardError::Unknown { slot: asked_under.leader_slot.unwrap_or(slot), reason })
        }
    };
    let taken = match &answer {
        Ok(_) | Err(ForwardError::Unknown { .. }) => true,
        Err(ForwardError::NoLeader | ForwardError::SelfLeads | ForwardError::NotSent { .. }) => false,
    };
    if !taken && let Some(waiting) = waiting {
        group.offset_commits.put_back(waiting);
    }
    match answer {
        Ok(answer) => match forward_codec::decode_answer(answer) {
            Some(Answer::Replies(replies)) => {
                let mut answers = ReplyBuffer::default();
                answers.push_encoded(replies, requests.iter().map(RemotingCommand::meta));
                session.send(answers);
                Forwarded::Answered
            }
            Some(Answer::NotLeader) => Forwarded::NotTaken,
            None => Forwarded::Unknown("its answer cannot be read".to_owned()),
        },
        Err(ForwardError::NoLeader | ForwardError::SelfLeads | ForwardError::NotSent { .. }) => Forwarded::NotTaken,
        Err(error @ ForwardError::Unknown { .. }) => Forwarded::Unknown(error.to_string()),
    }
}

/// A leader that has been replaced may still answer what it had when it lost its leadership, but not for long.
const REPLACED_LEADER_ANSWERS: Duration = Duration::from_millis(250);

/// Returns the new leader some time after it is known. An old one whose machine is gone says nothing, and clients'
/// own time limits are shorter than that of an answer.
async fn another_leads(roles: &mut watch::Receiver<Role>, asked_under: i64) -> u16 {
    let changed = roles.wait_for(|role| role.epoch != asked_under && role.leader_slot.is_some()).await;
    let slot = changed.ok().and_then(|role| role.leader_slot);
    match slot {
        Some(slot) => {
            tokio::time::sleep(REPLACED_LEADER_ANSWERS).await;
            slot
        }
        // The group has stopped.
        None => std::future::pending().await,
    }
}
