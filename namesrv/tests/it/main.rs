//! A name server over real sockets, asked by the remoting client.

mod register;
mod settings;

use std::path::Path;
use std::time::Duration;

use raftmq_model::route::DataVersion;
use raftmq_model::topic::TopicConfig;
use raftmq_namesrv::{NamesrvConfig, Running, start};
use raftmq_remoting::body::{RegisterBrokerBody, TopicConfigSerializeWrapper};
use raftmq_remoting::{Client, RemotingCommand, request_code};
use raftmq_sys::Seams;

const LIMIT: Duration = Duration::from_secs(10);

/// A name server on a free port whose files lie in `folder`.
async fn name_server(folder: &Path) -> Running {
    let config = NamesrvConfig {
        bind_address: "127.0.0.1".to_owned(),
        listen_port: 0,
        kv_config_path: folder.join("kvConfig.json").display().to_string(),
        config_store_path: folder.join("namesrv.conf").display().to_string(),
        scan_interval: Duration::from_millis(20),
        ..NamesrvConfig::default()
    };
    start(config, Seams::real()).await.expect("a name server starts on a free port")
}

async fn connect(running: &Running) -> Client {
    Client::connect(&running.local_addr().to_string(), LIMIT).await.expect("the name server listens")
}

async fn ask(client: &Client, request: RemotingCommand) -> RemotingCommand {
    client.invoke(request, LIMIT).await.expect("the name server answers")
}

/// A registration of brokerId 0 of group "broker-a" with these topics of 8 queues.
fn registration(address: &str, epoch: i64, counter: i64, topics: &[&str], compressed: bool) -> RemotingCommand {
    let table = topics.iter().map(|topic| ((*topic).to_owned(), TopicConfig::new(topic, 8, 6))).collect();
    let body = RegisterBrokerBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: TopicConfigSerializeWrapper {
            data_version: DataVersion { counter, state_version: epoch, timestamp: 1_700_000_000_000 },
            topic_config_table: table,
        },
    };
    identified(request_code::REGISTER_BROKER, address, 0)
        .with_field("haServerAddr", "127.0.0.1:10912")
        .with_field("compressed", compressed)
        .with_body(body.encode(compressed))
}

fn identified(code: i32, address: &str, broker_id: i64) -> RemotingCommand {
    RemotingCommand::request(code)
        .with_field("brokerName", "broker-a")
        .with_field("brokerAddr", address)
        .with_field("clusterName", "DefaultCluster")
        .with_field("brokerId", broker_id)
}

fn route_of(topic: &str) -> RemotingCommand {
    RemotingCommand::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_field("topic", topic)
}

fn text(answer: &RemotingCommand) -> &str {
    std::str::from_utf8(&answer.body).expect("the body is text")
}
