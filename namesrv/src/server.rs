use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raftmq_remoting::{BindError, Server, ServerConfig};
use raftmq_sys::Seams;
use tokio::sync::watch;

use crate::NamesrvConfig;
use crate::kv_config::{KvConfig, KvConfigError};
use crate::processor::Processor;

/// Why a name server cannot start; the text is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Settings(#[from] KvConfigError),
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A name server that listens.
pub struct Running {
    server: Server,
    /// Dropped to stop the look for silent brokers.
    stop: watch::Sender<()>,
}

/// How long requests that are being answered may take when the name server stops.
const DRAIN: Duration = Duration::from_secs(1);

/// Starts a name server on the current tokio runtime.
pub async fn start(config: NamesrvConfig, seams: Seams) -> Result<Running, StartError> {
    let settings = KvConfig::open(Arc::clone(&seams.disk), PathBuf::from(&config.kv_config_path))?;
    let address = format!("{}:{}", config.bind_address, config.listen_port);
    let server_config = ServerConfig {
        idle: Duration::from_secs(u64::from(config.max_idle_seconds)),
        max_connections: config.max_connections,
        max_outbound_bytes: config.max_outbound_bytes,
        max_inbound_bytes: config.max_inbound_bytes,
        ..ServerConfig::default()
    };
    let scan_interval = config.scan_interval;
    let processor = Arc::new(Processor::new(config, settings, seams.clone()));
    let server = Server::bind(&address, server_config, Arc::clone(&processor) as _, seams.clone()).await?;
    let (stop, stopped) = watch::channel(());
    seams.spawn.task("namesrv-expiry", Box::pin(expire(processor, scan_interval, stopped)));
    Ok(Running { server, stop })
}

async fn expire(processor: Arc<Processor>, interval: Duration, mut stopped: watch::Receiver<()>) {
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(interval) => processor.expire(),
        }
    }
}

impl Running {
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Stops listening, lets requests under way finish for a second, closes all connections.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.server.shutdown(DRAIN).await;
    }
}
