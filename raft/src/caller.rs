//! Requests and answers over one link that is opened when needed and shared by all callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use raftmq_sys::metrics::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::handshake::{DialError, Dialer};
use crate::membership::BrokerNode;
use crate::transport::{Link, Message};
use crate::wire::{Body, PeerMessage, Purpose};

/// Calls to one member that are not answered yet, on their way included; more are turned away.
pub(crate) const UNANSWERED_CALLS: usize = 4096;
/// Payload of those calls; more is turned away, unless it is a single call that is larger.
pub(crate) const UNANSWERED_BYTES: usize = 64 << 20;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The peer has not seen it.
    #[error(
        "{calls} calls of {bytes} bytes are not answered yet, one of {size_bytes} bytes is too many \
         (limits: {UNANSWERED_CALLS} calls, {UNANSWERED_BYTES} bytes)"
    )]
    Full { calls: usize, bytes: usize, size_bytes: usize },
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
    place: Place,
}

/// Counts what is not answered yet.
#[derive(Default)]
struct Unanswered {
    calls: usize,
    bytes: usize,
}

/// Counts for one call from its coming until it is answered or has failed.
struct Place {
    unanswered: Arc<Mutex<Unanswered>>,
    bytes: usize,
}

fn lock(unanswered: &Mutex<Unanswered>) -> MutexGuard<'_, Unanswered> {
    unanswered.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn take(unanswered: &Arc<Mutex<Unanswered>>, bytes: usize) -> Result<Place, CallError> {
        let mut taken = lock(unanswered);
        if taken.calls > 0 && (taken.calls >= UNANSWERED_CALLS || taken.bytes + bytes > UNANSWERED_BYTES) {
            return Err(CallError::Full { calls: taken.calls, bytes: taken.bytes, size_bytes: bytes });
        }
        taken.calls += 1;
        taken.bytes += bytes;
        Ok(Place { unanswered: Arc::clone(unanswered), bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.unanswered);
        taken.calls -= 1;
        taken.bytes -= self.bytes;
    }
}

/// The bytes that make a call large; all other kinds are small.
fn payload_bytes(body: &Body) -> usize {
    match body {
        Body::Forward(payload) => payload.len(),
        Body::Append(request) => request.frames.len(),
        _ => 0,
    }
}

/// Calls one member for one purpose. Clones share the link; it closes with the last of them.
#[derive(Clone)]
pub(crate) struct Caller {
    calls: mpsc::UnboundedSender<Call>,
    unanswered: Arc<Mutex<Unanswered>>,
    turned_away: Counter,
}

impl Caller {
    /// `stale`: an answer that is due for longer than this breaks the link. `turned_away` counts the calls for which
    /// there was no room.
    pub(crate) fn new(
        dialer: Dialer,
        member: BrokerNode,
        purpose: Purpose,
        stale: Duration,
        turned_away: Counter,
    ) -> Caller {
        // Bounded by the places.
        let (calls, queue) = mpsc::unbounded_channel();
        let runtime = dialer.runtime.clone();
        runtime.spawn(run(dialer, member, purpose, stale, queue));
        Caller { calls, unanswered: Arc::default(), turned_away }
    }

    pub(crate) async fn call(&self, body: Body, timeout: Duration) -> Result<Body, CallError> {
        let place = match Place::take(&self.unanswered, payload_bytes(&body)) {
            Ok(place) => place,
            Err(full) => {
                self.turned_away.add(1);
                return Err(full);
            }
        };
        let (answer, answered) = oneshot::channel();
        if self.calls.send(Call { body, answer, place }).is_err() {
            return Err(CallError::NotSent("stopped".to_owned()));
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Broken("the caller stopped".to_owned())),
            Err(_) => Err(CallError::Timeout(timeout)),
        }
    }
}

