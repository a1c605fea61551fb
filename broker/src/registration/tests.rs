use std::time::Duration;

use raftmq_model::route::{DataVersion, TopicRouteData};
use raftmq_namesrv::{NamesrvConfig, Running};
use raftmq_remoting::{Client, RemotingCommand, request_code};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A name server of ours.
struct NameServer {
    running: Running,
    client: Client,
    _folder: TempDir,
}

impl NameServer {
    async fn start(port: u16) -> NameServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = NamesrvConfig {
            bind_address: "127.0.0.1".to_owned(),
            listen_port: port,
            kv_config_path: folder.path().join("kv.json").display().to_string(),
            ..NamesrvConfig::default()
        };
        let running = raftmq_namesrv::start(config, Seams::real()).await.expect("a name server starts");
        let client = Client::connect(&running.local_addr().to_string(), LIMIT).await.expect("it listens");
        NameServer { running, client, _folder: folder }
    }

    fn address(&self) -> String {
        self.running.local_addr().to_string()
    }

    /// `id=address` of group "g", blank-separated; `-` without a route.
    async fn shown(&self, topic: &str) -> String {
        let mut request = RemotingCommand::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_field("topic", topic);
        request.version = 401;
        let answer = self.client.invoke(request, LIMIT).await.expect("the name server answers");
        let Ok(route) = serde_json::from_slice::<TopicRouteData>(&answer.body) else { return "-".to_owned() };
        let addresses = route.broker_datas[0].broker_addrs.iter();
        addresses.map(|(id, address)| format!("{id}={address}")).collect::<Vec<_>>().join(" ")
    }

    async fn wait_for(&self, topic: &str, shown: &str) {
        let reached = async {
            while self.shown(topic).await != shown {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(LIMIT, reached).await.is_err() {
            panic!("{topic} is shown as {}, not {shown}", self.shown(topic).await);
        }
    }
}

fn config(name_servers: &[String], port: u16) -> BrokerConfig {
    BrokerConfig {
        broker_name: "g".to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        listen_port: port,
        namesrv_addr: name_servers.join(";"),
        ..BrokerConfig::default()
    }
}

fn topics(names: &[&str], counter: i64) -> Arc<TopicTable> {
    let table = TopicTable::default();
    let version = DataVersion { counter, state_version: 0, timestamp: 1 };
    table.replace(version, names.iter().map(|name| TopicConfig::new(name, 4, 6)));
    Arc::new(table)
}

fn epoch(term: i64, slot: i64) -> i64 {
    term << 16 | slot
}

#[tokio::test]
async fn a_broker_is_known_until_it_says_goodbye() {
    let (one, two) = (NameServer::start(0).await, NameServer::start(0).await);
    let config = BrokerConfig { compressed_register: true, ..config(&[one.address(), two.address()], 10911) };
    let table = topics(&["T"], 1);
    let registration = Registration::start(&config, MemberState::classic(0), Arc::clone(&table), &Seams::real());
    one.wait_for("T", "0=127.0.0.1:10911").await;
    two.wait_for("T", "0=127.0.0.1:10911").await;

    let changed = TopicConfig::new("U", 4, 6);
    table.replace(DataVersion { counter: 2, ..table.data_version() }, [changed.clone()]);
    registration.topic_changed(&changed);
    one.wait_for("U", "0=127.0.0.1:10911").await;
    two.wait_for("U", "0=127.0.0.1:10911").await;
    registration.shutdown().await;
    assert_eq!((one.shown("T").await.as_str(), two.shown("U").await.as_str()), ("-", "-"));
}

#[tokio::test]
async fn a_new_leader_is_shown_when_register_now_returns() {
    let name_server = NameServer::start(0).await;
    let member = |port, state| {
        Registration::start(&config(&[name_server.address()], port), state, topics(&["T"], 1), &Seams::real())
    };
    let first = member(1001, MemberState::follower(0, 0));
    let second = member(1002, MemberState::follower(1, 0));
    assert_eq!(first.register_now(MemberState::leader(epoch(1, 0))).await, 1);
    assert_eq!(second.register_now(MemberState::follower(1, epoch(1, 0))).await, 1);
    assert_eq!(name_server.shown("T").await, "0=127.0.0.1:1001 2=127.0.0.1:1002");
    assert_eq!(second.register_now(MemberState::leader(epoch(2, 1))).await, 1);
    assert_eq!(name_server.shown("T").await, "0=127.0.0.1:1002 1=127.0.0.1:1001");
    // Who lost its leader without seeing another still speaks with its old epoch.
    assert_eq!(second.register_now(MemberState::follower(1, 0)).await, 1);
    assert_eq!(name_server.shown("T").await, "0=127.0.0.1:1001 2=127.0.0.1:1002");
}

#[tokio::test]
async fn a_name_server_that_hangs_or_is_gone_delays_nobody() {
    let name_server = NameServer::start(0).await;
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let addresses = [hung.local_addr().unwrap().to_string(), gone.to_string(), name_server.address()];
    let registration =
        Registration::start(&config(&addresses, 1001), MemberState::follower(0, 0), topics(&["T"], 1), &Seams::real());
    let start = Instant::now();
    assert_eq!(registration.register_now(MemberState::leader(epoch(1, 0))).await, 1);
    let took = start.elapsed();
    assert!(took >= REGISTER_NOW_LIMIT && took < 3 * REGISTER_NOW_LIMIT, "{took:?}");
    assert_eq!(name_server.shown("T").await, "0=127.0.0.1:1001");
    assert_eq!(registration.registered(), 1);
}

#[tokio::test]
async fn a_name_server_that_is_gone_is_not_waited_for() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = config(&[gone.to_string()], 1001);
    let registration = Registration::start(&config, MemberState::classic(0), topics(&["T"], 1), &Seams::real());
    let start = Instant::now();
    assert_eq!(registration.register_now(MemberState::classic(0)).await, 0);
    assert!(start.elapsed() < REGISTER_NOW_LIMIT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_name_server_that_comes_back_is_told_everything() {
    let name_server = NameServer::start(0).await;
    let port = name_server.running.local_addr().port();
    let config = config(&[name_server.address()], 1001);
    let registration = Registration::start(&config, MemberState::classic(0), topics(&["T", "U"], 1), &Seams::real());
    name_server.wait_for("T", "0=127.0.0.1:1001").await;
    name_server.running.shutdown().await;
    let name_server = NameServer::start(port).await;
    name_server.wait_for("U", "0=127.0.0.1:1001").await;
    assert_eq!(registration.registered(), 1);
}
