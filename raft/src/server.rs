//! What a member answers to others: one task per link.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::AppendEntriesRequest;
use raftmq_store::{Frame, FrameHeader};
use raftmq_sys::Spawn;
use tokio::sync::{Notify, mpsc, watch};

use crate::applier::Applier;
use crate::forward::ForwardHandler;
use crate::handshake::{Identity, RefusalLog, Verdict, another_group};
use crate::membership::BrokerNode;
use crate::transport::{Link, Message};
use crate::type_config::{Entry, TypeConfig};
use crate::wire::{self, Body, Hello, PeerMessage, Purpose, Refusal};

pub(crate) type Raft = openraft::Raft<TypeConfig, Applier>;

/// One member as others see it.
pub(crate) struct PeerServer {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: OnceLock<Raft>,
    pub(crate) forward: Arc<dyn ForwardHandler>,
    pub(crate) spawn: Arc<dyn Spawn>,
    /// Told when this member has become part of the group.
    pub(crate) joined: Notify,
    pub(crate) refusals: Arc<RefusalLog>,
    /// True once the group stops: all links end.
    pub(crate) stopping: watch::Sender<bool>,
}

/// Why a link is closed from this end.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// No member of this version sends such a message.
    #[error("{0}")]
    Malformed(String),
    #[error("raft: {0}")]
    Raft(String),
    #[error("the link broke: {0}")]
    Link(String),
}

impl From<wire::Malformed> for ServeError {
    fn from(error: wire::Malformed) -> ServeError {
        ServeError::Malformed(error.to_string())
    }
}

