//! Requests 34, 35 and 46: who is connected (RocketMQ `ClientManageProcessor`).

use std::sync::Arc;
use std::time::Duration;

use raftmq_model::subscription::{EXPRESSION_TAG, SubscriptionGroupConfig, validate_group};
use raftmq_model::topic;
use raftmq_remoting::body::{CheckClientRequestBody, HeartbeatData};
use raftmq_remoting::header::UnregisterClientRequestHeader;
use raftmq_remoting::{ClientIdentity, RemotingCommand, ReplyBuffer, Session};
use raftmq_store::ProposalRecord;
use tokio::sync::oneshot;

use super::{Handled, Reply};
use crate::group::Group;
use crate::proposer::{ProposeError, Work, WorkRecords};
use crate::replicator::ReplicateError;
use crate::state_machine::{Command, GroupTable, SYSTEM_GROUP_PREFIX, TopicTable, retry_topic_config};
use crate::topics_in_creation::Creation;

/// Request 34. Groups and retry topics that are not there yet are made by the leader, and the answer waits for them for
/// a short while; whatever comes of that, the client is connected and is told so. Its next heartbeat tries again.
pub fn heartbeat(group: &Arc<Group>, session: &Arc<Session>, request: &RemotingCommand) -> Handled {
    let heartbeat = match HeartbeatData::parse(&request.body) {
        Ok(heartbeat) => heartbeat,
        Err(error) => return Reply::system_error(error).into(),
    };
    if let Err(reply) = check(&heartbeat) {
        return reply.into();
    }
    // One that another member has passed on is of a client of that member.
    if !session.is_detached() {
        session.set_client(ClientIdentity {
            language: request.language,
            version: request.version,
            client_id: heartbeat.client_id.clone(),
        });
        let now = group.seams.clock.monotonic();
        group.clients.heartbeat(session, &heartbeat, now, |of| notifies(group, of));
    }
    let leadership = group.replicator.leadership();
    let auto_create = group.config.auto_create_subscription_group;
    let at_unix_ms = group.seams.clock.unix_ms();
    let commands = creations(&heartbeat, &group.groups, &group.topics, auto_create, at_unix_ms);
    if commands.is_empty() {
        return Reply::ok().into();
    }
    if leadership.is_leading() {
        create(group, session, request, leadership.epoch(), commands);
    } else {
        group.hold_heartbeat(session, request.clone(), false);
    }
    Handled::Silent
}

/// Groups that one heartbeat may speak of.
const MAX_GROUPS: usize = 4096;

/// Whether the groups of a heartbeat may be kept.
fn check(heartbeat: &HeartbeatData) -> Result<(), Reply> {
    let mut consumers = heartbeat.consumer_data_set.iter().map(|consumer| &consumer.group_name);
    let count = heartbeat.consumer_data_set.len() + heartbeat.producer_data_set.len();
    if count > MAX_GROUPS {
        return Err(Reply::system_error(format!("a heartbeat of {count} groups, more than {MAX_GROUPS}")));
    }
    consumers.try_for_each(|group| validate_group(group)).map_err(Reply::system_error)
}

/// Proposes what a heartbeat needs, and answers it.
fn create(
    group: &Arc<Group>,
    session: &Arc<Session>,
    request: &RemotingCommand,
    epoch: i64,
    mut commands: Vec<Command>,
) {
    let mut topics: Vec<Creation> = Vec::new();
    commands.retain_mut(|command| {
        let Command::PutTopic { config, .. } = command else { return true };
        let wish = config.clone();
        let created = group.topics_in_creation.create(|| match group.topics.contains(&wish.topic_name) {
            true => Err(()),
            false => Ok(wish),
        });
        let Ok(created) = created else { return false };
        *config = created.topic().config.clone();
        topics.push(created);
        true
    });
    let records = commands.iter().map(|command| ProposalRecord::Command(command.to_record())).collect();
    let (created, wait) = oneshot::channel();
    let done = Box::new(move |result: Result<&[_], ProposeError>| {
        // Nobody waits any more after the limit below.
        let _ = created.send(result.map(|_| ()));
    });
    let until_ended = Some(Box::new(topics) as Box<dyn Send>);
    group.proposer.submit(Work { epoch, records: WorkRecords::Ready(records), done, until_ended });
    let (group, session, request) = (group.clone(), session.clone(), request.clone());
    group.io.clone().spawn(async move {
        match tokio::time::timeout(group.config.raft_hold_time, wait).await {
            Ok(Ok(Err(ProposeError::Replicate(ReplicateError::NotAppended(_))))) => {
                group.hold_heartbeat(&session, request, true);
                return;
            }
            Ok(Ok(Err(error))) => tracing::debug!(%error, "groups of a heartbeat were not created"),
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => {}
        }
        let mut replies = ReplyBuffer::default();
        Reply::ok().push(request.meta(), &mut replies);
        session.send(replies);
    });
}

