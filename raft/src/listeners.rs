//! One listener per address, shared by the groups of a process that name it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::StreamExt;

use crate::grpc::GrpcTransport;
use crate::handshake::HANDSHAKE_TIMEOUT;
use crate::server::{PeerServer, refuse};
use crate::transport::{Acceptor, Link, Listening, Message, Transport};
use crate::wire::{Body, Refusal};

/// The Raft listeners of a process, by address.
#[derive(Clone)]
pub struct RaftListeners {
    transport: Arc<dyn Transport>,
    ports: Arc<tokio::sync::Mutex<HashMap<String, Weak<Port>>>>,
}

impl RaftListeners {
    pub fn new(transport: Arc<dyn Transport>) -> RaftListeners {
        RaftListeners { transport, ports: Arc::default() }
    }

    /// Over TCP.
    pub fn grpc() -> RaftListeners {
        RaftListeners::new(Arc::new(GrpcTransport))
    }

    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }

    /// Serves a group on `address` until the registration is dropped.
    pub(crate) async fn register(&self, address: &str, server: Arc<PeerServer>) -> io::Result<Registration> {
        let mut ports = self.ports.lock().await;
        ports.retain(|_, port| port.strong_count() > 0);
        let port = match ports.get(address).and_then(Weak::upgrade) {
            Some(port) => port,
            None => {
                let groups = Groups::default();
                let listening = self.transport.listen(address, Arc::new(Router(groups.clone()))).await?;
                let port = Arc::new(Port { groups, _listening: listening });
                ports.insert(address.to_owned(), Arc::downgrade(&port));
                port
            }
        };
        let group = server.identity.group.clone();
        if port.groups.lock().contains_key(&group) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("group {group} is served there already")));
        }
        port.groups.lock().insert(group.clone(), server);
        Ok(Registration { port, group })
    }
}

struct Port {
    groups: Groups,
    _listening: Box<dyn Listening>,
}

/// The groups behind one listener, by name.
#[derive(Clone, Default)]
struct Groups(Arc<Mutex<HashMap<String, Arc<PeerServer>>>>);

impl Groups {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<PeerServer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a group reachable.
pub(crate) struct Registration {
    port: Arc<Port>,
    group: String,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.port.groups.lock().remove(&self.group);
    }
}

/// Hands each link to the group that its Hello names.
struct Router(Groups);

impl Acceptor for Router {
    fn accept(&self, link: Link) {
        let groups = self.0.clone();
        tokio::spawn(route(groups, link));
    }
}

async fn route(groups: Groups, mut link: Link) {
    // Whoever connects and says nothing, or something else, is dropped.
    let Ok(Some(Ok(Message(first)))) = tokio::time::timeout(HANDSHAKE_TIMEOUT, link.incoming.next()).await else {
        return;
    };
    let Some(Body::Hello(hello)) = first.body else { return };
    let server = groups.lock().get(&hello.group).cloned();
    match server {
        Some(server) => server.serve(hello, link).await,
        None => {
            let reason = format!("no group {} is served at this address", hello.group);
            refuse(&link.outgoing, Refusal { reason, replaced: false }).await;
        }
    }
}
