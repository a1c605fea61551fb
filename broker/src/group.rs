//! One broker group as its processors see it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use raftmq_model::subscription::validate_group;
use raftmq_remoting::{RemotingCommand, ReplyBuffer, Session, response_code};
use raftmq_store::{CommitLog, ConsumeQueues};
use raftmq_sys::Seams;
use tokio::runtime::Handle;

use crate::client_registry::ClientRegistry;
use crate::config::BrokerConfig;
use crate::leader_hold::LeaderHold;
use crate::metrics::MessageMetrics;
use crate::offset_coalescer::OffsetCoalescer;
use crate::processor::pull_message::{HeldPull, NotFound};
use crate::proposer::Proposer;
use crate::pull_hold::PullHold;
use crate::registration::Registration;
use crate::replicator::{ReplicateError, Replicator};
use crate::state_machine::TopicDefaults;
use crate::state_machine::tables::{ConsumerOffsetTable, GroupTable, TopicTable};
use crate::topics_in_creation::TopicsInCreation;

/// A read barrier may take this long even if requests are not held.
const LEAST_BARRIER: Duration = Duration::from_millis(200);

/// What the processors of one group share. The tables are written by the state machine only.
pub struct Group {
    pub config: Arc<BrokerConfig>,
    pub seams: Seams,
    /// Client connections and everything that is volatile run here.
    pub io: Handle,
    pub topics: Arc<TopicTable>,
    pub groups: Arc<GroupTable>,
    pub consumer_offsets: Arc<ConsumerOffsetTable>,
    pub log: Arc<CommitLog>,
    pub queues: Arc<ConsumeQueues>,
    pub proposer: Proposer,
    pub topics_in_creation: TopicsInCreation,
    pub replicator: Arc<dyn Replicator>,
    pub clients: Arc<ClientRegistry>,
    pub holds: PullHold<HeldPull>,
    pub offset_commits: OffsetCoalescer,
    /// Only in a group with other members.
    pub leader_hold: Option<LeaderHold>,
    pub topic_defaults: TopicDefaults,
    /// Filled in once the group listens.
    pub registration: OnceLock<Registration>,
    /// `brokerIP1:listenPort`: goes into every message and id.
    pub store_host: SocketAddr,
    pub metrics: MessageMetrics,
}

impl Group {
    /// Gives requests that only a leader can serve, and that are definitely not in the log, to whoever leads.
    pub fn hold_for_leader(self: &Arc<Self>, session: &Arc<Session>, requests: Vec<RemotingCommand>) {
        self.hold(session, requests, false);
    }

    /// [`Group::hold_for_leader`] for requests that this member has just tried as the leader, in vain.
    pub fn hold_again(self: &Arc<Self>, session: &Arc<Session>, requests: Vec<RemotingCommand>) {
        self.hold(session, requests, true);
    }

    fn hold(self: &Arc<Self>, session: &Arc<Session>, requests: Vec<RemotingCommand>, bounced: bool) {
        match &self.leader_hold {
            Some(hold) => hold.submit(self, session, requests, bounced),
            // RocketMQ's reasons, in its words.
            None => LeaderHold::refuse(session, &requests, "the broker's disk is full, or it is being shut down"),
        }
    }

    /// Asks the leader about a pull that this member cannot judge; `instead` is the answer if nobody leads. `bounced`:
    /// this member has just tried to judge it as the leader.
    pub fn forward_pull(
        self: &Arc<Self>,
        session: &Arc<Session>,
        request: RemotingCommand,
        instead: NotFound,
        bounced: bool,
    ) {
        match &self.leader_hold {
            Some(hold) => hold.submit_pull(self, session, request, instead, bounced),
            None => {
                let mut replies = ReplyBuffer::default();
                instead.answer(request.meta(), &mut replies);
                session.send(replies);
            }
        }
    }

    /// Lets the leader make what a heartbeat needs; the client, which is known here already, is answered 0 anyhow.
    pub fn hold_heartbeat(self: &Arc<Self>, session: &Arc<Session>, request: RemotingCommand, bounced: bool) {
        match &self.leader_hold {
            Some(hold) => hold.submit_heartbeat(self, session, request, bounced),
            None => {
                let mut replies = ReplyBuffer::default();
                replies.push(request.meta(), response_code::SUCCESS, None, &[], &[]);
                session.send(replies);
            }
        }
    }

    /// [`Replicator::read_barrier`] that gives up: a leader without a majority would wait until it has one.
    pub async fn read_barrier(&self) -> Result<(), ReplicateError> {
        let limit = self.config.raft_hold_time.max(LEAST_BARRIER);
        match tokio::time::timeout(limit, self.replicator.read_barrier()).await {
            Ok(result) => result,
            Err(_) => Err(ReplicateError::NotAppended(format!("no majority within {limit:?}"))),
        }
    }

    /// Sends answers after the name servers know the topics that they speak of, or after a short while.
    pub fn send_when_registered(&self, session: &Arc<Session>, replies: ReplyBuffer) {
        let Some(registration) = self.registration.get().cloned() else { return session.send(replies) };
        let session = session.clone();
        self.io.spawn(async move {
            registration.topics_registered().await;
            session.send(replies);
        });
    }

    /// Notes an offset that rides on a pull or came one-way; it is in the log within a second.
    pub fn commit_offset_later(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if let (Ok(offset), Ok(())) = (u64::try_from(offset), validate_group(group)) {
            self.offset_commits.add(group, topic, queue_id, offset);
        }
    }
}
