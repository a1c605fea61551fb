use std::path::PathBuf;
use std::process::ExitCode;

use raftmq_config::{Loaded, render_all, render_important};
use raftmq_sys::Seams;

use crate::{NamesrvConfig, Running, StartError, start};

/// Name server: tells producers and consumers which brokers have a topic.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Properties file with RocketMQ's keys
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Accepted as RocketMQ accepts it; a name server needs no other
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Print all keys and exit
    #[arg(short = 'p', long = "printConfigItem")]
    print_all: bool,
    /// Print the important keys and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important: bool,
}

/// Why the program ended other than by a signal.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot {what}: {source}")]
    Runtime { what: &'static str, source: std::io::Error },
}

/// Runs `mqnamesrv` until SIGTERM or SIGINT. What cannot start says so in a line on stderr.
pub fn run(args: Args) -> ExitCode {
    let seams = Seams::real();
    let loaded = match load(&args, &seams) {
        Ok(loaded) => loaded,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    if args.print_all || args.print_important {
        let text = if args.print_all { render_all(&loaded.config) } else { render_important(&loaded.config) };
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    match serve(loaded.config, seams) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &Args, seams: &Seams) -> Result<Loaded<NamesrvConfig>, String> {
    let Some(path) = &args.config_file else {
        return raftmq_config::parse("", b"").map_err(|errors| errors.to_string());
    };
    let content = seams.disk.read(path).map_err(|error| error.to_string())?;
    let file = path.display().to_string();
    let mut loaded = raftmq_config::parse::<NamesrvConfig>(&file, &content).map_err(|errors| errors.to_string())?;
    if !loaded.is_given("configStorePath") {
        let path = std::path::absolute(path).map_err(|error| format!("{file}: {error}"))?;
        loaded.config.config_store_path = path.display().to_string();
    }
    Ok(loaded)
}

fn serve(config: NamesrvConfig, seams: Seams) -> Result<(), RunError> {
    let failed = |what| move |source| RunError::Runtime { what, source };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed("start the runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
        let running: Running = start(config, seams).await?;
        // Scripts wait for the first sentence.
        println!("The Name Server boot success. serializeType=JSON, address {}", running.local_addr());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.shutdown().await;
        Ok(())
    })
}

fn signal(kind: tokio::signal::unix::SignalKind) -> Result<tokio::signal::unix::Signal, RunError> {
    tokio::signal::unix::signal(kind).map_err(|source| RunError::Runtime { what: "wait for signals", source })
}
