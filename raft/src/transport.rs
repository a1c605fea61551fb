//! How members reach each other: ordered two-way streams of messages. The real one is `grpc`; a simulator brings its
//! own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::Stream;
use tokio::sync::mpsc;

use crate::wire::PeerMessage;

/// One message between members, opaque to transports.
#[derive(Clone, Debug)]
pub struct Message(pub(crate) PeerMessage);

/// Messages that a link holds on their way out before its sender has to wait.
pub const LINK_QUEUE_MESSAGES: usize = 128;

/// What the other end sends.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<Message, LinkError>> + Send + Sync>>;

/// One end of a stream between two members.
///
/// What breaks if a transport cheats: messages that arrive out of order, twice or with gaps between them make a
/// follower stop with a diverged log. Losing the tail of a stream is fine, if the stream then ends.
pub struct Link {
    /// Dropping it ends the stream at the other end.
    pub outgoing: mpsc::Sender<Message>,
    /// Ends when the other end or the connection does.
    pub incoming: Incoming,
}

/// Why a link broke.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(pub String);

/// Takes the links that others open.
pub trait Acceptor: Send + Sync + 'static {
    /// Must not block; called on the Raft runtime.
    fn accept(&self, link: Link);
}

/// A place that listens until it is dropped.
pub trait Listening: Send + Sync + 'static {}

/// Opens and accepts links. Shared by all groups of a process.
pub trait Transport: Send + Sync + 'static {
    /// Opens a link of its own (no head-of-line blocking between links) to `host:port`, resolving the name anew.
    fn connect(&self, address: &str) -> BoxFuture<'static, Result<Link, LinkError>>;
    /// Listens on `host:port` until the result is dropped.
    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> BoxFuture<'static, io::Result<Box<dyn Listening>>>;
}
