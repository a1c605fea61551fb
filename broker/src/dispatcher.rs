//! From a request code to its processor; what needs the leader and is not at the leader goes to the hold.

use std::sync::Arc;

use raftmq_remoting::{RemotingCommand, ReplyBuffer, RequestProcessor, Session, request_code, response_code};
use raftmq_store::ProposalRecord;

use crate::group::Group;
use crate::leader_hold::LeaderHold;
use crate::offset_coalescer::Taken;
use crate::processor::{
    Handled, Reply, admin_group, admin_topic, client_manage, consumer_manage, pull_message, send_message,
};
use crate::proposer::{ProposeError, Work, WorkRecords};
use crate::replicator::ReplicateError;
use crate::state_machine::{Command, queue_ends};

/// Requests of one listener of one broker group.
pub(crate) struct Dispatcher {
    group: Arc<Group>,
}

impl Dispatcher {
    pub(crate) fn new(group: Arc<Group>) -> Dispatcher {
        Dispatcher { group }
    }
}

impl RequestProcessor for Dispatcher {
    fn process(&self, session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        let group = &self.group;
        let leading = group.replicator.leadership().is_leading();
        // A read that brings sends seldom brings anything else.
        let mut sends = match requests.first() {
            Some(first) if is_send(first.code) && leading => Vec::with_capacity(requests.len()),
            _ => Vec::new(),
        };
        let mut for_leader = Vec::new();
        for request in requests.drain(..) {
            match request.code {
                code if is_send(code) && leading => sends.push(request),
                code if needs_leader(&request) && !leading && code != request_code::UPDATE_CONSUMER_OFFSET => {
                    for_leader.push(request);
                }
                request_code::UPDATE_CONSUMER_OFFSET if !leading && !request.is_oneway() => {
                    consumer_manage::forget_waiting(group, &request);
                    match group.offset_commits.is_stalled() {
                        // It may have waited in its socket for long; its client commits again.
                        true => LeaderHold::refuse(session, &[request], "this process did not run for a while"),
                        false => for_leader.push(request),
                    }
                }
                request_code::PULL_MESSAGE | request_code::LITE_PULL_MESSAGE => {
                    pull_message::handle(group, session, request, replies);
                }
                _ => handle_one(group, session, request, replies),
            }
        }
        if !sends.is_empty() {
            send_message::handle(group, session, sends, replies);
        }
        if !for_leader.is_empty() {
            group.hold_for_leader(session, for_leader);
        }
    }

    fn closed(&self, session: &Arc<Session>) {
        client_manage::handle_close(&self.group, session);
    }
}

/// Serves requests that waited for this member to lead.
pub(crate) fn process_as_leader(group: &Arc<Group>, session: &Arc<Session>, requests: Vec<RemotingCommand>) {
    let mut replies = ReplyBuffer::default();
    let mut sends = Vec::new();
    for request in requests {
        match request.code {
            code if is_send(code) => sends.push(request),
            request_code::PULL_MESSAGE | request_code::LITE_PULL_MESSAGE => {
                pull_message::handle(group, session, request, &mut replies);
            }
            _ => handle_one(group, session, request, &mut replies),
        }
    }
    if !sends.is_empty() {
        send_message::handle(group, session, sends, &mut replies);
    }
    session.send(replies);
}

fn is_send(code: i32) -> bool {
    matches!(code, request_code::SEND_MESSAGE | request_code::SEND_MESSAGE_V2 | request_code::SEND_BATCH_MESSAGE)
}

/// Requests that change the log, or whose answer must not come from old tables.
fn needs_leader(request: &RemotingCommand) -> bool {
    is_send(request.code)
        || matches!(
            request.code,
            request_code::QUERY_CONSUMER_OFFSET
                | request_code::UPDATE_CONSUMER_OFFSET
                | request_code::SEARCH_OFFSET_BY_TIMESTAMP
                | request_code::GET_MAX_OFFSET
                | request_code::GET_MIN_OFFSET
                | request_code::GET_EARLIEST_MSG_STORETIME
                // All members of a consumer group must see one list, or two of them take the same queue.
                | request_code::GET_CONSUMER_LIST_BY_GROUP
                | request_code::UPDATE_AND_CREATE_TOPIC
                | request_code::DELETE_TOPIC_IN_BROKER
                | request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
                | request_code::DELETE_SUBSCRIPTIONGROUP
        )
}

