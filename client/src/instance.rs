use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use raftmq_sys::Seams;
use tokio::sync::watch;

use crate::broker_offsets::Broker;
use crate::config::ClientConfig;
use crate::connections::Connections;
use crate::error::ClientError;
use crate::heartbeat::{self, ConsumerMember};
use crate::name_servers::NameServers;
use crate::retry;
use crate::route_cache::{RouteCache, Unknown};
use crate::topic_route::TopicRoute;
use crate::unique_id::UniqueIds;

/// What the producers and consumers of one program share: connections, routes, the client id and the heartbeat.
/// Cheap to clone. The background tasks end when the last clone is gone.
#[doc(alias = "MQClientInstance")]
#[derive(Clone)]
pub struct ClientInstance {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    seams: Seams,
    client_id: String,
    connections: Arc<Connections>,
    name_servers: NameServers,
    routes: RouteCache,
    unique_ids: UniqueIds,
    members: Mutex<Members>,
    /// Counts the notices of brokers that a group's members changed.
    membership: watch::Sender<u64>,
}

/// Who beats.
#[derive(Default)]
struct Members {
    producer_groups: BTreeSet<String>,
    consumers: Vec<ConsumerMember>,
}

impl ClientInstance {
    /// Starts the background tasks on the current tokio runtime. Connects to nothing yet.
    pub fn start(config: ClientConfig, seams: Seams) -> ClientInstance {
        let membership = watch::Sender::new(0);
        let connections = Arc::new(Connections::new(config.connect_timeout, membership.clone()));
        let name_servers =
            NameServers::new(config.name_servers.clone(), Arc::clone(&connections), config.request_timeout);
        let address = local_address(&config.name_servers);
        let (process, salt) = (std::process::id(), seams.rng.next_u64() as u32);
        let shared = Arc::new(Shared {
            client_id: format!("{address}@{process}#{salt}"),
            routes: RouteCache::new(Arc::clone(&seams.clock)),
            unique_ids: UniqueIds::new(address, process, salt),
            connections,
            name_servers,
            members: Mutex::default(),
            membership,
            config,
            seams,
        });
        let instance = ClientInstance { shared };
        let (refresh, heartbeat) = (instance.shared.config.route_refresh, instance.shared.config.heartbeat);
        instance.every("client-routes", refresh, |instance| async move {
            instance.shared.routes.refresh_all(&instance.shared.name_servers).await;
        });
        instance.every("client-heartbeat", heartbeat, |instance| async move { instance.beat().await });
        instance
    }

    /// `address@process#number`, as brokers list it.
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.shared.connections
    }

    pub(crate) fn name_servers(&self) -> &NameServers {
        &self.shared.name_servers
    }

    pub(crate) fn unix_ms(&self) -> i64 {
        self.shared.seams.clock.unix_ms()
    }

    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.seams.spawn.task(name, Box::pin(task));
    }

    pub(crate) fn next_unique_id(&self) -> String {
        self.shared.unique_ids.next(self.unix_ms())
    }

    pub(crate) async fn route(&self, topic: &str, unknown: Unknown) -> Result<Arc<TopicRoute>, ClientError> {
        self.shared.routes.get(&self.shared.name_servers, topic, unknown).await
    }

    pub(crate) async fn refresh_route(&self, topic: &str, unknown: Unknown) -> Result<Arc<TopicRoute>, ClientError> {
        self.shared.routes.refresh(&self.shared.name_servers, topic, unknown).await
    }

    /// Fetches the route of `topic` again if `error` says that ours is old.
    pub(crate) async fn route_failed(&self, topic: &str, error: &ClientError) {
        if retry::suggests_new_route(error)
            && let Err(error) = self.refresh_route(topic, Unknown::Fails).await
        {
            tracing::debug!(topic, %error, "no new route");
        }
    }

    pub(crate) fn broker<'a>(&'a self, address: &'a str) -> Broker<'a> {
        Broker { connections: &self.shared.connections, address, timeout: self.shared.config.request_timeout }
    }

    /// Counts up when a broker says that the members of a group changed.
    pub(crate) fn membership(&self) -> watch::Receiver<u64> {
        self.shared.membership.subscribe()
    }

    pub(crate) fn add_producer_group(&self, group: &str) {
        self.lock().producer_groups.insert(group.to_owned());
    }

    pub(crate) fn add_consumer(&self, member: ConsumerMember) {
        self.lock().consumers.push(member);
    }

    pub(crate) fn remove_consumer(&self, group: &str) {
        self.lock().consumers.retain(|member| member.group != group);
    }

    /// Tells every broker in our routes that we live, and what we consume.
    pub(crate) async fn beat(&self) {
        let Some(body) = self.heartbeat_body() else { return };
        for address in self.shared.routes.addresses() {
            let beat =
                heartbeat::beat(&self.shared.connections, &address, body.clone(), self.shared.config.request_timeout);
            if let Err(error) = beat.await {
                tracing::debug!(address, %error, "no heartbeat");
            }
        }
    }

    /// Tells every broker in our routes that a consumer leaves, so that the others take its queues at once.
    pub(crate) async fn leave(&self, consumer_group: &str) {
        for address in self.shared.routes.addresses() {
            let timeout = self.shared.config.request_timeout;
            let left =
                heartbeat::leave(&self.shared.connections, &address, self.client_id(), consumer_group, timeout).await;
            if let Err(error) = left {
                tracing::debug!(address, %error, "not unregistered");
            }
        }
    }

    fn heartbeat_body(&self) -> Option<bytes::Bytes> {
        let members = self.lock();
        if members.producer_groups.is_empty() && members.consumers.is_empty() {
            return None;
        }
        Some(heartbeat::body(&self.shared.client_id, &members.producer_groups, &members.consumers))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Members> {
        self.shared.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repeats `work` until the last clone of this instance is gone.
    fn every<Work, Done>(&self, name: &'static str, period: Duration, work: Work)
    where
        Work: Fn(ClientInstance) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send,
    {
        let weak: Weak<Shared> = Arc::downgrade(&self.shared);
        self.spawn(name, async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(shared) = weak.upgrade() else { return };
                work(ClientInstance { shared }).await;
            }
        });
    }
}

/// The address of the interface that leads to the first name server, for ids only. Sends nothing: connecting a
/// datagram socket just picks the route.
fn local_address(name_servers: &[String]) -> IpAddr {
    let found = name_servers.first().and_then(|name_server| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(name_server).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
