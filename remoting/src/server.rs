use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_sys::{Clock, Seams, Spawn};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::connection::{Connection, RequestProcessor};
use crate::frame::{FrameDecoder, MAX_FRAME_BYTES};
use crate::inbound::{InboundBudget, InboundShare};
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::session::{Session, micros};

/// Limits of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Largest frame with its length word, in bytes.
    pub max_frame_bytes: usize,
    /// A connection that neither reads nor writes for this long is closed (`serverChannelMaxIdleTimeSeconds`), and so
    /// is one that needs longer for one frame.
    pub idle: Duration,
    /// Further connections are closed at once.
    pub max_connections: usize,
    /// Bytes that may wait for a peer that does not read; beyond, its connection is closed. Reading from it pauses
    /// at a quarter of this.
    pub max_outbound_bytes: usize,
    /// Bytes of frames that have not come whole, over all connections; beyond, those that hold most are closed.
    pub max_inbound_bytes: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            max_frame_bytes: MAX_FRAME_BYTES,
            idle: Duration::from_secs(120),
            max_connections: 65_536,
            max_outbound_bytes: 64 << 20,
            max_inbound_bytes: 512 << 20,
        }
    }
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    pub address: String,
    pub source: io::Error,
}

/// Connections that may wait to be accepted (RocketMQ `NettyServerConfig`).
const BACKLOG: i32 = 1024;
/// After an accept failed, for example for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks whether everything is answered.
const DRAIN_STEP: Duration = Duration::from_millis(2);
/// For the tasks of closed connections to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A listening socket with its connections. Dropping it closes them all; [`Server::shutdown`] lets them finish.
pub struct Server {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: ServerConfig,
    processor: Arc<dyn RequestProcessor>,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    metrics: Arc<Metrics>,
    inbound: Arc<InboundBudget>,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    stopping: watch::Sender<bool>,
}

impl Server {
    /// Listens on `address` (`host:port`, port 0 for any) and serves on the current tokio runtime.
    pub async fn bind(
        address: &str,
        config: ServerConfig,
        processor: Arc<dyn RequestProcessor>,
        seams: Seams,
    ) -> Result<Server, BindError> {
        Server::start(ReservedAddress::reserve(address)?, config, processor, seams)
    }

    /// Listens on an address that was reserved before.
    pub fn start(
        reserved: ReservedAddress,
        config: ServerConfig,
        processor: Arc<dyn RequestProcessor>,
        seams: Seams,
    ) -> Result<Server, BindError> {
        let address = reserved.address.clone();
        let failed = |source| BindError { address, source };
        let listener = reserved.listen().map_err(failed.clone())?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            inbound: InboundBudget::new(config.max_inbound_bytes),
            config,
            processor,
            clock: seams.clock,
            spawn: seams.spawn,
            metrics: Arc::new(Metrics::new(&seams.metrics)),
            sessions: Mutex::default(),
            stopping: watch::Sender::new(false),
        });
        shared.spawn.task("remoting-accept", Box::pin(accept(Arc::clone(&shared), listener)));
        shared.spawn.task("remoting-idle", Box::pin(close_idle(Arc::clone(&shared))));
        Ok(Server { local_addr, shared })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops accepting and reading, lets what was asked be answered for at most `drain`, then closes all connections.
    pub async fn shutdown(&self, drain: Duration) {
        self.shared.stopping.send_replace(true);
        let sessions = self.shared.all_sessions();
        sessions.iter().for_each(|session| session.stop_reading());
        let deadline = Instant::now() + drain;
        while !sessions.iter().all(|session| session.is_closed() || session.is_drained()) && Instant::now() < deadline {
            sleep(DRAIN_STEP).await;
        }
        self.shared.close_all();
        let deadline = Instant::now() + CLOSE_LIMIT;
        while !self.shared.sessions().is_empty() && Instant::now() < deadline {
            sleep(DRAIN_STEP).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.send_replace(true);
        self.shared.close_all();
    }
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_sessions(&self) -> Vec<Arc<Session>> {
        self.sessions().values().cloned().collect()
    }

    fn close_all(&self) {
        self.all_sessions().iter().for_each(|session| session.close());
    }
}

