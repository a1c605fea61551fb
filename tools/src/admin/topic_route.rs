use clap::Args;

use super::table;
use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Shows where a topic lives
#[derive(Args, Clone, Debug)]
#[command(alias = "topicroute", rename_all = "camelCase")]
pub(super) struct TopicRoute {
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Topic
    #[arg(short = 't', long)]
    topic: String,
    /// A table instead of JSON
    #[arg(short = 'l', long)]
    list: bool,
}

impl TopicRoute {
    pub(super) async fn run(self) -> Result<(), ToolError> {
        let route = super::admin(&self.cluster)?.topic_route(&self.topic).await?;
        if !self.list {
            let json = serde_json::to_string_pretty(&route)
                .map_err(|error| ToolError::Failed(format!("route as JSON: {error}")))?;
            println!("{json}");
            return Ok(());
        }
        let mut rows = Vec::new();
        for queue in &route.queue_datas {
            let group = route.broker_datas.iter().find(|group| group.broker_name == queue.broker_name);
            let addresses = group.map(|group| group.broker_addrs.values().cloned().collect::<Vec<_>>().join(","));
            rows.push(vec![
                group.map(|group| group.cluster.clone()).unwrap_or_default(),
                queue.broker_name.clone(),
                addresses.unwrap_or_default(),
                queue.read_queue_nums.to_string(),
                queue.write_queue_nums.to_string(),
                queue.perm.to_string(),
            ]);
        }
        let header = ["ClusterName", "BrokerName", "BrokerAddrs", "ReadQueue", "WriteQueue", "Perm"];
        print!("{}", table::render(&header, &rows));
        Ok(())
    }
}
