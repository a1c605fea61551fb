//! One member of one broker group: opened, wired, registered, and closed again.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use raftmq_raft::{
    OpenedStore, Peer, RaftConfig, RaftEnvironment, RaftGroup, RaftListeners, RoleKind, StateMachine, Timers,
};
use raftmq_remoting::{BindError, ReservedAddress, Server, ServerConfig};
use raftmq_store::{ClassicStore, CommitLog, ConsumeQueues, FlushMode, StoreConfig};
use raftmq_sys::Seams;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::apply_sink::GroupSink;
use crate::client_registry::ClientRegistry;
use crate::config::{BrokerConfig, FlushDiskType, MetricsExporterType};
use crate::dispatcher::Dispatcher;
use crate::forward_service::ForwardService;
use crate::group::Group;
use crate::json_config::{JsonConfig, JsonSaver};
use crate::leader_hold::{HoldLimits, LeaderHold};
use crate::metrics::{MessageMetrics, ProposerMetrics};
use crate::offset_coalescer::OffsetCoalescer;
use crate::processor::pull_message;
use crate::proposer::{Proposer, ProposerLimits};
use crate::pull_hold::PullHold;
use crate::registration::{MemberState, Registration};
use crate::replicator::{ClassicLocalStore, LocalReplicator, RaftReplicator, Replicator};
use crate::role_follower::RoleFollower;
use crate::state_machine::{Machine, SledTableStore, Tables, TopicDefaults, bootstrap_commands};
use crate::topics_in_creation::TopicsInCreation;
use crate::{background, metrics_exporter};

/// Why a broker did not start. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("broker {broker}: {reason}")]
    Config { broker: String, reason: String },
    #[error("broker {broker}: {reason}")]
    Store { broker: String, reason: String },
    #[error("broker {broker}: {reason}")]
    Listen { broker: String, reason: String },
    #[error("stopped by a signal during the start")]
    Interrupted,
}

/// What the groups of one process share.
#[derive(Clone)]
pub struct Process {
    pub seams: Seams,
    /// Clients' connections.
    pub io: Handle,
    pub raft: RaftEnvironment,
}

impl Process {
    /// `raft` runs Raft's own tasks, so that client load cannot delay heartbeats.
    pub fn new(seams: Seams, io: Handle, raft: Handle) -> Process {
        let raft = RaftEnvironment { seams: seams.clone(), runtime: raft, listeners: RaftListeners::grpc() };
        Process { seams, io, raft }
    }
}

/// A running member.
pub struct Broker {
    group: Arc<Group>,
    servers: Vec<Server>,
    registration: Registration,
    engine: Engine,
    /// The line to end with, once this member cannot go on.
    stopped: watch::Receiver<Option<String>>,
}

#[derive(Clone)]
enum Engine {
    Local(Arc<LocalReplicator>),
    Raft(Arc<RaftGroup>),
}

/// A member whose log is open and whose tables are filled.
struct Opened {
    tables: Tables,
    log: Arc<CommitLog>,
    queues: Arc<ConsumeQueues>,
    replicator: Arc<dyn Replicator>,
    engine: Engine,
}

impl Broker {
    /// Opens the store, joins the group, listens. Returns when clients can connect; in Raft mode a leader may not
    /// be known yet, and requests wait for it.
    pub async fn start(config: BrokerConfig, process: &Process) -> Result<Broker, StartError> {
        let config = Arc::new(config);
        let store_host = store_host(&config)?;
        // Before the store: a second start of a running broker must not touch its files.
        let addresses = reserve(&config)?;
        let sink = GroupSink::default();
        let forward = Arc::new(ForwardService::default());
        let (stop, stopped) = watch::channel(None);
        let opened = if config.raft_enable {
            open_raft(&config, process, sink.clone(), forward.clone()).await?
        } else {
            open_classic(&config, process, sink.clone(), stop.clone()).await?
        };
        let group = Arc::new(wire(config.clone(), process, store_host, &opened));
        sink.set_group(&group);
        forward.set_group(&group);
        background::start(&group);
        let servers = listen(&group, process, addresses)?;
        serve_metrics(&config, process).await?;
        let member = match &opened.engine {
            Engine::Local(_) => MemberState::classic(0),
            Engine::Raft(_) => MemberState::follower(raft_slot(&config)?, 0),
        };
        let registration = Registration::start(&config, member, group.topics.clone(), &process.seams);
        // Set once, here.
        let _ = group.registration.set(registration.clone());
        if let Engine::Raft(raft) = &opened.engine {
            let slot = raft_slot(&config)?;
            let follower = RoleFollower::new(group.clone(), raft.clone(), registration.clone(), slot, stop);
            process.io.spawn(follower.run());
        }
        let (topics, changed) = (registration.clone(), sink.topics_changed());
        process.io.spawn(async move {
            loop {
                changed.notified().await;
                topics.topics_changed();
            }
        });
        Ok(Broker { group, servers, registration, engine: opened.engine, stopped })
    }

