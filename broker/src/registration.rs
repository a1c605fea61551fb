//! Keeps all name servers told about this member: a task and a connection of its own for each, so that one that
//! hangs delays nobody.
//!
//! Every registration is whole, except the one after a topic change, which carries that topic alone. A newer order
//! overtakes one that still waits for its answer, so what a name server hears last is what is true last.

mod link;
mod request;

use std::sync::Arc;
use std::time::Duration;

use raftmq_model::topic::TopicConfig;
use raftmq_sys::Seams;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::BrokerConfig;
use crate::state_machine::tables::TopicTable;
use link::{Link, Told};

/// Longest that [`Registration::register_now`] waits: a name server that takes longer is told all the same.
pub const REGISTER_NOW_LIMIT: Duration = Duration::from_millis(100);

/// Longest that a goodbye may take.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// Topic changes that may wait for one name server; beyond, everything is registered instead.
const WAITING_CHANGES: usize = 1024;

/// What this member is in its group at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberState {
    pub broker_id: i64,
    /// Orders leaderships: `term << 16 | slot`, as DataVersion.stateVersion. 0 in classic mode, and while no leader is
    /// known.
    pub epoch: i64,
}

impl MemberState {
    /// A member of a classic group.
    pub fn classic(broker_id: i64) -> MemberState {
        MemberState { broker_id, epoch: 0 }
    }

    /// The leader of a Raft group.
    pub fn leader(epoch: i64) -> MemberState {
        MemberState { broker_id: 0, epoch }
    }

    /// A member of a Raft group that does not lead; `n0` is brokerId 1.
    pub fn follower(slot: u16, epoch: i64) -> MemberState {
        MemberState { broker_id: i64::from(slot) + 1, epoch }
    }
}

/// What all links share.
struct Context {
    config: BrokerConfig,
    topics: Arc<TopicTable>,
}

/// What the links have to tell; a higher number is newer.
#[derive(Clone, Copy, Debug)]
struct Order {
    number: u64,
    member: MemberState,
    stop: bool,
}

struct LinkHandle {
    changes: mpsc::Sender<TopicConfig>,
    told: watch::Receiver<Told>,
}

/// Registers this member at all name servers of its configuration. Clones share the links, which end with the last.
#[derive(Clone)]
pub struct Registration {
    orders: Arc<watch::Sender<Order>>,
    links: Arc<[LinkHandle]>,
}

impl Registration {
    /// Starts to register; the first registrations are under way when this returns. Must be called inside the
    /// runtime that is to carry them.
    pub fn start(config: &BrokerConfig, member: MemberState, topics: Arc<TopicTable>, seams: &Seams) -> Registration {
        let (orders, order) = watch::channel(Order { number: 1, member, stop: false });
        let context = Arc::new(Context { config: config.clone(), topics });
        let mut links = Vec::new();
        for address in config.name_servers() {
            let (changes, waiting) = mpsc::channel(WAITING_CHANGES);
            let (tell, told) = watch::channel(Told::default());
            let link = Link::new(address, Arc::clone(&context), order.clone(), waiting, tell);
            seams.spawn.task("registration", Box::pin(link.run()));
            links.push(LinkHandle { changes, told });
        }
        Registration { orders: Arc::new(orders), links: links.into() }
    }

    /// Tells all name servers what this member is now. Returns how many have taken it, as soon as all have answered
    /// or failed, and after [`REGISTER_NOW_LIMIT`] at the latest; the others are told on.
    pub async fn register_now(&self, member: MemberState) -> usize {
        let number = self.order_member(member);
        self.wait_until(REGISTER_NOW_LIMIT, number).await
    }

    /// Tells all name servers what this member is now; does not wait.
    pub fn register_later(&self, member: MemberState) {
        self.order_member(member);
    }

    fn order_member(&self, member: MemberState) -> u64 {
        self.order(|order| {
            // While no leader is known the last epoch still orders what this member says.
            let epoch = if member.epoch == 0 { order.member.epoch } else { member.epoch };
            order.member = MemberState { epoch, ..member };
        })
    }

    /// Tells all name servers about a topic that is new or has changed; does not wait.
    pub fn topic_changed(&self, topic: &TopicConfig) {
        let full = self.links.iter().filter(|link| link.changes.try_send(topic.clone()).is_err()).count();
        if full > 0 {
            self.topics_changed();
        }
    }

    /// Tells all name servers about all topics; does not wait.
    pub fn topics_changed(&self) {
        self.order(|_| {});
    }

    /// Tells all name servers about all topics and waits as [`Registration::register_now`] does: who was told that a
    /// topic exists may ask for its route next.
    pub async fn topics_registered(&self) -> usize {
        let number = self.order(|_| {});
        self.wait_until(REGISTER_NOW_LIMIT, number).await
    }

    /// Says goodbye to all name servers that answer soon enough. Nothing is registered afterwards.
    pub async fn shutdown(&self) {
        let number = self.order(|order| order.stop = true);
        self.wait_until(GOODBYE_LIMIT, number).await;
    }

    /// How many name servers have taken the latest registration.
    pub fn registered(&self) -> usize {
        let number = self.orders.borrow().number;
        self.links.iter().filter(|link| link.told.borrow().has_taken(number)).count()
    }

    fn order(&self, change: impl FnOnce(&mut Order)) -> u64 {
        let mut number = 0;
        self.orders.send_modify(|order| {
            change(order);
            order.number += 1;
            number = order.number;
        });
        number
    }

    async fn wait_until(&self, limit: Duration, number: u64) -> usize {
        let deadline = Instant::now() + limit;
        let mut taken = 0;
        for link in self.links.iter() {
            let mut told = link.told.clone();
            // An error is a link that has ended: nothing more to wait for.
            if let Ok(Ok(told)) = timeout_at(deadline, told.wait_for(|told| told.number >= number)).await {
                taken += usize::from(told.has_taken(number));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests;