async fn run(
    dialer: Dialer,
    member: BrokerNode,
    purpose: Purpose,
    stale: Duration,
    mut calls: mpsc::UnboundedReceiver<Call>,
) {
    while let Some(first) = calls.recv().await {
        if first.answer.is_closed() {
            continue;
        }
        match dialer.dial_member(&member, purpose).await {
            Ok(link) => Session::new(link, first).run(&mut calls, stale).await,
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
    /// Given up with the answer.
    _place: Place,
}

/// One link and its unanswered calls.
struct Session {
    link: Link,
    /// The next call to go out.
    waiting: Option<Call>,
    pending: HashMap<u64, Pending>,
    next_id: u64,
}

impl Session {
    fn new(link: Link, first: Call) -> Session {
        Session { link, waiting: Some(first), pending: HashMap::new(), next_id: 1 }
    }

    /// Returns when the link is broken or nobody calls any more.
    async fn run(mut self, calls: &mut mpsc::UnboundedReceiver<Call>, stale: Duration) {
        let broken = self.serve(calls, stale).await;
        if let Some(call) = self.waiting.take() {
            // The caller may have given up; so may those below.
            let _ = call.answer.send(Err(CallError::NotSent(broken.clone())));
        }
        for (_, pending) in self.pending.drain() {
            let _ = pending.answer.send(Err(CallError::Broken(broken.clone())));
        }
    }

    /// Never waits for room on the link without reading answers: the other end may not read before its answers have
    /// gone out.
    async fn serve(&mut self, calls: &mut mpsc::UnboundedReceiver<Call>, stale: Duration) -> String {
        let outgoing = self.link.outgoing.clone();
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
                room = outgoing.reserve(), if self.waiting.is_some() => match room {
                    Ok(room) => {
                        if let Some(call) = self.waiting.take() {
                            room.send(self.message(call));
                        }
                    }
                    Err(_) => return "the link ended".to_owned(),
                },
                call = calls.recv(), if self.waiting.is_none() => match call {
                    // Whoever has given up need not be asked for.
                    Some(call) => self.waiting = Some(call).filter(|call| !call.answer.is_closed()),
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

    fn message(&mut self, call: Call) -> Message {
        let id = self.next_id;
        self.next_id += 1;
        self.pending.insert(id, Pending { answer: call.answer, sent: Instant::now(), _place: call.place });
        Message(PeerMessage { id, body: Some(call.body) })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use raftmq_sys::metrics::Registry;
    use tokio::runtime::Handle;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::handshake::RefusalLog;
    use crate::handshake::tests::identity;
    use crate::transport::{Acceptor, LinkError, Listening, Transport};

    const A_MINUTE: Duration = Duration::from_secs(60);

    /// What the test plays: the other end of the link, of which either way holds one message.
    struct Peer {
        requests: mpsc::Receiver<Message>,
        answers: mpsc::Sender<Result<Message, LinkError>>,
    }

    impl Peer {
        async fn request(&mut self) -> PeerMessage {
            self.requests.recv().await.unwrap().0
        }

        async fn answer(&self, id: u64, body: Body) {
            self.answers.send(Ok(Message(PeerMessage { id, body: Some(body) }))).await.unwrap();
        }
    }

    struct Line(Mutex<Option<Link>>);

    impl Transport for Line {
        fn connect(&self, _address: &str) -> BoxFuture<'static, Result<Link, LinkError>> {
            let link = self.0.lock().unwrap().take();
            Box::pin(async move { link.ok_or_else(|| LinkError("one link only".to_owned())) })
        }

        fn listen(&self, _: &str, _: Arc<dyn Acceptor>) -> BoxFuture<'static, io::Result<Box<dyn Listening>>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }
    }

    /// A caller and the member that it calls.
    fn caller(turned_away: Counter) -> (Caller, Peer) {
        let (outgoing, requests) = mpsc::channel(1);
        let (answers, incoming) = mpsc::channel(1);
        let link = Link { outgoing, incoming: Box::pin(ReceiverStream::new(incoming)) };
        let (_directory, identity) = identity(0, 100, true);
        let dialer = Dialer {
            transport: Arc::new(Line(Mutex::new(Some(link)))),
            identity: Arc::new(identity),
            runtime: Handle::current(),
            refusals: Arc::new(RefusalLog::default()),
        };
        let member = BrokerNode { incarnation: 101, address: String::new(), slot: 1 };
        (Caller::new(dialer, member, Purpose::Forward, A_MINUTE, turned_away), Peer { requests, answers })
    }

    fn forward(bytes: &Bytes) -> Body {
        Body::Forward(bytes.clone())
    }

    async fn welcome(peer: &mut Peer) {
        assert!(matches!(peer.request().await.body, Some(Body::Hello(_))));
        peer.answer(0, identity(1, 101, true).1.welcome()).await;
    }

    #[tokio::test]
    async fn unanswered_calls_are_bounded_in_bytes_and_number() {
        let registry = Registry::default();
        let turned_away = registry.counter("turned_away_total", "", &[]);
        let (caller, mut peer) = caller(turned_away.clone());
        let large = Bytes::from(vec![0; 1 << 20]);
        let mut calls: Vec<_> = (0..64).map(|_| Box::pin(caller.call(forward(&large), A_MINUTE))).collect();
        assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
        let error = caller.call(forward(&large), A_MINUTE).now_or_never().unwrap().unwrap_err();
        assert_eq!(error, CallError::Full { calls: 64, bytes: 64 << 20, size_bytes: 1 << 20 });
        assert!(error.to_string().contains("limits: 4096 calls, 67108864 bytes"), "{error}");
        assert_eq!(turned_away.get(), 1);

        // One without payload still goes; an answer makes room for another large one.
        let mut small = Box::pin(caller.call(forward(&Bytes::new()), A_MINUTE));
        assert!((&mut small).now_or_never().is_none());
        welcome(&mut peer).await;
        let first = peer.request().await;
        peer.answer(first.id, Body::Forwarded(Bytes::new())).await;
        assert!(calls.remove(0).await.is_ok());
        let mut next = Box::pin(caller.call(forward(&large), A_MINUTE));
        assert!((&mut next).now_or_never().is_none());

        // A broken link answers them all, and then there is room for many, but not for any number.
        drop(peer);
        for call in calls {
            assert!(call.await.is_err());
        }
        assert!(next.await.is_err() && small.await.is_err());
        let empty = Bytes::new();
        let mut many: Vec<_> =
            (0..=UNANSWERED_CALLS).map(|_| Box::pin(caller.call(forward(&empty), A_MINUTE))).collect();
        let full = many.iter_mut().filter_map(|call| call.now_or_never()).collect::<Vec<_>>();
        assert_eq!(full, [Err(CallError::Full { calls: UNANSWERED_CALLS, bytes: 0, size_bytes: 0 })]);
    }

    /// The other end does not read on before its answers are taken.
    #[tokio::test]
    async fn answers_are_read_while_the_link_has_no_room() {
        let (caller, mut peer) = caller(Counter::default());
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let caller = caller.clone();
                tokio::spawn(async move { caller.call(forward(&Bytes::new()), A_MINUTE).await })
            })
            .collect();
        welcome(&mut peer).await;
        let serving = async {
            let first = peer.request().await;
            // To nobody, but they fill the way back.
            for stranger in 1000..1010 {
                peer.answer(stranger, Body::Forwarded(Bytes::new())).await;
            }
            peer.answer(first.id, Body::Forwarded(Bytes::new())).await;
            for _ in 1..8 {
                let next = peer.request().await;
                peer.answer(next.id, Body::Forwarded(Bytes::new())).await;
            }
        };
        tokio::time::timeout(A_MINUTE, serving).await.expect("both ends wait for each other");
        for call in calls {
            assert!(call.await.unwrap().is_ok());
        }
    }
}