/// The groups and retry topics that a heartbeat needs and the tables lack.
fn creations(
    heartbeat: &HeartbeatData,
    groups: &GroupTable,
    topics: &TopicTable,
    auto_create: bool,
    at_unix_ms: i64,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for consumer in &heartbeat.consumer_data_set {
        let name = &consumer.group_name;
        let retry_queues = match groups.get(name) {
            Some(config) => config.retry_queue_nums,
            None if auto_create || name.starts_with(SYSTEM_GROUP_PREFIX) => {
                let config = SubscriptionGroupConfig::new(name);
                let retry_queues = config.retry_queue_nums;
                commands.push(Command::PutGroup { config, from_auto_create: true, at_unix_ms });
                retry_queues
            }
            None => continue,
        };
        let retry_topic = topic::retry_topic(name);
        if !topics.contains(&retry_topic) {
            let config = retry_topic_config(&retry_topic, retry_queues, consumer.unit_mode);
            commands.push(Command::PutTopic { config, from_auto_create: true, at_unix_ms });
        }
    }
    commands
}

/// Request 35. Clients that were never known are answered 0 too.
pub fn unregister(group: &Arc<Group>, session: &Arc<Session>, request: &RemotingCommand) -> Handled {
    let header = match UnregisterClientRequestHeader::decode(&request.fields) {
        Ok(header) => header,
        Err(error) => return Reply::from(error).into(),
    };
    let (producer_group, consumer_group) = (header.producer_group, header.consumer_group);
    let notifies = |of: &str| notifies(group, of);
    group.clients.unregister(session, producer_group.as_deref(), consumer_group.as_deref(), notifies);
    Reply::ok().into()
}

/// Request 46: whether this broker can filter as a subscription wants.
pub fn check_client_config(request: &RemotingCommand) -> Handled {
    let check = match CheckClientRequestBody::parse(&request.body) {
        Ok(check) => check,
        Err(error) => return Reply::system_error(error).into(),
    };
    let expression_type = &check.subscription_data.expression_type;
    if expression_type.is_empty() || expression_type == EXPRESSION_TAG {
        return Reply::ok().into();
    }
    Reply::system_error(format!("The broker does not support consumer to filter message by {expression_type}")).into()
}

/// A connection has ended.
pub fn handle_close(group: &Arc<Group>, session: &Session) {
    group.clients.close(session.id(), |of| notifies(group, of));
}

/// Forgets clients that have gone silent, and closes their connections.
pub fn scan(group: &Arc<Group>, now: Duration) {
    for session in group.clients.expire(now, |of| notifies(group, of)) {
        tracing::info!(peer = %session.peer(), "no heartbeat for too long, connection closed");
        session.close();
    }
}

fn notifies(group: &Group, of: &str) -> bool {
    group.config.notify_consumer_ids_changed
        && group.groups.get(of).is_none_or(|config| config.notify_consumer_ids_changed_enable)
}

#[cfg(test)]
mod tests {
    use raftmq_model::topic::TopicConfig;
    use raftmq_remoting::body::ConsumerData;

    use super::*;
    use crate::state_machine::{Changes, Tables};

    fn heartbeat(groups: &[&str]) -> HeartbeatData {
        let data = |name: &&str| ConsumerData { group_name: (*name).to_owned(), ..ConsumerData::default() };
        HeartbeatData { consumer_data_set: groups.iter().map(data).collect(), ..HeartbeatData::default() }
    }

    #[test]
    fn the_first_heartbeat_of_a_group_creates_it_with_its_retry_topic() {
        let (tables, mut changes) = (Tables::default(), Changes::default());
        let ask = |tables: &Tables, groups: &[&str], auto_create| {
            creations(&heartbeat(groups), &tables.groups, &tables.topics, auto_create, 7)
        };
        let put_group = |name| Command::PutGroup {
            config: SubscriptionGroupConfig::new(name),
            from_auto_create: true,
            at_unix_ms: 7,
        };
        let put_topic = |name, queues| Command::PutTopic {
            config: TopicConfig::new(name, queues, 6),
            from_auto_create: true,
            at_unix_ms: 7,
        };
        assert_eq!(ask(&tables, &["cg"], true), [put_group("cg"), put_topic("%RETRY%cg", 1)]);
        assert_eq!(ask(&tables, &["cg"], false), []);
        assert_eq!(ask(&tables, &["CID_RMQ_SYS_X"], false).len(), 2);
        let mut config = SubscriptionGroupConfig::new("cg");
        config.retry_queue_nums = 3;
        tables.apply(&Command::PutGroup { config, from_auto_create: false, at_unix_ms: 1 }, &mut changes);
        assert_eq!(ask(&tables, &["cg"], false), [put_topic("%RETRY%cg", 3)]);
        tables.apply(&put_topic("%RETRY%cg", 3), &mut changes);
        assert_eq!(ask(&tables, &["cg"], true), []);
    }

    #[test]
    fn only_tags_can_filter() {
        let check = |expression_type: &str| {
            let body = format!(
                r#"{{"clientId":"c","group":"cg","subscriptionData":{{"expressionType":"{expression_type}","topic":"T"}}}}"#
            );
            match check_client_config(&RemotingCommand::request(46).with_body(body)) {
                Handled::Reply(reply) => (reply.code, reply.remark.unwrap_or_default()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(check("TAG").0, 0);
        assert_eq!(check(""), (0, String::new()));
        assert_eq!(check("SQL92"), (1, "The broker does not support consumer to filter message by SQL92".to_owned()));
    }
}
