use raftmq_model::route::DataVersion;
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_remoting::body::SubscriptionGroupWrapper;

use super::pretty;
use crate::state_machine::GroupTable;

pub(super) fn write(table: &GroupTable) -> String {
    let (data_version, groups) = table.all();
    let groups = groups.iter().map(|group| (group.group_name.clone(), (**group).clone()));
    pretty::to_string(&SubscriptionGroupWrapper { data_version, subscription_group_table: groups.collect() })
}

pub(super) fn parse(content: &[u8]) -> Result<(DataVersion, Vec<SubscriptionGroupConfig>), String> {
    let file = SubscriptionGroupWrapper::parse(content).map_err(|error| error.to_string())?;
    let groups = file.subscription_group_table.into_iter();
    let groups = groups.map(|(name, config)| SubscriptionGroupConfig { group_name: name, ..config });
    Ok((file.data_version, groups.collect()))
}
