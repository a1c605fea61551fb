//! `mqadmin`: commands with RocketMQ's names, options and output.

mod cluster_list;
mod table;
mod target;
mod topic_list;
mod topic_route;
mod topic_status;
mod update_sub_group;
mod update_topic;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Looks at a cluster and changes it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mqadmin clusterList -n 127.0.0.1:9876
  mqadmin updateTopic -n 127.0.0.1:9876 -c DefaultCluster -t Orders -r 8 -w 8
  mqadmin topicStatus -n 127.0.0.1:9876 -t Orders
The name server may also come from the environment variable NAMESRV_ADDR.")]
pub struct AdminArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
#[command(rename_all = "camelCase")]
enum Command {
    ClusterList(cluster_list::ClusterList),
    TopicList(topic_list::TopicList),
    TopicRoute(topic_route::TopicRoute),
    TopicStatus(topic_status::TopicStatus),
    UpdateTopic(update_topic::UpdateTopic),
    UpdateSubGroup(update_sub_group::UpdateSubGroup),
}

/// Runs the command.
pub fn run(args: AdminArgs) -> ExitCode {
    crate::runtime::run(async {
        match args.command {
            Command::ClusterList(command) => command.run().await,
            Command::TopicList(command) => command.run().await,
            Command::TopicRoute(command) => command.run().await,
            Command::TopicStatus(command) => command.run().await,
            Command::UpdateTopic(command) => command.run().await,
            Command::UpdateSubGroup(command) => command.run().await,
        }
    })
}

fn admin(cluster: &ClusterOptions) -> Result<raftmq_client::Admin, ToolError> {
    Ok(raftmq_client::Admin::new(&cluster.start()?))
}
