//! Requests and answers over one link that is opened when needed and shared by all callers.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::handshake::{DialError, Dialer};
use crate::membership::BrokerNode;
use crate::transport::{Link, Message};
use crate::wire::{Body, PeerMessage, Purpose};

/// Calls that wait for the link at one time; more are turned away.
const QUEUED_CALLS: usize = 4096;

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The peer has not seen it.
    #[error("{0}")]
    NotSent(String),
    /// The peer may have seen it.
    #[error("the link broke: {0}")]
    Broken(String),
    /// The peer may have seen it.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl From<DialError> for CallError {
    fn from(error: DialError) -> CallError {
        CallError::NotSent(error.to_string())
    }
}

struct Call {
    body: Body,
    answer: oneshot::Sender<Result<Body, CallError>>,
}

/// Calls one member for one purpose. Clones share the link; it closes with the last of them.
#[derive(Clone)]
pub(crate) struct Caller {
    calls: mpsc::Sender<Call>,
}

impl Caller {
    /// `stale`: an answer that is due for longer than this breaks the link.
    pub(crate) fn new(dialer: Dialer, member: BrokerNode, purpose: Purpose, stale: Duration) -> Caller {
        let (calls, queue) = mpsc::channel(QUEUED_CALLS);
        let runtime = dialer.runtime.clone();
        runtime.spawn(run(dialer, member, purpose, stale, queue));
        Caller { calls }
    }

    pub(crate) async fn call(&self, body: Body, timeout: Duration) -> Result<Body, CallError> {
        let (answer, answered) = oneshot::channel();
        match self.calls.try_send(Call { body, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(CallError::NotSent(format!("{QUEUED_CALLS} calls wait for the link already")));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(CallError::NotSent("stopped".to_owned())),
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Broken("the caller stopped".to_owned())),
            Err(_) => Err(CallError::Timeout(timeout)),
        }
    }
}

async fn run(dialer: Dialer, member: BrokerNode, purpose: Purpose, stale: Duration, mut calls: mpsc::Receiver<Call>) {
    while let Some(first) = calls.recv().await {
        if first.answer.is_closed() {
            continue;
        }
        match dialer.dial_member(&member, purpose).await {
            Ok(link) => Session { link, pending: HashMap::new(), next_id: 1 }.run(first, &mut calls, stale).await,
            Err(error) => {
                tracing::debug!(slot = member.slot, ?purpose, %error, "no link");
                // Those that came while we tried share its failure; whoever comes next tries again.
                let _ = first.answer.send(Err(error.clone().into()));
                while let Ok(call) = calls.try_recv() {
                    let _ = call.answer.send(Err(error.clone().into()));
                }
            }
        }
    }
}

struct Pending {
    answer: oneshot::Sender<Result<Body, CallError>>,
    sent: Instant,
}

/// One link and its unanswered calls.
struct Session {
    link: Link,
    pending: HashMap<u64, Pending>,
    next_id: u64,
}

impl Session {
    /// Returns when the link is broken or nobody calls any more.
    async fn run(mut self, first: Call, calls: &mut mpsc::Receiver<Call>, stale: Duration) {
        let broken = self.serve(first, calls, stale).await;
        for (_, pending) in self.pending.drain() {
            let _ = pending.answer.send(Err(CallError::Broken(broken.clone())));
        }
    }

    async fn serve(&mut self, first: Call, calls: &mut mpsc::Receiver<Call>, stale: Duration) -> String {
        if let Err(broken) = self.send(first).await {
            return broken;
        }
        let mut check = tokio::time::interval(stale / 4);
        loop {
            tokio::select! {
                answer = self.link.incoming.next() => match answer {
                    Some(Ok(Message(PeerMessage { id, body: Some(body) }))) => {
                        if let Some(pending) = self.pending.remove(&id) {
                            // The caller may have given up.
                            let _ = pending.answer.send(Ok(body));
                        }
                    }
                    Some(Ok(_)) => return "malformed answer".to_owned(),
                    Some(Err(error)) => return error.0,
                    None => return "the other end closed it".to_owned(),
                },
                call = calls.recv() => match call {
                    Some(call) => {
                        if let Err(broken) = self.send(call).await {
                            return broken;
                        }
                    }
                    None => return "the caller stopped".to_owned(),
                },
                now = check.tick() => {
                    if self.pending.values().any(|pending| now.duration_since(pending.sent) > stale) {
                        return format!("an answer is due for more than {stale:?}");
                    }
                }
            }
        }
    }

    async fn send(&mut self, call: Call) -> Result<(), String> {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(id, Pending { answer: call.answer, sent: Instant::now() });
        let message = Message(PeerMessage { id, body: Some(call.body) });
        self.link.outgoing.send(message).await.map_err(|_| "the link ended".to_owned())
    }
}
