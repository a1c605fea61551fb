//! Routes of the topics in use, asked from the name servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raftmq_model::route::TopicRouteData;
use raftmq_model::topic::AUTO_CREATE_TOPIC_KEY;
use raftmq_remoting::{request_code, response_code};
use raftmq_sys::Clock;

use crate::answer;
use crate::error::ClientError;
use crate::name_servers::NameServers;
use crate::topic_route::TopicRoute;

/// A failed send asks for a new route; many senders failing at once share one answer this young.
const YOUNG: Duration = Duration::from_millis(50);
/// More topics than a program uses; past it the cache starts anew.
const MOST_TOPICS: usize = 10_000;

pub(crate) struct RouteCache {
    clock: Arc<dyn Clock>,
    routes: Mutex<HashMap<String, Cached>>,
    /// Held while a name server is asked, so that a crowd asks once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Cached {
    route: Arc<TopicRoute>,
    /// Made from the template topic: the topic itself did not exist yet.
    from_template: bool,
    fetched: Duration,
}

/// What a topic that no name server knows becomes.
#[derive(Clone, Copy)]
pub(crate) enum Unknown {
    /// An error: consumers have nothing to read there.
    Fails,
    /// A route by the template topic `TBW102`, with at most this many queues per broker group.
    IsCreated { most_queues: i32 },
}

impl RouteCache {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> RouteCache {
        RouteCache { clock, routes: Mutex::default(), asking: tokio::sync::Mutex::new(()) }
    }

    /// The route of `topic`, asked for if it is not known yet.
    pub(crate) async fn get(
        &self,
        name_servers: &NameServers,
        topic: &str,
        unknown: Unknown,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        match self.cached(topic) {
            Some(cached) if fits(&cached, unknown) => Ok(cached.route),
            _ => self.refresh(name_servers, topic, unknown).await,
        }
    }

    /// Asks again, unless that happened just now. The old route stays when no name server answers.
    pub(crate) async fn refresh(
        &self,
        name_servers: &NameServers,
        topic: &str,
        unknown: Unknown,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        let _one_at_a_time = self.asking.lock().await;
        if let Some(cached) = self.cached(topic)
            && fits(&cached, unknown)
            && self.clock.monotonic().saturating_sub(cached.fetched) < YOUNG
        {
            return Ok(cached.route);
        }
        match fetch(name_servers, topic).await {
            Ok(data) => Ok(self.store(topic, TopicRoute::new(topic, &data), false)),
            Err(error @ ClientError::NoRoute { .. }) => match unknown {
                Unknown::Fails => Err(error),
                Unknown::IsCreated { most_queues } => {
                    // The topic's own refusal says more than the template's.
                    let template = fetch(name_servers, AUTO_CREATE_TOPIC_KEY).await.map_err(|_| error)?;
                    Ok(self.store(topic, TopicRoute::from_template(topic, &template, most_queues), true))
                }
            },
            Err(error) => Err(error),
        }
    }

    /// Asks again for every topic in the cache. Those that fail keep their route.
    pub(crate) async fn refresh_all(&self, name_servers: &NameServers) {
        let topics: Vec<String> = self.lock().keys().cloned().collect();
        for topic in topics {
            if let Err(error) = self.refresh(name_servers, &topic, Unknown::Fails).await {
                tracing::debug!(topic, %error, "route not refreshed");
            }
        }
    }

    /// Every broker address of every route.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> =
            self.lock().values().flat_map(|cached| cached.route.addresses()).map(str::to_owned).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    fn cached(&self, topic: &str) -> Option<Cached> {
        self.lock().get(topic).cloned()
    }

    fn store(&self, topic: &str, route: TopicRoute, from_template: bool) -> Arc<TopicRoute> {
        let route = Arc::new(route);
        let mut routes = self.lock();
        if routes.len() >= MOST_TOPICS {
            routes.clear();
        }
        let cached = Cached { route: Arc::clone(&route), from_template, fetched: self.clock.monotonic() };
        routes.insert(topic.to_owned(), cached);
        route
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cached>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A route made from the template is good enough to send, not to consume.
fn fits(cached: &Cached, unknown: Unknown) -> bool {
    !cached.from_template || matches!(unknown, Unknown::IsCreated { .. })
}

/// The route as a name server tells it.
pub(crate) async fn fetch(name_servers: &NameServers, topic: &str) -> Result<TopicRouteData, ClientError> {
    let request = raftmq_remoting::RemotingCommand::request(request_code::GET_ROUTEINFO_BY_TOPIC)
        .with_field("topic", topic)
        .with_field("acceptStandardJsonOnly", true);
    let (address, answer) = match name_servers.invoke(request).await {
        Err(ClientError::Refused { code: response_code::TOPIC_NOT_EXIST, remark, .. }) => {
            return Err(ClientError::NoRoute { topic: topic.to_owned(), remark });
        }
        other => other?,
    };
    answer::body(&address, &answer)
}
