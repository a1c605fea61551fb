//! The transport over gRPC: one connection and one bidirectional call per link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::transport::{Acceptor, Incoming, LINK_QUEUE_MESSAGES, Link, LinkError, Listening, Message, Transport};
use crate::wire::PeerMessage;
use crate::wire::raft_peer_client::RaftPeerClient;
use crate::wire::raft_peer_server::{RaftPeer, RaftPeerServer};

/// Name resolution, TCP and the call together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent connection is asked for a sign of life this often ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// ... and given up after this long without one.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES: u32 = 1 << 20;
/// Largest message: an append carries one entry at least, however large, and stops after the MiB that is full.
pub(crate) const MAX_MESSAGE_BYTES: usize = crate::group::MAX_ENTRY_BYTES + (2 << 20);

/// Members over TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcTransport;

impl Transport for GrpcTransport {
    fn connect(&self, address: &str) -> BoxFuture<'static, Result<Link, LinkError>> {
        let uri = format!("http://{address}");
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connect(uri)).await {
                Ok(result) => result,
                Err(_) => Err(LinkError(format!("no connection within {CONNECT_TIMEOUT:?}"))),
            }
        })
    }

    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> BoxFuture<'static, io::Result<Box<dyn Listening>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let listener = TcpListener::bind(&address).await?;
            let service = RaftPeerServer::new(PeerService { acceptor })
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            let server = Server::builder()
                .tcp_nodelay(true)
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_frame_size(FRAME_BYTES)
                .add_service(service);
            let task = tokio::spawn(async move {
                let connections = TcpListenerStream::new(listener).inspect(|connection| {
                    if let Ok(connection) = connection {
                        // Without it small messages wait for acknowledgements; the connection works all the same.
                        let _ = connection.set_nodelay(true);
                    }
                });
                if let Err(error) = server.serve_with_incoming(connections).await {
                    tracing::error!(%error, "raft listener ended");
                }
            });
            Ok(Box::new(GrpcListener { task }) as Box<dyn Listening>)
        })
    }
}

struct GrpcListener {
    task: JoinHandle<()>,
}

impl Listening for GrpcListener {}

impl Drop for GrpcListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(uri: String) -> Result<Link, LinkError> {
    let broken = |error: &dyn std::error::Error| LinkError(causes(error));
    let channel = Endpoint::from_shared(uri)
        .map_err(|error| broken(&error))?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect()
        .await
        .map_err(|error| broken(&error))?;
    let mut client = RaftPeerClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (outgoing, queue) = mpsc::channel::<Message>(LINK_QUEUE_MESSAGES);
    let response = client.link(ReceiverStream::new(queue).map(|message| message.0)).await;
    let incoming = response.map_err(|status| broken(&status))?.into_inner();
    Ok(Link { outgoing, incoming: messages(incoming) })
}

fn messages(incoming: Streaming<PeerMessage>) -> Incoming {
    Box::pin(incoming.map(|message| message.map(Message).map_err(|status| LinkError(causes(&status)))))
}

/// An error and what caused it, on one line: tonic's own text often is "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

struct PeerService {
    acceptor: Arc<dyn Acceptor>,
}

#[tonic::async_trait]
impl RaftPeer for PeerService {
    type LinkStream = BoxStream<'static, Result<PeerMessage, Status>>;

    async fn link(&self, request: Request<Streaming<PeerMessage>>) -> Result<Response<Self::LinkStream>, Status> {
        let (outgoing, queue) = mpsc::channel::<Message>(LINK_QUEUE_MESSAGES);
        self.acceptor.accept(Link { outgoing, incoming: messages(request.into_inner()) });
        Ok(Response::new(ReceiverStream::new(queue).map(|message| Ok(message.0)).boxed()))
    }
}
