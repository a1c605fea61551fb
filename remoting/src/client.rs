use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raftmq_sys::metrics::Registry;
use raftmq_sys::{Clock, RealClock};
use tokio::net::TcpStream;

use crate::command::RemotingCommand;
use crate::connection::{Connection, RequestProcessor};
use crate::frame::FrameDecoder;
use crate::metrics::Metrics;
use crate::outbound::Outbound;
use crate::reply::ReplyBuffer;
use crate::response_code;
use crate::session::{InvokeError, Session};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot connect to {address}: {source}")]
    Io { address: String, source: io::Error },
    #[error("cannot connect to {address} within {} ms", timeout.as_millis())]
    Timeout { address: String, timeout: Duration },
}

/// Bytes of requests that may wait for a server that does not read.
const MAX_OUTBOUND_BYTES: usize = 64 << 20;

/// One connection to a server. Requests of many callers share it; dropping it closes it.
pub struct Client {
    session: Arc<Session>,
}

impl Client {
    /// Connects to `host:port`. Requests of the server are answered as not supported.
    pub async fn connect(address: &str, timeout: Duration) -> Result<Client, ConnectError> {
        Client::connect_with(address, timeout, Arc::new(Unsupported)).await
    }

    /// Connects; `processor` handles what the server asks or tells, and its `closed` is called when the connection
    /// ends.
    pub async fn connect_with(
        address: &str,
        timeout: Duration,
        processor: Arc<dyn RequestProcessor>,
    ) -> Result<Client, ConnectError> {
        let failed = |source| ConnectError::Io { address: address.to_owned(), source };
        let stream = match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(ConnectError::Timeout { address: address.to_owned(), timeout }),
        };
        stream.set_nodelay(true).map_err(failed)?;
        let peer = stream.peer_addr().map_err(failed)?;
        let (reader, writer) = stream.into_split();
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        // A client program has no metrics page of its own.
        let metrics = Arc::new(Metrics::new(&Registry::default()));
        let outbound = Outbound::new(writer, MAX_OUTBOUND_BYTES);
        let session = Session::connected(peer, outbound, Arc::clone(&clock), Arc::clone(&metrics), false);
        let connection = Connection {
            session: Arc::clone(&session),
            reader,
            processor,
            decoder: FrameDecoder::default(),
            clock,
            metrics,
            max_outbound_bytes: MAX_OUTBOUND_BYTES,
            inbound: None,
        };
        tokio::spawn(connection.run(|_| {}));
        Ok(Client { session })
    }

    pub fn peer(&self) -> SocketAddr {
        self.session.peer()
    }

    /// Sends a request and waits for its answer, whatever the answer's code. When the connection is lost, all who
    /// wait fail at once with an error that says whether the request was written.
    pub async fn invoke(&self, request: RemotingCommand, timeout: Duration) -> Result<RemotingCommand, InvokeError> {
        self.session.invoke(request, timeout).await
    }

    /// Hands a one-way request to the connection; `Ok` does not say that it arrives.
    pub fn oneway(&self, request: RemotingCommand) -> Result<(), InvokeError> {
        self.session.try_oneway(request)
    }

    pub fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        self.session.closed().await;
    }

    pub fn close(&self) {
        self.session.close();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.session.close();
    }
}

struct Unsupported;

impl RequestProcessor for Unsupported {
    fn process(&self, _session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        for request in requests.drain(..) {
            let remark = format!(" request type {} not supported", request.code);
            replies.push(request.meta(), response_code::REQUEST_CODE_NOT_SUPPORTED, Some(&remark), &[], &[]);
        }
    }
}
