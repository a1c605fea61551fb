use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use raftmq_raft::{Acceptor, GrpcTransport, LINK_QUEUE_MESSAGES, Link, LinkError, Listening, Message, Transport};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// The real transport with a plug: pulled, all links of the member end and no new one comes up.
#[derive(Clone)]
pub(crate) struct Cable {
    pulled: Arc<watch::Sender<bool>>,
}

impl Cable {
    pub(crate) fn new() -> Cable {
        Cable { pulled: Arc::new(watch::Sender::new(false)) }
    }

    pub(crate) fn pull(&self) {
        self.pulled.send_replace(true);
    }

    pub(crate) fn plug_in(&self) {
        self.pulled.send_replace(false);
    }

    pub(crate) fn is_pulled(&self) -> bool {
        *self.pulled.borrow()
    }

    /// The link as its user sees it: ends when the cable is pulled.
    fn through(&self, link: Link) -> Link {
        let (outgoing, mut from_user) = mpsc::channel::<Message>(LINK_QUEUE_MESSAGES);
        let (to_user, incoming) = mpsc::channel::<Result<Message, LinkError>>(LINK_QUEUE_MESSAGES);
        let mut pulled = self.pulled.subscribe();
        tokio::spawn(async move {
            let Link { outgoing, mut incoming } = link;
            let out = async {
                while let Some(message) = from_user.recv().await {
                    if outgoing.send(message).await.is_err() {
                        return;
                    }
                }
            };
            let back = async {
                while let Some(message) = incoming.next().await {
                    if to_user.send(message).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                _ = pulled.wait_for(|pulled| *pulled) => {}
                () = out => {}
                () = back => {}
            }
        });
        Link { outgoing, incoming: Box::pin(ReceiverStream::new(incoming)) }
    }
}

impl Transport for Cable {
    fn connect(&self, address: &str) -> BoxFuture<'static, Result<Link, LinkError>> {
        let cable = self.clone();
        let connecting = GrpcTransport.connect(address);
        Box::pin(async move {
            if cable.is_pulled() {
                return Err(LinkError("the cable is pulled".to_owned()));
            }
            Ok(cable.through(connecting.await?))
        })
    }

    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> BoxFuture<'static, io::Result<Box<dyn Listening>>> {
        GrpcTransport.listen(address, Arc::new(Socket { cable: self.clone(), acceptor }))
    }
}

struct Socket {
    cable: Cable,
    acceptor: Arc<dyn Acceptor>,
}

impl Acceptor for Socket {
    fn accept(&self, link: Link) {
        if !self.cable.is_pulled() {
            self.acceptor.accept(self.cable.through(link));
        }
    }
}
