use clap::Args;

use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Lists the names of all topics
#[derive(Args, Clone, Debug)]
#[command(alias = "topiclist", rename_all = "camelCase")]
pub(super) struct TopicList {
    #[command(flatten)]
    cluster: ClusterOptions,
}

impl TopicList {
    pub(super) async fn run(self) -> Result<(), ToolError> {
        for topic in super::admin(&self.cluster)?.topic_list().await? {
            println!("{topic}");
        }
        Ok(())
    }
}
