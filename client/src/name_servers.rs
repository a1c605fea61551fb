//! The name servers, of which one is used until it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use raftmq_remoting::RemotingCommand;

use crate::connections::Connections;
use crate::error::ClientError;

pub(crate) struct NameServers {
    addresses: Vec<String>,
    current: AtomicUsize,
    connections: Arc<Connections>,
    timeout: Duration,
}

impl NameServers {
    pub(crate) fn new(addresses: Vec<String>, connections: Arc<Connections>, timeout: Duration) -> NameServers {
        NameServers { addresses, current: AtomicUsize::new(0), connections, timeout }
    }

    /// Asks the current name server, and the others in turn if it does not answer. A refusal is an answer. Says who
    /// answered.
    pub(crate) async fn invoke(&self, request: RemotingCommand) -> Result<(String, RemotingCommand), ClientError> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = ClientError::NoNameServer;
        for step in 0..self.addresses.len() {
            let index = (first + step) % self.addresses.len();
            let address = &self.addresses[index];
            match self.connections.invoke(address, request.clone(), self.timeout).await {
                Ok(answer) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok((address.clone(), answer));
                }
                Err(error @ ClientError::Refused { .. }) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Err(error);
                }
                Err(error) => last = error,
            }
        }
        match last {
            ClientError::NoNameServer => Err(ClientError::NoNameServer),
            last => {
                Err(ClientError::NameServersUnreachable { addresses: self.addresses.join(";"), last: last.to_string() })
            }
        }
    }
}