/// Requests that may be carried out twice, so that they may be passed on again when it is unknown what became of them.
pub(crate) fn is_repeatable(code: i32) -> bool {
    matches!(
        code,
        request_code::PULL_MESSAGE
            | request_code::LITE_PULL_MESSAGE
            | request_code::QUERY_CONSUMER_OFFSET
            | request_code::SEARCH_OFFSET_BY_TIMESTAMP
            | request_code::GET_MAX_OFFSET
            | request_code::GET_MIN_OFFSET
            | request_code::GET_EARLIEST_MSG_STORETIME
            | request_code::GET_CONSUMER_LIST_BY_GROUP
            | request_code::HEART_BEAT
    )
}

fn handle_one(group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand, replies: &mut ReplyBuffer) {
    let handled = match request.code {
        request_code::HEART_BEAT => client_manage::heartbeat(group, session, &request),
        request_code::UNREGISTER_CLIENT => client_manage::unregister(group, session, &request),
        request_code::CHECK_CLIENT_CONFIG => client_manage::check_client_config(&request),
        request_code::GET_CONSUMER_LIST_BY_GROUP => consumer_manage::consumer_list(group, &request),
        request_code::UPDATE_CONSUMER_OFFSET => consumer_manage::update_offset(group, &request),
        request_code::QUERY_CONSUMER_OFFSET
        | request_code::GET_MAX_OFFSET
        | request_code::GET_MIN_OFFSET
        | request_code::SEARCH_OFFSET_BY_TIMESTAMP
        | request_code::GET_EARLIEST_MSG_STORETIME => {
            after_barrier(group, session, request);
            return;
        }
        request_code::UPDATE_AND_CREATE_TOPIC => admin_topic::put_topic(group, &request),
        request_code::DELETE_TOPIC_IN_BROKER => admin_topic::delete_topic(group, &request),
        request_code::GET_ALL_TOPIC_CONFIG => admin_topic::all_topics(group),
        request_code::GET_TOPIC_STATS_INFO => admin_topic::topic_stats(group, &request),
        request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => admin_group::put_group(group, &request),
        request_code::DELETE_SUBSCRIPTIONGROUP => admin_group::delete_group(group, &request),
        request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => admin_group::all_groups(group),
        code => Handled::Reply(Reply::error(
            response_code::REQUEST_CODE_NOT_SUPPORTED,
            format!(" request type {code} not supported"),
        )),
    };
    finish(group, session, request, handled, replies);
}

/// Answers at once or after what the handler wants to have in the log.
fn finish(
    group: &Arc<Group>,
    session: &Arc<Session>,
    request: RemotingCommand,
    handled: Handled,
    replies: &mut ReplyBuffer,
) {
    match handled {
        Handled::Reply(reply) => reply.push(request.meta(), replies),
        Handled::Silent => {}
        Handled::Propose { commands, then } => propose(group, commands, answer_proposed(group, session, request, then)),
        Handled::DeleteTopic { topic } => {
            delete_topic(group, topic, answer_proposed(group, session, request, Reply::ok()));
        }
    }
}

/// Answers `then` once it is in the log.
fn answer_proposed(
    group: &Arc<Group>,
    session: &Arc<Session>,
    request: RemotingCommand,
    then: Reply,
) -> impl FnOnce(Result<(), ProposeError>) + Send + 'static {
    let (group_, session) = (group.clone(), session.clone());
    move |result| {
        let mut replies = ReplyBuffer::default();
        match result {
            Ok(()) => {
                then.push(request.meta(), &mut replies);
                if request.code == request_code::UPDATE_AND_CREATE_TOPIC {
                    group_.send_when_registered(&session, replies);
                    return;
                }
            }
            Err(ProposeError::Replicate(ReplicateError::NotAppended(_))) => {
                group_.hold_again(&session, vec![request]);
                return;
            }
            Err(error) => Reply::from(&error).push(request.meta(), &mut replies),
        }
        session.send(replies);
    }
}

