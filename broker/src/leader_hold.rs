//! Requests that only the leader serves, at a member that does not lead: forwarded, or held while an election runs.
//!
//! A held request is dropped when its connection closes, and answered SERVICE_NOT_AVAILABLE (14) when the hold is
//! over; a pull is never answered 14, because clients wait a second after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raftmq_raft::{ForwardError, RaftGroup};
use raftmq_remoting::{ClientIdentity, RemotingCommand, ReplyBuffer, Session, request_code, response_code};

use crate::dispatcher;
use crate::forward_codec::{self, Answer};
use crate::group::Group;
use crate::processor::pull_message::NotFound;
use crate::replicator::Leadership;
use crate::state_machine::{Command, OffsetCommit};

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

/// What a request takes beside its body, about.
const HEADER_BYTES: usize = 512;

/// What to answer when nobody took the requests.
enum Otherwise {
    ServiceNotAvailable,
    NotFound(NotFound),
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
    pub fn submit_pull(&self, group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand, instead: NotFound) {
        self.start(group, session, vec![request], Otherwise::NotFound(instead), false);
    }

    fn start(
        &self,
        group: &Arc<Group>,
        session: &Arc<Session>,
        requests: Vec<RemotingCommand>,
        otherwise: Otherwise,
        bounced: bool,
    ) {
        let bytes = requests.iter().map(|request| request.body.len() + HEADER_BYTES).sum();
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

    /// Passes on the offsets that wait; what did not reach the leader waits on.
    pub async fn forward_offsets(&self, group: &Group) {
        let _in_order = self.offsets.lock().await;
        let Some(command) = group.offset_commits.drain_with(|command| command) else { return };
        let requests = offset_commits(&command);
        let nobody = ClientIdentity::default();
        let payload = forward_codec::encode_request(group.store_host, &nobody, &requests);
        match self.raft.forward(payload, self.limits.answer).await.map(forward_codec::decode_answer) {
            Ok(Some(Answer::Replies(_))) => {}
            // The leader may have them; clients commit again within seconds.
            Err(ForwardError::Unknown { .. }) | Ok(None) => {}
            Ok(Some(Answer::NotLeader)) | Err(_) => group.offset_commits.put_back(command),
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

/// The one-way requests that a command of waiting offsets came from.
fn offset_commits(command: &Command) -> Vec<RemotingCommand> {
    match command {
        Command::CommitOffsets { commits } => commits.iter().map(offset_commit).collect(),
        _ => Vec::new(),
    }
}

fn offset_commit(commit: &OffsetCommit) -> RemotingCommand {
    RemotingCommand::request(request_code::UPDATE_CONSUMER_OFFSET)
        .with_field("consumerGroup", &commit.group)
        .with_field("topic", &commit.topic)
        .with_field("queueId", commit.queue_id)
        .with_field("commitOffset", commit.offset)
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
    async fn serve(self, requests: Vec<RemotingCommand>, otherwise: Otherwise, bounced: bool) {
        let Waiting { raft, limits, group, session, .. } = &self;
        let clock = group.seams.clock.clone();
        // Counted from the arrival, however often a request comes back here: nothing is proposed long after it came.
        let came = requests.iter().map(|request| request.received_us).filter(|came| *came != 0).min();
        let deadline = came.map_or_else(|| clock.monotonic(), Duration::from_micros) + limits.hold;
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
                Leadership::Following { .. } if !session.is_detached() => match self.forward(&requests).await {
                    Forwarded::Answered => return,
                    Forwarded::Unknown(why) => {
                        let remark = format!("[PC_SYNCHRONIZED]broker busy, no answer from the leader: {why}");
                        give_up(session, &requests, &otherwise, response_code::SYSTEM_ERROR, &remark);
                        return;
                    }
                    Forwarded::NotTaken => {}
                },
                Leadership::Following { .. } | Leadership::Unknown { .. } => {}
            }
        }
    }

    async fn forward(&self, requests: &[RemotingCommand]) -> Forwarded {
        let Waiting { raft, limits, group, session, offsets } = self;
        let about = |code| requests.iter().any(|request| request.code == code);
        let asks_offset = about(request_code::QUERY_CONSUMER_OFFSET);
        let _in_order = match asks_offset || about(request_code::UPDATE_CONSUMER_OFFSET) {
            true => Some(offsets.lock().await),
            false => None,
        };
        forward(raft, limits, group, session, requests, asks_offset).await
    }
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
    requests: &[RemotingCommand],
    asks_offset: bool,
) -> Forwarded {
    group.metrics.forwarded.add(requests.len() as u64);
    // A query must see what one-way commits have said to this member before it.
    let waiting = if asks_offset { group.offset_commits.drain_with(|command| command) } else { None };
    let mut all: Vec<_> = waiting.iter().flat_map(offset_commits).collect();
    all.extend_from_slice(requests);
    let payload: Bytes = forward_codec::encode_request(session.peer(), &session.client(), &all);
    let answer = raft.forward(payload, limits.answer).await;
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
