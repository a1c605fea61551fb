use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use raftmq_sys::Clock;
use tokio::sync::{Notify, oneshot};

use crate::codec::Codec;
use crate::command::RemotingCommand;
use crate::language::Language;
use crate::metrics::Metrics;
use crate::outbound::{Outbound, SendError};
use crate::reply::ReplyBuffer;

/// Requests that may wait for their answers on one connection.
const MAX_PENDING: usize = 65_536;

/// Who is at the other end, as its heartbeats say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    pub language: Language,
    /// Ordinal of RocketMQ's `MQVersion`; 0 before the first heartbeat.
    pub version: i32,
    /// Empty before the first heartbeat.
    pub client_id: String,
}

/// Where the answers of a [`Session::detached`] session go.
///
/// `send` is called from any thread and must not block; every answer must reach the one who asked, or that one must
/// run into its own time limit.
pub trait ReplySink: Send + Sync + 'static {
    fn send(&self, replies: ReplyBuffer);

    /// Whether nobody waits for answers any more.
    fn is_closed(&self) -> bool {
        false
    }
}

/// One connection as its users see it: where requests came from and where answers go.
///
/// Outlives the socket; sending to a closed session does nothing.
pub struct Session {
    id: u64,
    peer: SocketAddr,
    client: RwLock<Arc<ClientIdentity>>,
    closed: AtomicBool,
    on_close: Notify,
    link: Link,
}

enum Link {
    Socket(Box<SocketLink>),
    Detached(Arc<dyn ReplySink>),
}

struct SocketLink {
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Requests of ours always go out in JSON if the other end is a client: the C++ one reads nothing else.
    json_requests: bool,
    next_opaque: AtomicI32,
    pending: Mutex<HashMap<i32, oneshot::Sender<RemotingCommand>>>,
    /// Requests read and not answered yet.
    unanswered: AtomicI64,
    /// Microseconds of `clock`.
    last_active_us: AtomicU64,
    /// When the frame that has not come whole began to come; 0 if there is none.
    unfinished_since_us: AtomicU64,
    reading_stopped: AtomicBool,
}

/// Why a request of ours has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// Nothing was written: the request has no effect.
    #[error("connection to {peer} is closed; the request was not sent")]
    NotSent { peer: SocketAddr },
    /// Some or all of the request was written before the connection was lost: it may have had its effect.
    #[error("connection to {peer} was lost while waiting for the answer")]
    Lost { peer: SocketAddr },
    /// It may still take effect if `written`.
    #[error("no answer from {peer} within {} ms", timeout.as_millis())]
    Timeout { peer: SocketAddr, timeout: Duration, written: bool },
    #[error("{limit} requests already wait for answers from {peer}")]
    TooManyPending { peer: SocketAddr, limit: usize },
    #[error("the session of {peer} was forwarded by another member and cannot be asked")]
    Detached { peer: SocketAddr },
}

