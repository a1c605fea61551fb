//! One connection per address, opened when it is needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raftmq_remoting::{
    Client, InvokeError, RemotingCommand, ReplyBuffer, RequestProcessor, Session, request_code, response_code,
};
use tokio::sync::watch;

use crate::answer;
use crate::error::ClientError;

pub(crate) struct Connections {
    connect_timeout: Duration,
    from_broker: Arc<dyn RequestProcessor>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// The connection to one address; the lock is held while it is opened, so that a crowd opens one.
type Slot = tokio::sync::Mutex<Option<Arc<Client>>>;

impl Connections {
    /// `membership` counts the notices of brokers that the members of a group changed.
    pub(crate) fn new(connect_timeout: Duration, membership: watch::Sender<u64>) -> Connections {
        Connections { connect_timeout, from_broker: Arc::new(FromBroker { membership }), slots: Mutex::default() }
    }

    /// Asks, and gives the answer whatever its code.
    pub(crate) async fn ask(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        let client = self.get(address, timeout).await?;
        client.invoke(request, timeout).await.map_err(|error| failed(address, timeout, error))
    }

    /// Asks, and fails unless the answer says SUCCESS.
    pub(crate) async fn invoke(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        answer::success(address, self.ask(address, request, timeout).await?)
    }

    /// Hands a request to the connection and waits for no answer.
    pub(crate) async fn oneway(&self, address: &str, request: RemotingCommand) -> Result<(), ClientError> {
        let client = self.get(address, self.connect_timeout).await?;
        client.oneway(request).map_err(|error| failed(address, self.connect_timeout, error))
    }

    async fn get(&self, address: &str, timeout: Duration) -> Result<Arc<Client>, ClientError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(address.to_owned()).or_default())
        };
        let refused = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
        let limit = self.connect_timeout.min(timeout);
        let opening = async {
            let mut slot = slot.lock().await;
            if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
                return Ok(Arc::clone(client));
            }
            let client = Client::connect_with(address, limit, Arc::clone(&self.from_broker));
            let client = client.await.map_err(|error| refused(error.to_string()))?;
            let client = Arc::new(client);
            *slot = Some(Arc::clone(&client));
            Ok(client)
        };
        // The lock is waited for within the same time.
        let opened = tokio::time::timeout(limit, opening).await;
        opened.unwrap_or_else(|_| Err(refused(format!("no connection within {} ms", limit.as_millis()))))
    }
}

/// Takes what brokers tell and ask.
struct FromBroker {
    membership: watch::Sender<u64>,
}

impl RequestProcessor for FromBroker {
    fn process(&self, _session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        for request in requests.drain(..) {
            if request.code == request_code::NOTIFY_CONSUMER_IDS_CHANGED {
                self.membership.send_modify(|notices| *notices += 1);
                continue;
            }
            let remark = format!("request type {} not supported", request.code);
            replies.push(request.meta(), response_code::REQUEST_CODE_NOT_SUPPORTED, Some(&remark), &[], &[]);
        }
    }
}

fn failed(address: &str, timeout: Duration, error: InvokeError) -> ClientError {
    let (address, unknown, reason) = (address.to_owned(), error.effect_is_unknown(), error.to_string());
    match error {
        InvokeError::Timeout { .. } if unknown => {
            ClientError::Timeout { address, timeout_ms: timeout.as_millis() as u64 }
        }
        _ if unknown => ClientError::Lost { address, reason },
        _ => ClientError::NotSent { address, reason },
    }
}