/// An address that is ours and nobody is served at yet: whoever starts finds out that a port is taken before he touches
/// any file, and until he listens clients are refused at once instead of waiting.
pub struct ReservedAddress {
    address: String,
    socket: Socket,
}

impl ReservedAddress {
    /// Fails if somebody listens on `address` (`host:port`, port 0 for any).
    pub fn reserve(address: &str) -> Result<ReservedAddress, BindError> {
        let socket = reserve(address).map_err(|source| BindError { address: address.to_owned(), source })?;
        Ok(ReservedAddress { address: address.to_owned(), socket })
    }

    fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        TcpListener::from_std(self.socket.into())
    }
}

fn reserve(address: &str) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in address.to_socket_addrs()? {
        match bind(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut stopping = shared.stopping.subscribe();
    let mut refused = Refused::default();
    loop {
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if shared.sessions().len() < shared.config.max_connections => {
                serve(&shared, stream, peer);
            }
            Ok((_, peer)) => refused.note(&shared, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connections over the limit, logged once a second.
#[derive(Default)]
struct Refused {
    since_log: u64,
    last_log: Option<Duration>,
}

impl Refused {
    fn note(&mut self, shared: &Shared, peer: SocketAddr) {
        shared.metrics.refused_connections.add(1);
        self.since_log += 1;
        let now = shared.clock.monotonic();
        if self.last_log.is_none_or(|last| now.saturating_sub(last) >= Duration::from_secs(1)) {
            let limit = shared.config.max_connections;
            tracing::warn!(%peer, limit, refused = self.since_log, "too many connections, new ones are closed");
            *self = Refused { since_log: 0, last_log: Some(now) };
        }
    }
}

fn serve(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        // The peer is gone already.
        tracing::debug!(%peer, %error, "connection dropped");
        return;
    }
    let (reader, writer) = stream.into_split();
    let outbound = Outbound::new(writer, shared.config.max_outbound_bytes);
    let (clock, metrics) = (Arc::clone(&shared.clock), Arc::clone(&shared.metrics));
    let session = Session::connected(peer, outbound, Arc::clone(&clock), Arc::clone(&metrics), true);
    shared.sessions().insert(session.id(), Arc::clone(&session));
    if *shared.stopping.borrow() {
        session.close();
    }
    let inbound = InboundShare::new(&shared.inbound, &session);
    let connection = Connection {
        session,
        inbound: Some(inbound),
        reader,
        processor: Arc::clone(&shared.processor),
        decoder: FrameDecoder::new(shared.config.max_frame_bytes),
        clock,
        metrics,
        max_outbound_bytes: shared.config.max_outbound_bytes,
    };
    let ended = Arc::clone(shared);
    let run = connection.run(move |session| {
        ended.sessions().remove(&session.id());
    });
    shared.spawn.task("remoting-connection", Box::pin(run));
}

async fn close_idle(shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let idle = shared.config.idle;
    let step = (idle / 8).clamp(Duration::from_millis(10), Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = sleep(step) => {}
        }
        let oldest_us = micros(shared.clock.as_ref()).saturating_sub(idle.as_micros() as u64);
        let idle_seconds = idle.as_secs();
        for session in shared.all_sessions() {
            if session.last_active_us() < oldest_us {
                tracing::info!(peer = %session.peer(), idle_seconds, "idle connection closed");
                session.close();
            } else if session.unfinished_since_us().is_some_and(|since| since < oldest_us) {
                tracing::warn!(peer = %session.peer(), idle_seconds, "connection closed: a frame took too long to come");
                session.close();
            }
        }
    }
}