impl InvokeError {
    /// Whether the request may have been, or may yet be, carried out.
    pub fn effect_is_unknown(&self) -> bool {
        match self {
            InvokeError::Lost { .. } => true,
            InvokeError::Timeout { written, .. } => *written,
            InvokeError::NotSent { .. } | InvokeError::TooManyPending { .. } | InvokeError::Detached { .. } => false,
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Session {
    pub(crate) fn connected(
        peer: SocketAddr,
        outbound: Outbound,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        json_requests: bool,
    ) -> Arc<Session> {
        let last_active_us = AtomicU64::new(micros(clock.as_ref()));
        let link = SocketLink {
            outbound,
            clock,
            metrics,
            json_requests,
            next_opaque: AtomicI32::new(1),
            pending: Mutex::default(),
            unanswered: AtomicI64::new(0),
            last_active_us,
            unfinished_since_us: AtomicU64::new(0),
            reading_stopped: AtomicBool::new(false),
        };
        Session::new(peer, ClientIdentity::default(), Link::Socket(Box::new(link)))
    }

    /// A session for requests that another member forwarded on behalf of its client; answers go to `sink`.
    pub fn detached(peer: SocketAddr, client: ClientIdentity, sink: Arc<dyn ReplySink>) -> Arc<Session> {
        Session::new(peer, client, Link::Detached(sink))
    }

    fn new(peer: SocketAddr, client: ClientIdentity, link: Link) -> Arc<Session> {
        Arc::new(Session {
            id: next_id(),
            peer,
            client: RwLock::new(Arc::new(client)),
            closed: AtomicBool::new(false),
            on_close: Notify::new(),
            link,
        })
    }

    /// Whether its requests came by way of another member, see [`Session::detached`].
    pub fn is_detached(&self) -> bool {
        matches!(self.link, Link::Detached(_))
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub fn client(&self) -> Arc<ClientIdentity> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a heartbeat told.
    pub fn set_client(&self, client: ClientIdentity) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(client);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
            || match &self.link {
                Link::Socket(_) => false,
                Link::Detached(sink) => sink.is_closed(),
            }
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        loop {
            let notified = self.on_close.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// Ends the connection: what is queued is dropped, who waits for an answer fails.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Link::Socket(link) = &self.link {
            link.outbound.close();
            link.pending().clear();
        }
        self.on_close.notify_waiters();
    }

    /// Sends answers, from any thread: to the socket at once if nothing waits, the rest by the connection's task.
    /// When more than the server's limit waits already, the connection is closed with a log line.
    pub fn send(&self, replies: ReplyBuffer) {
        if replies.is_empty() {
            return;
        }
        let link = match &self.link {
            Link::Socket(link) => link,
            Link::Detached(sink) => return sink.send(replies),
        };
        let (segments, answered) = replies.into_parts();
        let now_us = micros(link.clock.as_ref());
        link.metrics.answered(&answered, now_us);
        link.unanswered.fetch_sub(answered.len() as i64, Ordering::Relaxed);
        match link.outbound.send(segments) {
            Ok(_) => link.last_active_us.store(now_us, Ordering::Relaxed),
            Err(error) => self.fail(error),
        }
    }

    /// Sends a request that nobody answers; lost if the connection ends.
    pub fn oneway(&self, request: RemotingCommand) {
        match &self.link {
            Link::Socket(link) => {
                let _ = self.send_request(link, request.with_oneway());
            }
            Link::Detached(_) => tracing::debug!(peer = %self.peer, "a forwarded session takes no requests"),
        }
    }

    /// Asks the other end and waits for its answer.
    pub async fn invoke(&self, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, InvokeError> {
        let peer = self.peer;
        let Link::Socket(link) = &self.link else { return Err(InvokeError::Detached { peer }) };
        let (answer, answered) = oneshot::channel();
        let opaque = link.next_opaque.fetch_add(1, Ordering::Relaxed);
        {
            let mut pending = link.pending();
            if pending.len() >= MAX_PENDING {
                return Err(InvokeError::TooManyPending { peer, limit: MAX_PENDING });
            }
            pending.insert(opaque, answer);
        }
        // Also when the caller stops waiting.
        let _forget = ForgetPending { link, opaque };
        let start = self.send_request(link, RemotingCommand { opaque, ..request })?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if link.outbound.has_written_past(start) => Err(InvokeError::Lost { peer }),
            Ok(Err(_)) => Err(InvokeError::NotSent { peer }),
            Err(_) => Err(InvokeError::Timeout { peer, timeout, written: link.outbound.has_written_past(start) }),
        }
    }

    /// Like [`Session::oneway`], and says whether the connection took it.
    pub(crate) fn try_oneway(&self, request: RemotingCommand) -> Result<(), InvokeError> {
        match &self.link {
            Link::Socket(link) => self.send_request(link, request.with_oneway()).map(drop),
            Link::Detached(_) => Err(InvokeError::Detached { peer: self.peer }),
        }
    }

    /// Returns the position in the stream where the request starts.
    fn send_request(&self, link: &SocketLink, mut request: RemotingCommand) -> Result<u64, InvokeError> {
        if link.json_requests {
            request.codec = Codec::Json;
        }
        link.outbound.send([request.to_bytes()]).map_err(|error| {
            let lost = matches!(error, SendError::Io(_));
            self.fail(error);
            // A failed write may have taken a part of it.
            if lost { InvokeError::Lost { peer: self.peer } } else { InvokeError::NotSent { peer: self.peer } }
        })
    }

    fn fail(&self, error: SendError) {
        match &error {
            SendError::Closed => {}
            SendError::Overflow { .. } => tracing::warn!(peer = %self.peer, %error, "connection closed"),
            SendError::Io(_) => tracing::debug!(peer = %self.peer, %error, "connection closed"),
        }
        self.close();
    }
}

/// For the connection's task and the server.
impl Session {
    fn socket(&self) -> Option<&SocketLink> {
        match &self.link {
            Link::Socket(link) => Some(link),
            Link::Detached(_) => None,
        }
    }

    pub(crate) fn outbound(&self) -> Option<&Outbound> {
        self.socket().map(|link| &link.outbound)
    }

    /// Writes what waits.
    pub(crate) fn flush(&self) {
        let Some(link) = self.socket() else { return };
        match link.outbound.flush() {
            Ok(()) => link.last_active_us.store(micros(link.clock.as_ref()), Ordering::Relaxed),
            Err(error) => self.fail(error),
        }
    }

    /// Something was read, and so many of its requests want answers.
    pub(crate) fn note_read(&self, now_us: u64, to_answer: usize) {
        let Some(link) = self.socket() else { return };
        link.last_active_us.store(now_us, Ordering::Relaxed);
        link.unanswered.fetch_add(to_answer as i64, Ordering::Relaxed);
    }

    /// So much has come of a frame that is not whole; `is_new`: another frame ended in this read.
    pub(crate) fn note_unfinished(&self, now_us: u64, bytes: usize, is_new: bool) {
        let Some(link) = self.socket() else { return };
        let since = &link.unfinished_since_us;
        if bytes == 0 {
            since.store(0, Ordering::Relaxed);
        } else if is_new || since.load(Ordering::Relaxed) == 0 {
            since.store(now_us, Ordering::Relaxed);
        }
    }

    /// Since when a frame has been coming; `None` if none has begun.
    pub(crate) fn unfinished_since_us(&self) -> Option<u64> {
        let since = self.socket()?.unfinished_since_us.load(Ordering::Relaxed);
        (since != 0).then_some(since)
    }

    /// Gives an answer to who waits for it; late ones are dropped.
    pub(crate) fn complete(&self, answer: RemotingCommand) {
        let Some(link) = self.socket() else { return };
        let waiting = link.pending().remove(&answer.opaque);
        if let Some(waiting) = waiting {
            // Who asked may have stopped waiting.
            let _ = waiting.send(answer);
        }
    }

    pub(crate) fn last_active_us(&self) -> u64 {
        self.socket().map_or(u64::MAX, |link| link.last_active_us.load(Ordering::Relaxed))
    }

    /// Reads no further requests; the server is about to stop.
    pub(crate) fn stop_reading(&self) {
        if let Some(link) = self.socket() {
            link.reading_stopped.store(true, Ordering::Relaxed);
            link.outbound.wake.notify_one();
        }
    }

    pub(crate) fn reads(&self) -> bool {
        self.socket().is_some_and(|link| !link.reading_stopped.load(Ordering::Relaxed))
    }

    /// Everything that was asked is answered and written.
    pub(crate) fn is_drained(&self) -> bool {
        self.socket()
            .is_none_or(|link| link.unanswered.load(Ordering::Relaxed) <= 0 && link.outbound.queued_bytes() == 0)
    }
}

impl SocketLink {
    fn pending(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<RemotingCommand>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct ForgetPending<'a> {
    link: &'a SocketLink,
    opaque: i32,
}

impl Drop for ForgetPending<'_> {
    fn drop(&mut self) {
        self.link.pending().remove(&self.opaque);
    }
}

pub(crate) fn micros(clock: &dyn Clock) -> u64 {
    clock.monotonic().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response_code;

    #[derive(Default)]
    struct Kept(Mutex<usize>);

    impl ReplySink for Kept {
        fn send(&self, replies: ReplyBuffer) {
            *self.0.lock().unwrap() += replies.len();
        }
    }

    #[tokio::test]
    async fn a_detached_session_gives_its_answers_to_the_sink() {
        let kept = Arc::new(Kept::default());
        let peer = "10.0.0.1:5000".parse().unwrap();
        let client = ClientIdentity { client_id: "c".to_owned(), ..ClientIdentity::default() };
        let session = Session::detached(peer, client, Arc::clone(&kept) as _);
        assert_eq!((session.peer(), session.client().client_id.as_str()), (peer, "c"));
        let mut replies = ReplyBuffer::new();
        replies.push(RemotingCommand::request(14).meta(), response_code::SUCCESS, None, &[], b"");
        session.send(replies);
        assert_eq!(*kept.0.lock().unwrap(), 1);
        let asked = session.invoke(RemotingCommand::request(307), Duration::from_secs(1)).await;
        assert_eq!(asked, Err(InvokeError::Detached { peer }));
        session.close();
        session.closed().await;
        assert!(session.is_closed());
    }
}
