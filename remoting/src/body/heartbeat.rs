use raftmq_model::subscription::SubscriptionData;
use serde::{Deserialize, Serialize};

use super::json_body;

/// Request 34, in the variants of the Java, C++ and Go clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    #[serde(rename = "clientID")]
    pub client_id: String,
    pub consumer_data_set: Vec<ConsumerData>,
    pub producer_data_set: Vec<ProducerData>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFromWhere,
    pub consume_type: ConsumeType,
    pub group_name: String,
    pub message_model: MessageModel,
    pub subscription_data_set: Vec<SubscriptionData>,
    pub unit_mode: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    pub group_name: String,
}

/// Ordinals count from 0 in this order; C++ clients send them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeType {
    ConsumeActively,
    #[default]
    ConsumePassively,
    /// 5.x.
    ConsumePop,
    #[serde(other)]
    Unknown,
}

/// Ordinals count from 0 in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    Broadcasting,
    #[default]
    Clustering,
    #[serde(other)]
    Unknown,
}

/// Where a group without offsets starts. Ordinals count from 0 in this order; 1 to 3 are deprecated in Java.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    #[default]
    ConsumeFromLastOffset,
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    ConsumeFromMinOffset,
    ConsumeFromMaxOffset,
    ConsumeFromFirstOffset,
    ConsumeFromTimestamp,
    /// Go clients send this name at times.
    #[serde(other)]
    Unknown,
}

/// Request 46.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientRequestBody {
    pub client_id: String,
    pub group: String,
    pub namespace: Option<String>,
    pub subscription_data: SubscriptionData,
}

json_body!(HeartbeatData, CheckClientRequestBody);

#[cfg(test)]
mod tests {
    use super::*;

    const JAVA: &str = r#"{"clientID":"10.0.0.1@1234","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"cg","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000001,"tagsSet":["TagA","TagB"],"topic":"T"}],"unitMode":false}],"producerDataSet":[{"groupName":"pg"}]}"#;

    #[test]
    fn javas_heartbeat_reads_and_writes() {
        let heartbeat = HeartbeatData::parse(JAVA.as_bytes()).unwrap();
        let subscription = &heartbeat.consumer_data_set[0].subscription_data_set[0];
        assert_eq!(subscription.code_set, [2598919, 2598920].into());
        assert_eq!(String::from_utf8(heartbeat.to_json()).unwrap(), JAVA);
    }

    #[test]
    fn the_cpp_clients_heartbeat_reads_the_same() {
        let cpp = r#"{"clientID":"10.0.0.1@1234","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"cg",
            "messageModel":1,"subscriptionDataSet":[{"codeSet":["2598919",2598920],"subString":"TagA || TagB",
            "subVersion":"1700000000001","tagsSet":["TagA","TagB"],"topic":"T"}],"unitMode":false}],
            "producerDataSet":[{"groupName":"pg"}]}
            "#;
        let mut expected = HeartbeatData::parse(JAVA.as_bytes()).unwrap();
        expected.consumer_data_set[0].subscription_data_set[0].expression_type.clear();
        assert_eq!(HeartbeatData::parse(cpp.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn the_go_clients_heartbeat_reads_with_unknown_names() {
        let go = r#"{"clientID":"c","consumerDataSet":[{"groupName":"cg","consumeType":"CONSUME_PASSIVELY","messageModel":
            "BROADCASTING","consumeFromWhere":"UNKNOWN","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":
            "*","tagsSet":null,"codeSet":[],"subVersion":1700000000001000000,"expressionType":"TAG"}],"unitMode":false}],
            "producerDataSet":[],"heartbeatFingerprint":0}"#;
        let heartbeat = HeartbeatData::parse(go.as_bytes()).unwrap();
        let data = &heartbeat.consumer_data_set[0];
        assert_eq!(data.consume_from_where, ConsumeFromWhere::Unknown);
        assert_eq!(data.message_model, MessageModel::Broadcasting);
        assert_eq!(data.subscription_data_set[0].sub_version, 1_700_000_000_001_000_000);
    }
}