/// Proposes to delete a topic. Where its queues end is read when nothing is under way: a topic of the same name goes on
/// there, and must not use an offset again that a message in flight got.
fn delete_topic(group: &Arc<Group>, topic: String, done: impl FnOnce(Result<(), ProposeError>) + Send + 'static) {
    let (epoch, at_unix_ms) = (group.replicator.leadership().epoch(), group.seams.clock.unix_ms());
    let queues = group.queues.clone();
    let make = move || {
        let ends = queue_ends(&queues, &topic);
        vec![ProposalRecord::Command(Command::DeleteTopic { topic, ends, at_unix_ms }.to_record())]
    };
    let records = WorkRecords::WhenNothingIsUnderWay(Box::new(make));
    let done = Box::new(move |result: Result<&[_], ProposeError>| done(result.map(|_| ())));
    group.proposer.submit(Work { epoch, records, done, until_ended: None });
}

/// Puts commands into the next batch, and with them offsets that wait to be committed.
fn propose(group: &Arc<Group>, commands: Vec<Command>, done: impl FnOnce(Result<(), ProposeError>) + Send + 'static) {
    group.offset_commits.drain_with(|offsets| propose_with(group, commands, offsets, done));
}

/// Called with the waiting offsets locked.
fn propose_with(
    group: &Arc<Group>,
    commands: Vec<Command>,
    offsets: Option<Taken>,
    done: impl FnOnce(Result<(), ProposeError>) + Send + 'static,
) {
    let epoch = group.replicator.leadership().epoch();
    let with_offsets = commands.into_iter().chain(offsets.as_ref().map(Taken::to_command));
    let records = with_offsets.map(|command| ProposalRecord::Command(command.to_record())).collect();
    let group_ = group.clone();
    let done = Box::new(move |result: Result<&[_], ProposeError>| {
        let result = result.map(|_| ());
        let Err(error) = &result else { return done(result) };
        let may_be_stored =
            matches!(error, ProposeError::Replicate(ReplicateError::Unknown(_) | ReplicateError::Illegal(_)));
        // A refusal can come before `submit` returns, with the waiting offsets still locked.
        let io = group_.io.clone();
        io.spawn(async move {
            if let (Some(offsets), false) = (offsets, may_be_stored) {
                group_.offset_commits.put_back(offsets);
            }
            done(result);
        });
    });
    group.proposer.submit(Work::new(epoch, records, done));
}

/// Offset queries: behind what one-way commits have said so far, and behind everything the group acknowledged.
fn after_barrier(group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand) {
    let (group_, session_) = (group.clone(), session.clone());
    if let Some(queue) = consumer_manage::queried(&request).filter(|queue| group.offset_commits.waits_for(queue)) {
        // An offset that a query has seen must be in the log.
        group.offset_commits.drain_queues_with(&[queue], |offsets| {
            propose_with(group, Vec::new(), offsets, move |result| match result {
                Ok(()) => answer_query(&group_, &session_, &request),
                Err(error) => query_failed(&group_, &session_, request, &error),
            });
        });
        return;
    }
    group.io.spawn(async move {
        match group_.read_barrier().await {
            Ok(()) => answer_query(&group_, &session_, &request),
            Err(error) => query_failed(&group_, &session_, request, &ProposeError::Replicate(error)),
        }
    });
}

fn answer_query(group: &Arc<Group>, session: &Arc<Session>, request: &RemotingCommand) {
    let reply = match request.code {
        request_code::QUERY_CONSUMER_OFFSET => consumer_manage::query_offset(group, request),
        request_code::GET_MAX_OFFSET => consumer_manage::max_offset(group, request),
        request_code::GET_MIN_OFFSET => consumer_manage::min_offset(group, request),
        request_code::SEARCH_OFFSET_BY_TIMESTAMP => consumer_manage::search_offset(group, request),
        _ => consumer_manage::earliest_store_time(group, request),
    };
    let mut replies = ReplyBuffer::default();
    reply.push(request.meta(), &mut replies);
    session.send(replies);
}

/// A query changes nothing, so whatever went wrong it may be asked again, here or at a new leader.
fn query_failed(group: &Arc<Group>, session: &Arc<Session>, request: RemotingCommand, error: &ProposeError) {
    match error {
        ProposeError::Replicate(ReplicateError::NotAppended(_) | ReplicateError::Unknown(_)) => {
            group.hold_again(session, vec![request]);
        }
        _ => {
            let mut replies = ReplyBuffer::default();
            Reply::from(error).push(request.meta(), &mut replies);
            session.send(replies);
        }
    }
}