impl PeerServer {
    /// Serves a link until it ends, from its Hello on.
    pub(crate) async fn serve(self: Arc<PeerServer>, hello: Hello, link: Link) {
        let mut stopping = self.stopping.subscribe();
        let slot = hello.from_slot;
        let purpose = hello.purpose();
        tokio::select! {
            result = self.welcome_and_serve(hello, link) => {
                match result {
                    Ok(()) => {}
                    // Members come and go; whoever dialled tries again.
                    Err(error @ ServeError::Link(_)) => tracing::debug!(from = slot, ?purpose, %error, "link closed"),
                    Err(error) => tracing::warn!(from = slot, ?purpose, %error, "link closed"),
                }
            }
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn welcome_and_serve(&self, hello: Hello, link: Link) -> Result<(), ServeError> {
        let members = self.members();
        let known = members.iter().find(|node| u32::from(node.slot) == hello.from_slot);
        let refusal = match self.identity.judge(&hello, known, !members.is_empty()) {
            Verdict::Welcome => None,
            Verdict::Join { founder } => self.join(hello.from_slot, founder).await?,
            Verdict::Refuse(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            self.refusals.note(hello.from_slot, &refusal.reason);
            refuse(&link.outgoing, refusal).await;
            return Ok(());
        }
        answer(&link.outgoing, 0, self.identity.welcome()).await?;
        let Some(raft) = self.raft.get() else { return Ok(()) };
        match hello.purpose() {
            Purpose::Probe => Ok(()),
            Purpose::Append => self.serve_appends(raft, link).await,
            Purpose::Control => self.serve_control(raft, link).await,
            Purpose::Forward => self.serve_forwards(hello.from_slot, link).await,
            Purpose::Unknown => Err(ServeError::Malformed(format!("unknown purpose {}", hello.purpose))),
        }
    }

    /// The members that the effective membership names; none before there is one.
    fn members(&self) -> Vec<BrokerNode> {
        let Some(raft) = self.raft.get() else { return Vec::new() };
        let membership = Arc::clone(&raft.metrics().borrow_watched().membership_config);
        membership.nodes().map(|(_, node)| node.clone()).collect()
    }

    /// Durable before this member votes or takes an entry. Of two groups that call at the same time the first one has
    /// it; the other one gets the refusal.
    async fn join(&self, from: u32, founder: Option<u128>) -> Result<Option<Refusal>, ServeError> {
        let joined = self.identity.durable.update_on(&*self.spawn, move |state| {
            if !state.joined {
                state.joined = true;
                state.founder = founder;
            }
        });
        joined.await.map_err(|error| ServeError::Raft(error.to_string()))?;
        if self.identity.durable.founder() != founder {
            let own = format!("n{} of group {}", self.identity.slot, self.identity.group);
            return Ok(Some(Refusal { reason: another_group(&own, from), replaced: false }));
        }
        self.joined.notify_one();
        Ok(None)
    }

    /// Requests go to openraft as they come, answers back in their order.
    async fn serve_appends(&self, raft: &Raft, link: Link) -> Result<(), ServeError> {
        let Link { outgoing, incoming } = link;
        let (failed, mut failure) = mpsc::channel(1);
        let requests = incoming.scan((), move |(), message| {
            let request = read_append(message);
            let failed = failed.clone();
            Box::pin(async move {
                match request {
                    Ok(request) => Some(request),
                    Err(error) => {
                        // Only the first error counts.
                        let _ = failed.try_send(error);
                        None
                    }
                }
            }) as BoxFuture<'static, Option<AppendEntriesRequest<TypeConfig>>>
        });
        let answers = raft.stream_append(requests);
        let mut answers = std::pin::pin!(answers);
        while let Some(result) = answers.next().await {
            let result = result.map_err(|fatal| ServeError::Raft(fatal.to_string()))?;
            answer(&outgoing, 0, Body::Appended(wire::AppendResponse::from_raft(&result))).await?;
        }
        match failure.try_recv() {
            Ok(error) => Err(error),
            Err(_) => Ok(()),
        }
    }

    /// Each request is served on its own, so that a vote waits for no heartbeat.
    async fn serve_control(&self, raft: &Raft, link: Link) -> Result<(), ServeError> {
        let Link { outgoing, mut incoming } = link;
        while let Some(message) = incoming.next().await {
            let Message(message) = message.map_err(|error| ServeError::Link(error.0))?;
            let body = message.body.ok_or_else(|| ServeError::Malformed("empty message".to_owned()))?;
            let raft = raft.clone();
            let outgoing = outgoing.clone();
            tokio::spawn(async move {
                let served = match serve_request(&raft, body).await {
                    Ok(body) => answer(&outgoing, message.id, body).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "control request");
                }
            });
        }
        Ok(())
    }

    async fn serve_forwards(&self, from: u32, link: Link) -> Result<(), ServeError> {
        let from = u16::try_from(from).map_err(|_| ServeError::Malformed(format!("slot {from}")))?;
        let Link { outgoing, mut incoming } = link;
        // As many replies as the other end lets be unanswered; a reply may come from any thread and must not wait.
        let (replies, mut replied) = mpsc::unbounded_channel::<(u64, Bytes)>();
        loop {
            tokio::select! {
                message = incoming.next() => match message {
                    Some(Ok(Message(PeerMessage { id, body: Some(Body::Forward(payload)) }))) => {
                        let replies = replies.clone();
                        let reply = Box::new(move |payload| {
                            // The link may be gone; then the other end knows that the outcome is unknown.
                            let _ = replies.send((id, payload));
                        });
                        self.forward.handle(from, payload, reply);
                    }
                    Some(Ok(_)) => return Err(ServeError::Malformed("not a forwarded request".to_owned())),
                    Some(Err(error)) => return Err(ServeError::Link(error.0)),
                    None => return Ok(()),
                },
                Some((id, payload)) = replied.recv() => answer(&outgoing, id, Body::Forwarded(payload)).await?,
            }
        }
    }
}

async fn answer(outgoing: &mpsc::Sender<Message>, id: u64, body: Body) -> Result<(), ServeError> {
    let message = Message(PeerMessage { id, body: Some(body) });
    outgoing.send(message).await.map_err(|_| ServeError::Link("the other end closed it".to_owned()))
}

pub(crate) async fn refuse(outgoing: &mpsc::Sender<Message>, refusal: Refusal) {
    // The other end may be gone already.
    let _ = answer(outgoing, 0, Body::Refusal(refusal)).await;
}

async fn serve_request(raft: &Raft, body: Body) -> Result<Body, ServeError> {
    let fatal = |error: &dyn std::fmt::Display| ServeError::Raft(error.to_string());
    match body {
        Body::Append(request) => {
            let request = append_request(request)?;
            let (previous, last) = (request.prev_log_id, request.entries.last().map(|entry| entry.id));
            let response = raft.append_entries(request).await.map_err(|error| fatal(&error))?;
            let last = last.or(previous);
            let result = response.into_stream_result(previous, last);
            Ok(Body::Appended(wire::AppendResponse::from_raft(&result)))
        }
        Body::Vote(request) => {
            let pre_vote = request.pre_vote;
            let request = request.to_raft()?;
            let response = if pre_vote { raft.pre_vote(request).await } else { raft.vote(request).await };
            Ok(Body::Voted(wire::VoteResponse::from_raft(&response.map_err(|error| fatal(&error))?)))
        }
        Body::Transfer(request) => {
            let accepted = raft.handle_transfer_leader(request.to_raft()?).await.map_err(|error| fatal(&error))?;
            let refusal = accepted.err().map(|error| error.to_string()).unwrap_or_default();
            Ok(Body::Transferred(wire::TransferResponse { refusal }))
        }
        _ => Err(ServeError::Malformed("not a control request".to_owned())),
    }
}

fn read_append(
    message: Result<Message, crate::transport::LinkError>,
) -> Result<AppendEntriesRequest<TypeConfig>, ServeError> {
    let Message(message) = message.map_err(|error| ServeError::Link(error.0))?;
    match message.body {
        Some(Body::Append(request)) => append_request(request),
        _ => Err(ServeError::Malformed("not an append".to_owned())),
    }
}

fn append_request(request: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, ServeError> {
    let vote = request.vote.ok_or(wire::Malformed("no vote"))?;
    Ok(AppendEntriesRequest {
        vote: vote.to_raft(),
        prev_log_id: request.previous.map(wire::LogId::to_raft),
        leader_commit: request.committed.map(wire::LogId::to_raft),
        entries: split_frames(&request.frames)?,
    })
}

/// Cuts a run of frames; every CRC is checked here, so that a flip on the way closes the stream and does no more.
fn split_frames(run: &Bytes) -> Result<Vec<Entry>, ServeError> {
    let malformed = |at: usize, what: &str| ServeError::Malformed(format!("frame at byte {at} of an append: {what}"));
    let mut entries = Vec::new();
    let mut at = 0;
    while at < run.len() {
        let header = FrameHeader::decode(&run[at..]).ok_or_else(|| malformed(at, "no frame header"))?;
        let end = at + header.frame_len();
        if end > run.len() {
            return Err(malformed(at, "is cut short"));
        }
        let frame = Frame { header, bytes: run.slice(at..end) };
        if crc32c::crc32c(&frame.body()) != header.body_crc {
            return Err(malformed(at, "the body does not match its CRC"));
        }
        entries.push(Entry::of_frame(frame).map_err(|error| malformed(at, &error.to_string()))?);
        at = end;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use raftmq_model::offset::PhysicalOffset;
    use raftmq_store::{FrameId, FrameKind};

    use super::*;
    use crate::handshake::tests::identity;

    fn frame(index: u64, body: &[u8]) -> Vec<u8> {
        let mut header = FrameHeader {
            kind: FrameKind::Data,
            id: FrameId { term: 1, leader: 0, index },
            record_count: 1,
            physical_offset: PhysicalOffset(0),
            prev_header_crc: 0,
            body_crc: crc32c::crc32c(body),
            body_len: body.len() as u32,
            header_crc: 0,
        };
        [header.encode().as_slice(), body].concat()
    }

    #[test]
    fn a_run_of_frames_is_cut_where_it_was_joined() {
        let run = Bytes::from([frame(4, b"four"), frame(5, b""), frame(6, b"six")].concat());
        let entries = split_frames(&run).unwrap();
        let indexes: Vec<u64> = entries.iter().map(|entry| entry.id.index).collect();
        assert_eq!(indexes, [4, 5, 6]);
    }

    #[test]
    fn any_flip_and_any_cut_is_noticed() {
        let run = frame(4, b"four");
        for at in 0..run.len() {
            let mut flipped = run.clone();
            flipped[at] ^= 0x10;
            assert!(split_frames(&Bytes::from(flipped)).is_err(), "flip at {at}");
            if at > 0 {
                assert!(split_frames(&Bytes::copy_from_slice(&run[..at])).is_err(), "cut at {at}");
            }
        }
    }

    struct NoForwards;

    impl ForwardHandler for NoForwards {
        fn handle(&self, _from_slot: u16, _payload: Bytes, _reply: crate::forward::ForwardReply) {}
    }

    /// What member 1 answers to the first message of a link from a member of slot 0.
    async fn answer_to(server: &Arc<PeerServer>, caller: &Identity) -> Body {
        let (outgoing, mut answers) = mpsc::channel(1);
        let link = Link { outgoing, incoming: Box::pin(futures::stream::pending()) };
        let hello = caller.hello(1, Some(101), Purpose::Control);
        Arc::clone(server).serve(hello, link).await;
        answers.recv().await.unwrap().0.body.unwrap()
    }

    #[tokio::test]
    async fn of_two_groups_that_call_at_once_a_member_joins_one() {
        let callers = [100, 200].map(|incarnation| {
            let (directory, caller) = identity(0, incarnation, true);
            caller.durable.update(|state| state.founder = Some(incarnation)).unwrap();
            (directory, caller)
        });
        let (_directory, own) = identity(1, 101, false);
        let server = Arc::new(PeerServer {
            identity: Arc::new(own),
            raft: OnceLock::new(),
            forward: Arc::new(NoForwards),
            spawn: Arc::new(raftmq_sys::RealSpawn),
            joined: Notify::new(),
            refusals: Arc::default(),
            stopping: watch::Sender::new(false),
        });
        let answers = tokio::join!(answer_to(&server, &callers[0].1), answer_to(&server, &callers[1].1));
        let founder = server.identity.durable.founder().unwrap();
        for (answer, (_, caller)) in [answers.0, answers.1].into_iter().zip(&callers) {
            match answer {
                Body::Welcome(_) => assert_eq!(caller.incarnation, founder),
                Body::Refusal(refusal) => {
                    assert_ne!(caller.incarnation, founder);
                    assert!(refusal.reason.contains("two groups of this name"), "{}", refusal.reason);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
