//! `raftmq dev`: a cluster on this machine, to develop against.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, value_parser};
use raftmq_broker::{Broker, Process};
use raftmq_client::{Admin, ClientConfig, ClientInstance};
use raftmq_namesrv::NamesrvConfig;
use raftmq_sys::Seams;
use raftmq_tools::local_cluster::{ClusterSpec, LocalCluster, MemberPorts, find_leader, free_blocks};
use raftmq_tools::{ToolError, folders, runtime};

use crate::logging;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  raftmq dev                           one broker, data goes when it ends
  raftmq dev --nodes 3 --dir ./data    a Raft group of three processes, data stays
  raftmq dev --port 0 --broker-port 0  free ports")]
pub(crate) struct DevArgs {
    /// 1: a broker and the name server in this process. 3: a Raft group of three processes, and the name server
    #[arg(long, default_value_t = 1, value_parser = parse_nodes)]
    nodes: u16,
    /// Keep data and logs in this folder; without it, in a temporary one that goes at the end
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Port of the name server; 0 takes a free one
    #[arg(long, default_value_t = 9876)]
    port: u16,
    /// Port of the first broker, others are 10 apart; 0 takes free ones
    #[arg(long, default_value_t = 10911, value_parser = value_parser!(u16).range(..=65_500))]
    broker_port: u16,
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(args: DevArgs) -> ExitCode {
    runtime::run_to_end(dev(args))
}

const CLUSTER: &str = "DefaultCluster";
/// From a member's port for clients to the one for its peers; port + 1 is RocketMQ's HA port.
const RAFT_PORT_STEP: u16 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

async fn dev(args: DevArgs) -> Result<(), ToolError> {
    let mut temporary = None;
    let folder = match &args.dir {
        Some(folder) => folders::ready(folder)?,
        None => temporary.insert(folders::temporary("raftmq-dev-")?).path().to_owned(),
    };
    let spec = spec(&args, folder)?;
    if let Some(port) = spec.taken_port() {
        return Err(ToolError::Failed(format!("port {port} is taken; choose others with --port and --broker-port")));
    }
    let stays = args.dir.is_some();
    let outcome = match args.nodes {
        1 => one_process(&spec, stays).await,
        // First the signals, so that nothing is left behind at any moment.
        _ => tokio::select! {
            biased;
            stopped = runtime::interrupted() => stopped,
            outcome = processes(spec, stays) => outcome,
        },
    };
    if let Some(folder) = temporary {
        let path = folder.path().to_owned();
        folder.close().map_err(|source| ToolError::Io { path, source })?;
    }
    outcome
}

fn spec(args: &DevArgs, folder: PathBuf) -> Result<ClusterSpec, ToolError> {
    let free = free_blocks(Seams::real().rng.as_ref(), usize::from(args.nodes) + 1, 8)?;
    let members = (0..args.nodes).map(|number| {
        let client = match args.broker_port {
            0 => free[usize::from(number)] + 2,
            first => first + 10 * number,
        };
        MemberPorts { client, raft: client + RAFT_PORT_STEP }
    });
    Ok(ClusterSpec {
        folder,
        cluster: CLUSTER.to_owned(),
        broker_name: "broker-a".to_owned(),
        name_server_port: if args.port == 0 { free[usize::from(args.nodes)] } else { args.port },
        members: members.collect(),
        segment_bytes: None,
    })
}

/// Name server and broker in this process, until a signal.
async fn one_process(spec: &ClusterSpec, stays: bool) -> Result<(), ToolError> {
    let log_file = spec.folder.join("raftmq.log");
    let _log = logging::start(&log_file).map_err(|source| ToolError::Io { path: log_file.clone(), source })?;
    let seams = Seams::real();
    let mut interrupted = pin!(runtime::interrupted());
    let name_server_config = NamesrvConfig {
        listen_port: spec.name_server_port,
        bind_address: "127.0.0.1".to_owned(),
        kv_config_path: spec.folder.join("kvConfig.json").display().to_string(),
        config_store_path: spec.folder.join("namesrv.properties").display().to_string(),
        ..NamesrvConfig::default()
    };
    let name_server = raftmq_namesrv::start(name_server_config, seams.clone()).await.map_err(failed)?;
    let config = raftmq_broker::config::load("raftmq dev", spec.member_config(0).as_bytes()).map_err(failed)?.config;
    let handle = tokio::runtime::Handle::current();
    let process = Process::new(seams, handle.clone(), handle);
    let broker = tokio::select! {
        // First the signals: a stop during recovery is not lost.
        biased;
        stopped = &mut interrupted => {
            name_server.shutdown().await;
            return stopped;
        }
        broker = Broker::start(config, &process) => broker.map_err(failed)?,
    };
    println!("  name server  {}", spec.name_server());
    println!("  broker       {}", spec.address(0));
    println!("  log          {}", log_file.display());
    print_next(&spec.name_server(), stays);
    let outcome = tokio::select! {
        stopped = &mut interrupted => stopped,
        reason = broker.stopped() => Err(ToolError::Failed(reason)),
    };
    broker.shutdown().await;
    name_server.shutdown().await;
    outcome
}

fn failed(error: impl std::fmt::Display) -> ToolError {
    ToolError::Failed(error.to_string())
}

/// Name server and members as processes, for ever.
async fn processes(spec: ClusterSpec, stays: bool) -> Result<(), ToolError> {
    let config = ClientConfig::new(&spec.name_server());
    println!("Starting a name server and {} broker(s) in {}", spec.members.len(), spec.folder.display());
    let mut cluster = LocalCluster::start(spec)?;
    let admin = Admin::new(&ClientInstance::start(config, Seams::real()));
    let leader = find_leader(&admin, cluster.spec(), PATIENCE).await?;
    println!("  name server  {}", cluster.spec().name_server());
    for number in 0..cluster.spec().members.len() {
        let (address, pid) = (cluster.spec().address(number), cluster.member(number).pid().unwrap_or_default());
        let role = if number == leader { "  leader" } else { "" };
        println!("  n{number}           {address}  pid {pid}{role}");
    }
    print_next(&cluster.spec().name_server(), stays);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for title in cluster.restart_ended()? {
            println!("{title} had ended and was started again");
        }
    }
}

/// The next two commands to type.
fn print_next(name_server: &str, stays: bool) {
    let program = std::env::args().next().unwrap_or_else(|| "raftmq".to_owned());
    println!("\nIn another terminal:");
    println!("  {program} produce -n {name_server} -t TopicTest --body 'hello {{}}' --count 10 --print result");
    println!("  {program} consume -n {name_server} -t TopicTest");
    let data = if stays { "the data stays" } else { "the data goes, too" };
    println!("\nCtrl-C stops everything; {data}.");
}
