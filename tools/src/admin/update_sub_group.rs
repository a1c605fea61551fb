use clap::{ArgAction, Args};
use raftmq_model::subscription::SubscriptionGroupConfig;

use super::target::{Target, change_each};
use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Creates or changes a consumer group
#[derive(Args, Clone, Debug)]
#[command(alias = "updatesubgroup", rename_all = "camelCase")]
pub(super) struct UpdateSubGroup {
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    target: Target,
    /// Consumer group
    #[arg(short = 'g', long)]
    group_name: String,
    /// Whether it may consume
    #[arg(short = 's', long, default_value_t = true, action = ArgAction::Set)]
    consume_enable: bool,
    /// Whether it may start from the first message
    #[arg(short = 'm', long, default_value_t = true, action = ArgAction::Set)]
    consume_from_min_enable: bool,
    /// Whether its consumers may broadcast
    #[arg(short = 'd', long, default_value_t = true, action = ArgAction::Set)]
    consume_broadcast_enable: bool,
    /// Queues of its retry topic
    #[arg(short = 'q', long, default_value_t = 1)]
    retry_queue_nums: i32,
    /// How often a message is tried again
    #[arg(short = 'r', long, default_value_t = 16)]
    retry_max_times: i32,
    /// The member that it consumes from
    #[arg(short = 'i', long, default_value_t = 0)]
    broker_id: i64,
    /// The member that a slow consumer consumes from
    #[arg(short = 'w', long, default_value_t = 1)]
    which_broker_when_consume_slowly: i64,
    /// Whether its consumers are told when others come and go
    #[arg(short = 'a', long, default_value_t = true, action = ArgAction::Set)]
    notify_consumer_ids_changed: bool,
}

impl UpdateSubGroup {
    pub(super) async fn run(self) -> Result<(), ToolError> {
        let admin = super::admin(&self.cluster)?;
        let config = SubscriptionGroupConfig {
            broker_id: self.broker_id,
            consume_broadcast_enable: self.consume_broadcast_enable,
            consume_enable: self.consume_enable,
            consume_from_min_enable: self.consume_from_min_enable,
            group_name: self.group_name.clone(),
            notify_consumer_ids_changed_enable: self.notify_consumer_ids_changed,
            retry_max_times: self.retry_max_times,
            retry_queue_nums: self.retry_queue_nums,
            which_broker_when_consume_slowly: self.which_broker_when_consume_slowly,
        };
        let addresses = self.target.addresses(&admin).await?;
        let what = format!("create subscription group {}", self.group_name);
        change_each(&addresses, &what, async |address: &str| admin.create_group(address, &config).await).await
    }
}
