//! openraft's network over links: a stream of its own for the log frames to each follower, and one shared link per
//! member for heartbeats, votes and the transfer of leadership.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use raftmq_sys::metrics::Counter;
use tokio::time::Instant;

use crate::caller::{CallError, Caller};
use crate::handshake::Dialer;
use crate::membership::BrokerNode;
use crate::transport::{Link, Message};
use crate::type_config::{LogId, Payload, TypeConfig, Vote};
use crate::wire::{self, Body, PeerMessage, Purpose};

/// Appends on their way to one follower, bounded by number (openraft's own bound at the receiver) and bytes.
const IN_FLIGHT_APPENDS: usize = 64;
const IN_FLIGHT_BYTES: usize = 16 << 20;

type RpcError = RPCError<TypeConfig>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, Bytes>;

fn unreachable(error: &impl std::fmt::Display) -> RpcError {
    RPCError::Unreachable(Unreachable::from_string(error))
}

fn network(error: &impl std::fmt::Display) -> RpcError {
    RPCError::Network(NetworkError::from_string(error))
}

impl From<CallError> for RpcError {
    fn from(error: CallError) -> RpcError {
        match error {
            CallError::NotSent(_) | CallError::Full { .. } => unreachable(&error),
            CallError::Broken(_) | CallError::Timeout(_) => network(&error),
        }
    }
}

/// The control callers of a group, by slot.
pub(crate) struct Callers {
    dialer: Dialer,
    purpose: Purpose,
    stale: Duration,
    turned_away: Counter,
    callers: Mutex<HashMap<u16, (BrokerNode, Caller)>>,
}

impl Callers {
    pub(crate) fn new(dialer: Dialer, purpose: Purpose, stale: Duration, turned_away: Counter) -> Callers {
        Callers { dialer, purpose, stale, turned_away, callers: Mutex::new(HashMap::new()) }
    }

    /// Never connects. A member that moved or was replaced gets a new caller.
    pub(crate) fn caller(&self, member: &BrokerNode) -> Caller {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, caller)) = callers.get(&member.slot)
            && known == member
        {
            return caller.clone();
        }
        let turned_away = self.turned_away.clone();
        let caller = Caller::new(self.dialer.clone(), member.clone(), self.purpose, self.stale, turned_away);
        callers.insert(member.slot, (member.clone(), caller.clone()));
        caller
    }
}

/// Makes openraft's clients.
pub(crate) struct NetworkFactory {
    pub(crate) dialer: Dialer,
    pub(crate) control: Arc<Callers>,
    pub(crate) response_deadline: Duration,
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, _target: u64, node: &BrokerNode) -> Network {
        Network {
            dialer: self.dialer.clone(),
            control: self.control.caller(node),
            member: node.clone(),
            response_deadline: self.response_deadline,
            heartbeats: false,
            link: None,
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BrokerNode) -> Network {
        let mut network = self.new_client(target, node).await;
        network.heartbeats = true;
        network
    }
}

