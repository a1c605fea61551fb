//! Requests 200, 207 and 201: subscription groups (RocketMQ `AdminBrokerProcessor`).

use raftmq_model::subscription::{SubscriptionGroupConfig, validate_group};
use raftmq_remoting::RemotingCommand;
use raftmq_remoting::body::{self, SubscriptionGroupWrapper};
use raftmq_remoting::header::DeleteSubscriptionGroupRequestHeader;

use super::{Handled, Reply};
use crate::group::Group;
use crate::state_machine::Command;

/// Request 200: creates a group or replaces its configuration.
pub fn put_group(group: &Group, request: &RemotingCommand) -> Handled {
    match parse_group(&request.body) {
        Ok(config) => {
            tracing::info!(group = config.group_name, "subscription group is created or changed by request");
            let at_unix_ms = group.seams.clock.unix_ms();
            let commands = vec![Command::PutGroup { config, from_auto_create: false, at_unix_ms }];
            Handled::Propose { commands, then: Reply::ok() }
        }
        Err(reply) => reply.into(),
    }
}

fn parse_group(content: &[u8]) -> Result<SubscriptionGroupConfig, Reply> {
    let config: SubscriptionGroupConfig = body::parse(content).map_err(Reply::system_error)?;
    validate_group(&config.group_name).map_err(Reply::system_error)?;
    Ok(config)
}

/// Request 207: a group's configuration, and its offsets if asked so.
pub fn delete_group(group: &Group, request: &RemotingCommand) -> Handled {
    let header = match DeleteSubscriptionGroupRequestHeader::decode(&request.fields) {
        Ok(header) => header,
        Err(error) => return Reply::from(error).into(),
    };
    let name = header.group_name.into_owned();
    let remove_offsets = header.remove_offset || header.clean_offset;
    tracing::info!(group = name, remove_offsets, "subscription group is deleted by request");
    if remove_offsets {
        group.offset_commits.remove_group(&name);
    }
    let at_unix_ms = group.seams.clock.unix_ms();
    let commands = vec![Command::DeleteGroup { group: name, remove_offsets, at_unix_ms }];
    Handled::Propose { commands, then: Reply::ok() }
}

/// Request 201: all groups of this member.
pub fn all_groups(group: &Group) -> Handled {
    let (data_version, groups) = group.groups.all();
    let groups = groups.iter().map(|config| (config.group_name.clone(), (**config).clone()));
    let wrapper = SubscriptionGroupWrapper { data_version, subscription_group_table: groups.collect() };
    Reply::ok().with_body(wrapper.to_json()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_fastjson() {
        let body = br#"{"brokerId":0,"consumeBroadcastEnable":false,"consumeEnable":true,"groupName":"cg","retryMaxTimes":3,"attributes":{}}"#;
        let config = parse_group(body).unwrap();
        assert_eq!((config.retry_max_times, config.consume_broadcast_enable), (3, false));
        assert_eq!(config.retry_queue_nums, 1, "absent fields have RocketMQ's defaults");
        assert!(parse_group(b"{}").is_err());
        assert!(parse_group(b"nonsense").is_err());
    }
}
