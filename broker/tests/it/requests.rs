//! A member and a client connection to it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raftmq_broker::config::BrokerConfig;
use raftmq_broker::{Broker, Process};
use raftmq_remoting::{Client, RemotingCommand, ReplyBuffer, RequestProcessor, Session};
use raftmq_sys::Seams;
use tokio::runtime::Handle;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Classic,
    /// A Raft group of one.
    Raft,
}

/// A port that was free a moment ago, and the one two below it, where a broker listens too.
fn free_port() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port - 2)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports");
}

fn config(root: &Path) -> BrokerConfig {
    BrokerConfig {
        broker_name: "broker-a".to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        bind_address: "127.0.0.1".to_owned(),
        namesrv_addr: String::new(),
        listen_port: free_port(),
        store_root: root.display().to_string(),
        commit_log_file_bytes: 1 << 20,
        max_message_bytes: 100_000,
        ..BrokerConfig::default()
    }
}

/// The members of a Raft group of three, in the order of their slots.
pub(crate) async fn start_three(root: &Path) -> Vec<Broker> {
    let ports = [(); 3].map(|()| free_port());
    let peers: Vec<_> = ports.iter().enumerate().map(|(slot, port)| format!("n{slot}-127.0.0.1:{port}")).collect();
    let process = Process::new(Seams::real(), Handle::current(), Handle::current());
    let mut members = Vec::new();
    for slot in 0..3 {
        let config = BrokerConfig {
            raft_enable: true,
            raft_self_id: format!("n{slot}"),
            raft_peers: peers.join(";"),
            ..config(&root.join(slot.to_string()))
        };
        members.push(Broker::start(config, &process).await.unwrap());
    }
    members
}

pub(crate) async fn start(mode: Mode, root: &Path) -> Broker {
    let mut config = config(root);
    if mode == Mode::Raft {
        config.raft_enable = true;
        config.raft_self_id = "n0".to_owned();
        config.raft_peers = format!("n0-127.0.0.1:{}", free_port());
    }
    let process = Process::new(Seams::real(), Handle::current(), Handle::current());
    Broker::start(config, &process).await.unwrap()
}

/// What the member told this client on its own, by code and consumer group.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<Vec<(i32, String)>>>);

impl Notices {
    pub(crate) fn take(&self) -> Vec<(i32, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl RequestProcessor for Notices {
    fn process(&self, _: &Arc<Session>, requests: &mut Vec<RemotingCommand>, _: &mut ReplyBuffer) {
        for request in requests.drain(..) {
            let group = request.fields.get("consumerGroup").unwrap_or_default().into_owned();
            self.0.lock().unwrap().push((request.code, group));
        }
    }

    fn closed(&self, _: &Arc<Session>) {}
}

pub(crate) struct Connection {
    client: Client,
    pub(crate) notices: Notices,
}

pub(crate) async fn connect(broker: &Broker) -> Connection {
    let notices = Notices::default();
    let address = broker.group().config.broker_address();
    let client = Client::connect_with(&address, TIMEOUT, Arc::new(notices.clone())).await.unwrap();
    Connection { client, notices }
}

/// Code, remark and body as text; fields are asked by name.
pub(crate) struct Answer(RemotingCommand);

impl Answer {
    pub(crate) fn code(&self) -> i32 {
        self.0.code
    }

    pub(crate) fn remark(&self) -> &str {
        self.0.remark.as_deref().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> &str {
        std::str::from_utf8(&self.0.body).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> String {
        self.0.fields.get(name).unwrap_or_default().into_owned()
    }
}

impl Connection {
    pub(crate) async fn ask(&self, code: i32, fields: &[(&'static str, &str)], body: &str) -> Answer {
        let request = request(code, fields).with_body(body.to_owned());
        Answer(self.client.invoke(request, TIMEOUT).await.unwrap())
    }

    pub(crate) fn tell(&self, code: i32, fields: &[(&'static str, &str)]) {
        self.client.oneway(request(code, fields)).unwrap();
    }

    pub(crate) fn close(&self) {
        self.client.close();
    }
}

fn request(code: i32, fields: &[(&'static str, &str)]) -> RemotingCommand {
    fields.iter().fold(RemotingCommand::request(code), |request, (name, value)| request.with_field(*name, *value))
}

/// Waits until `holds` says so; the bound is generous because machines differ.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not happen: {what}");
}
