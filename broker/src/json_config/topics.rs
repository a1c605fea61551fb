use raftmq_model::route::DataVersion;
use raftmq_model::topic::TopicConfig;
use raftmq_remoting::body::TopicConfigSerializeWrapper;

use super::pretty;
use crate::state_machine::TopicTable;

pub(super) fn write(table: &TopicTable) -> String {
    let (data_version, topics) = table.all();
    let topics = topics.iter().map(|topic| (topic.topic_name.clone(), topic.config.clone()));
    pretty::to_string(&TopicConfigSerializeWrapper { data_version, topic_config_table: topics.collect() })
}

pub(super) fn parse(content: &[u8]) -> Result<(DataVersion, Vec<TopicConfig>), String> {
    let file = TopicConfigSerializeWrapper::parse(content).map_err(|error| error.to_string())?;
    let topics = file.topic_config_table.into_iter().map(|(name, config)| TopicConfig { topic_name: name, ..config });
    Ok((file.data_version, topics.collect()))
}
