//! `mqbroker`: one process, one or more broker groups (`-c a.conf -c b.conf`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use raftmq_sys::Seams;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::broker::{Broker, Process, StartError};
use crate::config::{self, BrokerConfig};

/// Options of `raftmq broker` and `mqbroker`, named as RocketMQ's.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:\n  \
    mqbroker -n 127.0.0.1:9876\n  \
    mqbroker -c conf/broker.conf\n  \
    mqbroker -c conf/dledger/broker-n0.conf            one member of a Raft group\n  \
    mqbroker -c group-a.conf -c group-b.conf           two groups in one process\n  \
    mqbroker -c conf/broker.conf -p                    print every key and its value")]
pub struct Args {
    /// Configuration file; several files serve several broker groups in this process.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub config_files: Vec<PathBuf>,
    /// Name servers, for example 192.168.0.1:9876;192.168.0.2:9876. It wins over the files, as in RocketMQ.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    pub namesrv_addr: Option<String>,
    /// Print all keys and end.
    #[arg(short = 'p', long = "printConfigItem")]
    pub print_all: bool,
    /// Print the important keys and end.
    #[arg(short = 'm', long = "printImportantConfig")]
    pub print_important: bool,
}

/// Runs until SIGTERM, SIGINT, or a group that cannot go on. Returns 0 after an orderly stop.
pub fn run(args: Args) -> ExitCode {
    let configs = match load(&args) {
        Ok(configs) => configs,
        Err(lines) => {
            eprintln!("{lines}");
            return ExitCode::from(2);
        }
    };
    if args.print_all || args.print_important {
        for config in &configs {
            let text = if args.print_all {
                raftmq_config::render_all(config)
            } else {
                raftmq_config::render_important(config)
            };
            print!("{text}");
        }
        return ExitCode::SUCCESS;
    }
    match serve(configs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            tracing::error!("{line}");
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &Args) -> Result<Vec<BrokerConfig>, String> {
    let mut configs = Vec::new();
    for path in &args.config_files {
        configs.push(config::load_file(path, args.namesrv_addr.as_deref())?);
    }
    if configs.is_empty() {
        configs.push(config::load_defaults(args.namesrv_addr.as_deref())?);
    }
    for (index, config) in configs.iter().enumerate() {
        if let Some(other) = configs[..index].iter().find(|other| other.listen_port == config.listen_port) {
            return Err(format!(
                "listenPort {} of broker {} is taken by broker {} of the same process",
                config.listen_port, config.broker_name, other.broker_name
            ));
        }
    }
    Ok(configs)
}

fn runtime(name: &'static str, threads: Option<usize>) -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.thread_name(name).enable_all().build().map_err(|error| format!("start threads {name}: {error}"))
}

/// Threads that carry Raft; client load cannot take them.
const RAFT_THREADS: usize = 2;

fn serve(configs: Vec<BrokerConfig>) -> Result<(), String> {
    let io = runtime("io", None)?;
    let raft = runtime("raft", Some(RAFT_THREADS))?;
    let seams = Seams::real();
    let process = Process::new(seams, io.handle().clone(), raft.handle().clone());
    let result = io.block_on(serve_all(configs, &process));
    raft.shutdown_timeout(Duration::from_secs(1));
    io.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve_all(configs: Vec<BrokerConfig>, process: &Process) -> Result<(), String> {
    // Before anything is open, so that a signal during recovery is not lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("SIGTERM: {error}"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| format!("SIGINT: {error}"))?;
    let mut brokers = Vec::new();
    for config in configs {
        let started = tokio::select! {
            started = Broker::start(config, process) => started,
            _ = terminate.recv() => Err(StartError::Interrupted),
            _ = interrupt.recv() => Err(StartError::Interrupted),
        };
        match started {
            Ok(broker) => {
                println!("{}", broker.boot_line());
                tracing::info!("{}", broker.boot_line());
                brokers.push(broker);
            }
            Err(error) => {
                stop_all(brokers).await;
                return match error {
                    StartError::Interrupted => Ok(()),
                    error => Err(error.to_string()),
                };
            }
        }
    }
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failed = any_stopped(&brokers) => Some(failed),
    };
    tracing::info!(brokers = brokers.len(), "broker stops");
    // A second signal ends the process at once.
    let stopping = stop_all(brokers);
    tokio::select! {
        () = stopping => {}
        _ = terminate.recv() => return Err("stopped by a second signal before the store was closed".to_owned()),
        _ = interrupt.recv() => return Err("stopped by a second signal before the store was closed".to_owned()),
    }
    match failed {
        None => Ok(()),
        Some(line) => Err(line),
    }
}

async fn any_stopped(brokers: &[Broker]) -> String {
    let stops = brokers.iter().map(|broker| Box::pin(broker.stopped()));
    futures::future::select_all(stops).await.0
}

async fn stop_all(brokers: Vec<Broker>) {
    futures::future::join_all(brokers.into_iter().map(Broker::shutdown)).await;
}
