use clap::{Args, value_parser};
use raftmq_model::topic::{self, TopicConfig};

use super::target::{Target, change_each};
use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Creates or changes a topic
#[derive(Args, Clone, Debug)]
#[command(alias = "updatetopic", rename_all = "camelCase")]
pub(super) struct UpdateTopic {
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    target: Target,
    /// Topic
    #[arg(short = 't', long)]
    topic: String,
    /// Queues to read
    #[arg(short = 'r', long, default_value_t = 8, value_parser = value_parser!(i32).range(1..))]
    read_queue_nums: i32,
    /// Queues to write
    #[arg(short = 'w', long, default_value_t = 8, value_parser = value_parser!(i32).range(1..))]
    write_queue_nums: i32,
    /// 2 write, 4 read, 6 both
    #[arg(short = 'p', long, default_value_t = 6, value_parser = value_parser!(i32).range(0..=7))]
    perm: i32,
    /// Whether the order over all queues is kept: true or false
    #[arg(short = 'o', long, default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
}

impl UpdateTopic {
    pub(super) async fn run(self) -> Result<(), ToolError> {
        topic::validate_name(&self.topic).map_err(|error| ToolError::Failed(error.to_string()))?;
        let admin = super::admin(&self.cluster)?;
        let config = TopicConfig {
            order: self.order,
            read_queue_nums: self.read_queue_nums,
            write_queue_nums: self.write_queue_nums,
            ..TopicConfig::new(&self.topic, self.read_queue_nums, self.perm)
        };
        let addresses = self.target.addresses(&admin).await?;
        change_each(&addresses, "create topic", async |address: &str| admin.create_topic(address, &config).await)
            .await?;
        println!("{}", text(&config));
        Ok(())
    }
}

/// Java's `TopicConfig.toString`.
fn text(config: &TopicConfig) -> String {
    let bit = |bit: i32, letter: char| if config.perm & bit != 0 { letter } else { '-' };
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}{}{}, topicFilterType={}, \
         topicSysFlag={}, order={}]",
        config.topic_name,
        config.read_queue_nums,
        config.write_queue_nums,
        bit(4, 'R'),
        bit(2, 'W'),
        bit(1, 'X'),
        config.topic_filter_type.name(),
        config.topic_sys_flag,
        config.order,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_reads_as_javas() {
        assert_eq!(
            text(&TopicConfig::new("T", 8, 6)),
            "TopicConfig [topicName=T, readQueueNums=8, writeQueueNums=8, perm=RW-, topicFilterType=SINGLE_TAG, \
             topicSysFlag=0, order=false]"
        );
    }
}