    /// The line that scripts look for.
    pub fn boot_line(&self) -> String {
        let config = &self.group.config;
        let mut line =
            format!("The broker[{}, {}] boot success. serializeType=JSON", config.broker_name, config.broker_address());
        if !config.namesrv_addr.is_empty() {
            line.push_str(" and name server is ");
            line.push_str(&config.namesrv_addr);
        }
        line
    }

    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Resolves when this member cannot go on, with the line to end with.
    pub async fn stopped(&self) -> String {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(line) => line.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes itself out of the name servers, lets what is under way end, and closes the store.
    pub async fn shutdown(self) {
        self.registration.shutdown().await;
        pull_message::resume(&self.group, self.group.holds.drain());
        for server in &self.servers {
            server.shutdown(Duration::from_millis(500)).await;
        }
        // What consumers committed one-way last is not lost by an orderly stop.
        match (self.group.replicator.leadership().is_leading(), &self.group.leader_hold) {
            (false, Some(hold)) => hold.forward_offsets(&self.group).await,
            _ => background::propose_offsets(&self.group),
        }
        let limit = self.group.seams.clock.monotonic() + self.group.config.sync_flush_timeout;
        while !self.group.proposer.is_idle() && self.group.seams.clock.monotonic() < limit {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match self.engine {
            Engine::Local(local) => {
                let (closed, wait) = oneshot::channel();
                local.close(Box::new(move || {
                    // The receiver below waits.
                    let _ = closed.send(());
                }));
                let _ = wait.await;
            }
            Engine::Raft(raft) => raft.shutdown().await,
        }
        tracing::info!(broker = self.group.config.broker_name, "broker stopped");
    }
}

fn wire(config: Arc<BrokerConfig>, process: &Process, store_host: SocketAddr, opened: &Opened) -> Group {
    let registry = &process.seams.metrics;
    let limits = ProposerLimits {
        queue_bytes: config.proposer_queue_max_bytes,
        batch_bytes: config.proposer_batch_max_bytes,
        max_wait: config.proposer_max_wait,
        max_under_way: config.sync_flush_timeout,
    };
    let metrics = ProposerMetrics::new(registry, &config.broker_name);
    let proposer = Proposer::new(opened.replicator.clone(), process.seams.clock.clone(), limits, metrics);
    let leader_hold = match &opened.engine {
        Engine::Local(_) => None,
        Engine::Raft(raft) => {
            let limits = HoldLimits {
                hold: config.raft_hold_time,
                answer: config.sync_flush_timeout,
                bytes: config.proposer_queue_max_bytes,
            };
            Some(LeaderHold::new(raft.clone(), limits))
        }
    };
    Group {
        metrics: MessageMetrics::new(registry, &config.broker_name),
        seams: process.seams.clone(),
        io: process.io.clone(),
        topics: opened.tables.topics.clone(),
        groups: opened.tables.groups.clone(),
        consumer_offsets: opened.tables.consumer_offsets.clone(),
        log: opened.log.clone(),
        queues: opened.queues.clone(),
        proposer,
        topics_in_creation: TopicsInCreation::default(),
        replicator: opened.replicator.clone(),
        clients: Arc::new(ClientRegistry::default()),
        holds: PullHold::new(config.pull_hold_max_requests),
        offset_commits: OffsetCoalescer::new(
            process.seams.clock.clone(),
            config.raft_enable.then_some(OffsetCoalescer::MAX_AGE),
        ),
        leader_hold,
        topic_defaults: config.topic_defaults(),
        registration: OnceLock::new(),
        store_host,
        config,
    }
}

fn store_error(config: &BrokerConfig) -> impl Fn(String) -> StartError {
    let broker = config.broker_name.clone();
    move |reason| StartError::Store { broker: broker.clone(), reason }
}

fn config_error(config: &BrokerConfig) -> impl Fn(String) -> StartError {
    let broker = config.broker_name.clone();
    move |reason| StartError::Config { broker: broker.clone(), reason }
}

fn raft_slot(config: &BrokerConfig) -> Result<u16, StartError> {
    config.raft_self_slot().map_err(config_error(config))
}

/// The address that goes into messages. A host name is resolved once: stored bytes must not change with a resolver.
fn store_host(config: &BrokerConfig) -> Result<SocketAddr, StartError> {
    if let Ok(ip) = config.broker_ip1.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, config.listen_port));
    }
    let address = (config.broker_ip1.as_str(), config.listen_port);
    let resolved = address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    resolved.ok_or_else(|| config_error(config)(format!("brokerIP1 `{}` is no address", config.broker_ip1)))
}