/// openraft's client to one member.
pub(crate) struct Network {
    dialer: Dialer,
    control: Caller,
    member: BrokerNode,
    response_deadline: Duration,
    /// Appends of this client are heartbeats and go over the control link, where nothing holds them up.
    heartbeats: bool,
    /// The stream of log frames, kept between openraft's sessions while nothing on it is unanswered.
    link: Option<Link>,
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let result = self.call_append(request, &option).await?;
        Ok(match result {
            // Without entries, or with all of them taken: what matched is the last entry of the request.
            Ok(_) => AppendEntriesResponse::Success,
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.heartbeats {
            return Box::pin(async move { Ok(self.stream_heartbeats(input, option)) });
        }
        Box::pin(async move {
            let link = match self.link.take() {
                Some(link) => link,
                None => {
                    let dialed = self.dialer.dial_member(&self.member, Purpose::Append).await;
                    dialed.map_err(|error| unreachable(&error))?
                }
            };
            let pipeline = Pipeline {
                kept: &mut self.link,
                link,
                input: Some(input),
                in_flight: VecDeque::new(),
                in_flight_bytes: 0,
                deadline: self.response_deadline,
            };
            let answers = stream::unfold(Some(pipeline), |pipeline| async move {
                let mut pipeline = pipeline?;
                match pipeline.next().await {
                    Some(Ok(result)) => Some((Ok(result), Some(pipeline))),
                    Some(Err(error)) => Some((Err(error), None)),
                    None => {
                        pipeline.keep();
                        None
                    }
                }
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.call_vote(&request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.call_vote(&request, true, &option).await
    }

    /// The log is never purged, so openraft has no reason to send a snapshot instead of entries; a member that lost
    /// its log is refused and must be added as a new one.
    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let reason = format!("n{} lacks entries that are gone here; snapshots are not sent", self.member.slot);
        Err(StreamingError::Unreachable(Unreachable::from_string(reason)))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let body = Body::Transfer(wire::TransferRequest::from_raft(&request));
        match self.control.call(body, option.hard_ttl()).await? {
            Body::Transferred(answer) if answer.refusal.is_empty() => Ok(Ok(())),
            Body::Transferred(answer) => {
                tracing::info!(slot = self.member.slot, reason = answer.refusal, "transfer of leadership refused");
                Ok(Err(TransferLeaderError::LogNotFlushed { expected: request.last_log_id().cloned(), actual: None }))
            }
            _ => Err(network(&"not the answer to a transfer")),
        }
    }
}

impl Network {
    async fn call_vote(
        &mut self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let body = Body::Vote(wire::VoteRequest::from_raft(request, pre_vote));
        match self.control.call(body, option.hard_ttl()).await? {
            Body::Voted(response) => response.to_raft().map_err(|error| network(&error)),
            _ => Err(network(&"not the answer to a vote")),
        }
    }

    async fn call_append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        option: &RPCOption,
    ) -> Result<StreamAppendResult<TypeConfig>, RpcError> {
        let body = Body::Append(append_request(&request)?);
        match self.control.call(body, option.hard_ttl()).await? {
            Body::Appended(response) => response.to_raft().map_err(|error| network(&error)),
            _ => Err(network(&"not the answer to an append")),
        }
    }

    /// One call after the other, as openraft sends heartbeats.
    fn stream_heartbeats<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let network = &*self;
        let answers = stream::unfold(Some((input, option)), move |state| async move {
            let (mut input, option) = state?;
            let request = input.next().await?;
            let result = network.call_append(request, &option).await;
            let go_on = matches!(result, Ok(Ok(_))).then_some((input, option));
            Some((result, go_on))
        });
        answers.boxed()
    }
}

/// One session of the append stream: sends while requests come, yields the answers in their order.
struct Pipeline<'s, S> {
    /// Where the link goes when the session ends with everything answered.
    kept: &'s mut Option<Link>,
    link: Link,
    input: Option<S>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    deadline: Duration,
}

struct InFlight {
    sent: Instant,
    bytes: usize,
}

impl<S> Pipeline<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    /// The next answer; `None` after the last one.
    async fn next(&mut self) -> Option<Result<StreamAppendResult<TypeConfig>, RpcError>> {
        loop {
            if self.input.is_none() && self.in_flight.is_empty() {
                return None;
            }
            let room = self.in_flight.len() < IN_FLIGHT_APPENDS && self.in_flight_bytes < IN_FLIGHT_BYTES;
            let due = self.in_flight.front().map(|oldest| oldest.sent + self.deadline);
            tokio::select! {
                biased;
                answer = self.link.incoming.next() => return Some(self.answered(answer)),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    return Some(Err(network(&format!("no answer to an append within {:?}", self.deadline))));
                }
                request = next_of(&mut self.input), if room && self.input.is_some() => match request {
                    Some(request) => {
                        if let Err(error) = self.send(&request).await {
                            return Some(Err(error));
                        }
                    }
                    None => self.input = None,
                }
            }
        }
    }

    async fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> Result<(), RpcError> {
        let request = append_request(request)?;
        let bytes = request.frames.len();
        let message = Message(PeerMessage { id: 0, body: Some(Body::Append(request)) });
        // Waits only if the connection is slower than what may be in flight; the deadline then ends the session.
        let sent = tokio::time::timeout(self.deadline, self.link.outgoing.send(message)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(network(&"the append stream ended")),
            Err(_) => return Err(network(&format!("the append stream was full for {:?}", self.deadline))),
        }
        self.in_flight.push_back(InFlight { sent: Instant::now(), bytes });
        self.in_flight_bytes += bytes;
        Ok(())
    }

    fn answered(
        &mut self,
        answer: Option<Result<Message, crate::transport::LinkError>>,
    ) -> Result<StreamAppendResult<TypeConfig>, RpcError> {
        let message = match answer {
            Some(Ok(Message(message))) => message,
            Some(Err(error)) => return Err(network(&error)),
            None => return Err(network(&"the append stream ended")),
        };
        let Some(Body::Appended(response)) = message.body else {
            return Err(network(&"not the answer to an append"));
        };
        let Some(oldest) = self.in_flight.pop_front() else {
            return Err(network(&"an answer to no append"));
        };
        self.in_flight_bytes -= oldest.bytes;
        response.to_raft().map_err(|error| network(&error))
    }

    fn keep(self) {
        *self.kept = Some(self.link);
    }
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    match input {
        Some(input) => input.next().await,
        None => None,
    }
}

/// Frames lie one after the other in the log, so they travel as one run of bytes.
fn append_request(request: &AppendEntriesRequest<TypeConfig>) -> Result<wire::AppendRequest, RpcError> {
    let mut frames = Vec::with_capacity(request.entries.len());
    for entry in &request.entries {
        match &entry.payload {
            Payload::Frame { frame, .. } => frames.push(&frame.bytes),
            other => return Err(network(&format!("entry {} is not a frame of the log but {other}", entry.id))),
        }
    }
    let id = |id: &LogId| wire::log_id(id);
    Ok(wire::AppendRequest {
        vote: Some(wire::vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id),
        committed: request.leader_commit.as_ref().map(id),
        frames: match frames.as_slice() {
            [] => Bytes::new(),
            [only] => (*only).clone(),
            several => {
                let mut run = BytesMut::with_capacity(several.iter().map(|frame| frame.len()).sum());
                several.iter().for_each(|frame| run.extend_from_slice(frame));
                run.freeze()
            }
        },
    })
}
