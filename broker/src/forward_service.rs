//! The leader's side of forwarding: requests of other members' clients, processed as if they had come here.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use raftmq_raft::{ForwardHandler, ForwardReply};
use raftmq_remoting::{RemotingCommand, ReplyBuffer, ReplySink, Session};

use crate::dispatcher;
use crate::forward_codec::{self, ForwardedRequests};
use crate::group::Group;

/// Made before the group that it serves, because the Raft listener needs it at its start.
#[derive(Default)]
pub(crate) struct ForwardService {
    group: OnceLock<Weak<Group>>,
}

impl ForwardService {
    pub(crate) fn set_group(&self, group: &Arc<Group>) {
        // A second call would be a bug of the one place that wires a group; the first group stays.
        let _ = self.group.set(Arc::downgrade(group));
    }
}

impl ForwardHandler for ForwardService {
    fn handle(&self, from_slot: u16, payload: Bytes, reply: ForwardReply) {
        let group = self.group.get().and_then(Weak::upgrade);
        let Some(group) = group.filter(|group| group.replicator.leadership().is_leading()) else {
            reply(forward_codec::encode_not_leader());
            return;
        };
        let Some(ForwardedRequests { peer, client, age, mut requests }) = forward_codec::decode_request(payload) else {
            // Dropping the reply leaves the sender to its deadline: it cannot know what became of its requests.
            tracing::error!(from_slot, "a forwarded request cannot be read; do the members run the same release?");
            return;
        };
        let expected = requests.iter().filter(|request| !request.is_oneway()).count();
        // Nothing is proposed long after it came, whoever it came to.
        let came_us = group.seams.clock.monotonic().saturating_sub(age).as_micros().max(1) as u64;
        for request in &mut requests {
            request.received_us = came_us;
        }
        if expected == 0 {
            let nobody = Arc::new(Collector::new(0, Box::new(|_| {})));
            let session = Session::detached(peer, client, nobody);
            let io = group.io.clone();
            io.spawn(async move {
                dispatcher::process_as_leader(&group, &session, requests);
                // Not sooner: what the sender does next must find these done.
                reply(forward_codec::encode_replies(&[]));
            });
            return;
        }
        let collector = Arc::new(Collector::new(expected, reply));
        let session = Session::detached(peer, client, collector);
        process(group, session, requests);
    }
}

/// Off the Raft runtime, which must not wait for what a client sent.
fn process(group: Arc<Group>, session: Arc<Session>, requests: Vec<RemotingCommand>) {
    let io = group.io.clone();
    io.spawn(async move { dispatcher::process_as_leader(&group, &session, requests) });
}

/// Gathers the answers of one forwarded payload and sends them back together.
struct Collector {
    state: Mutex<Collected>,
}

struct Collected {
    missing: usize,
    frames: BytesMut,
    reply: Option<ForwardReply>,
}

impl Collector {
    fn new(expected: usize, reply: ForwardReply) -> Collector {
        Collector { state: Mutex::new(Collected { missing: expected, frames: BytesMut::new(), reply: Some(reply) }) }
    }
}

impl ReplySink for Collector {
    fn send(&self, replies: ReplyBuffer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.missing = state.missing.saturating_sub(replies.len());
        for segment in replies.into_segments() {
            state.frames.extend_from_slice(&segment);
        }
        if state.missing > 0 {
            return;
        }
        let frames = std::mem::take(&mut state.frames).freeze();
        if let Some(reply) = state.reply.take() {
            drop(state);
            reply(forward_codec::encode_replies(&[frames]));
        }
    }
}