/// The store's settings that follow from the keys.
fn store_config(config: &BrokerConfig) -> StoreConfig {
    let mut store = StoreConfig::new(&config.store_root);
    store.commit_log_dir = config.commit_log_dir();
    store.segment_bytes = config.commit_log_file_bytes;
    store.queue_file_bytes = config.queue_file_bytes();
    store.max_message_bytes = config.max_message_bytes;
    store.check_crc_on_recover = config.check_crc_on_recover;
    store.flush = match config.flush_disk_type {
        FlushDiskType::SyncFlush => FlushMode::Sync,
        FlushDiskType::AsyncFlush => FlushMode::Async {
            interval: config.flush_interval,
            least_pages: config.flush_least_pages,
            thorough_interval: config.flush_thorough_interval,
        },
    };
    store
}

/// The error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

async fn open_classic(
    config: &BrokerConfig,
    process: &Process,
    sink: GroupSink,
    stop: watch::Sender<Option<String>>,
) -> Result<Opened, StartError> {
    let failed = store_error(config);
    let seams = &process.seams;
    let tables = Tables::default();
    let store = store_config(config);
    let opening = seams.clone();
    let store = on_blocking(seams, move || ClassicStore::open(store, opening)).await;
    let store = store.map_err(|error| failed(with_causes(&error)))?;
    tracing::info!(report = ?store.report, "store opened");
    let json = JsonConfig::open(seams.disk.clone(), Path::new(&config.store_root))
        .and_then(|mut json| json.load(&tables).map(|()| json))
        .map_err(|error| failed(with_causes(&error)))?;
    let mut saver = JsonSaver::new(json, tables.clone());
    let mut machine = Machine::without_store(tables.clone(), store.queues.clone(), Box::new(sink));
    for command in bootstrap_commands(&tables, &config.topic_defaults(), seams.clock.unix_ms()) {
        machine.apply_command(None, &command).map_err(|error| failed(with_causes(&error)))?;
    }
    crate::replicator::TableSaver::changed(&mut saver, &mut machine).map_err(&failed)?;
    flush_offsets(saver.clone(), config.flush_consumer_offset_interval, process);
    let sync_flush = config.flush_disk_type == FlushDiskType::SyncFlush;
    let local = ClassicLocalStore::new(store.writer, machine, Box::new(saver), sync_flush, stop);
    let local = LocalReplicator::start(&config.broker_name, Box::new(local), &*seams.spawn, process.io.clone())
        .map_err(|error| failed(error.to_string()))?;
    let local = Arc::new(local);
    Ok(Opened { tables, log: store.log, queues: store.queues, replicator: local.clone(), engine: Engine::Local(local) })
}

/// Writes consumer offsets to their file now and then; the last time is at close.
fn flush_offsets(saver: JsonSaver, interval: Duration, process: &Process) {
    let seams = process.seams.clone();
    process.io.spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let saver = saver.clone();
            on_blocking(&seams, move || saver.flush_offsets()).await;
        }
    });
}

/// Runs what blocks off the runtime's threads and waits for it.
async fn on_blocking<T: Send + 'static>(seams: &Seams, job: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = oneshot::channel();
    seams.spawn.blocking("store", Box::new(move || drop(done.send(job()))));
    match wait.await {
        Ok(value) => value,
        // The job panicked, and its panic has been printed.
        Err(_) => std::future::pending().await,
    }
}

