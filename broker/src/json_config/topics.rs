use std::collections::BTreeMap;

use raftmq_model::route::DataVersion;
use raftmq_model::topic::TopicConfig;
use raftmq_remoting::body::lenient_json;
use serde::{Deserialize, Serialize};

use super::pretty;
use crate::state_machine::TopicTable;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicsFile {
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, TopicConfig>,
}

pub(super) fn write(table: &TopicTable) -> String {
    let (data_version, topics) = table.all();
    let topics = topics.iter().map(|topic| (topic.topic_name.clone(), topic.config.clone()));
    pretty::to_string(&TopicsFile { data_version, topic_config_table: topics.collect() })
}

pub(super) fn parse(content: &[u8]) -> Result<(DataVersion, Vec<TopicConfig>), String> {
    let value = lenient_json::parse(content).map_err(|error| error.to_string())?;
    let file: TopicsFile = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let topics = file.topic_config_table.into_iter().map(|(name, config)| TopicConfig { topic_name: name, ..config });
    Ok((file.data_version, topics.collect()))
}