async fn open_raft(
    config: &BrokerConfig,
    process: &Process,
    sink: GroupSink,
    forward: Arc<ForwardService>,
) -> Result<Opened, StartError> {
    let failed = store_error(config);
    let peers = config.raft_peers().map_err(config_error(config))?;
    let peers = peers.into_iter().map(|peer| Peer { slot: peer.slot, address: peer.address }).collect();
    let slot = raft_slot(config)?;
    let mut raft = RaftConfig::new(&config.cluster, config.raft_group_name(), slot, peers, store_config(config));
    raft.timers = Timers {
        heartbeat: config.raft_heartbeat,
        election_min: config.raft_election_min,
        election_max: config.raft_election_max,
    };
    let tables = Tables::default();
    let (machine_tables, seams) = (tables.clone(), process.seams.clone());
    let folder = Path::new(&config.store_root).join("tables");
    let make = move |opened: &OpenedStore| -> Result<Box<dyn StateMachine>, String> {
        let entries = opened.entries.clone();
        let is_in_log = move |id: raftmq_store::FrameId| entries.id(id.index) == Some(id);
        let store = SledTableStore::open(&folder, &seams, is_in_log).map_err(|error| with_causes(&error))?;
        Ok(Box::new(Machine::open(machine_tables, opened.queues.clone(), Box::new(sink), Box::new(store))))
    };
    let environment = process.raft.clone();
    let raft = RaftGroup::start(raft, environment, make, forward).await;
    let raft = Arc::new(raft.map_err(|error| failed(with_causes(&error)))?);
    if config.flush_disk_type == FlushDiskType::AsyncFlush {
        tracing::warn!("flushDiskType=ASYNC_FLUSH: a power cut, even of one machine, may lose acknowledged messages");
    }
    Ok(Opened {
        tables,
        log: raft.commit_log(),
        queues: raft.queues(),
        replicator: Arc::new(RaftReplicator::new(raft.clone(), process.io.clone())),
        engine: Engine::Raft(raft),
    })
}

fn listen_error(config: &BrokerConfig) -> impl Fn(BindError) -> StartError {
    let broker = config.broker_name.clone();
    move |error| StartError::Listen { broker: broker.clone(), reason: error.to_string() }
}

/// The addresses of clients: listenPort, and listenPort - 2 for those that use the "VIP channel".
fn reserve(config: &BrokerConfig) -> Result<Vec<ReservedAddress>, StartError> {
    let vip_port = config.listen_port.checked_sub(2).filter(|port| *port > 0);
    let addresses = [Some(config.listen_port), vip_port].into_iter().flatten();
    let reserved = addresses.map(|port| ReservedAddress::reserve(&format!("{}:{port}", config.bind_address)));
    reserved.map(|result| result.map_err(listen_error(config))).collect()
}

fn listen(group: &Arc<Group>, process: &Process, addresses: Vec<ReservedAddress>) -> Result<Vec<Server>, StartError> {
    let config = &group.config;
    let server_config = ServerConfig {
        idle: Duration::from_secs(u64::from(config.server_max_idle_seconds)),
        max_connections: config.server_max_connections,
        max_outbound_bytes: config.server_max_outbound_bytes,
        max_inbound_bytes: config.server_max_inbound_bytes,
        ..ServerConfig::default()
    };
    let dispatcher = Arc::new(Dispatcher::new(group.clone()));
    let mut servers = Vec::new();
    for address in addresses {
        let server = Server::start(address, server_config.clone(), dispatcher.clone(), process.seams.clone());
        servers.push(server.map_err(listen_error(config))?);
    }
    Ok(servers)
}

async fn serve_metrics(config: &BrokerConfig, process: &Process) -> Result<(), StartError> {
    if config.metrics_exporter == MetricsExporterType::Disable {
        return Ok(());
    }
    let host = if config.metrics_host.is_empty() { "0.0.0.0" } else { &config.metrics_host };
    let address = format!("{host}:{}", config.metrics_port);
    let served = match address.parse() {
        Ok(address) => metrics_exporter::serve(address, process.seams.metrics.clone()).await,
        Err(_) => Err(std::io::Error::other("metricsPromExporterHost is no address")),
    };
    served.map_err(|error| StartError::Listen {
        broker: config.broker_name.clone(),
        reason: format!("metrics exporter cannot listen at {address}: {error}"),
    })
}

impl BrokerConfig {
    /// What decides about the topics made at start.
    pub fn topic_defaults(&self) -> TopicDefaults {
        TopicDefaults {
            broker_cluster_name: self.cluster.clone(),
            broker_name: self.broker_name.clone(),
            auto_create_topic_enable: self.auto_create_topic,
            default_topic_queue_nums: self.default_topic_queue_nums,
            cluster_topic_enable: self.cluster_topic,
            broker_topic_enable: self.broker_topic,
            trace_topic_enable: self.trace_topic_enable,
            msg_trace_topic_name: self.trace_topic.clone(),
        }
    }
}

/// Whether a role takes part in elections or has stopped for good.
pub(crate) fn stop_reason(kind: &RoleKind) -> Option<String> {
    match kind {
        RoleKind::Stopped { reason } => Some(reason.as_deref().unwrap_or("the Raft group has stopped").to_owned()),
        _ => None,
    }
}
