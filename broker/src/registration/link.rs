use std::sync::Arc;
use std::time::Duration;

use raftmq_model::topic::TopicConfig;
use raftmq_remoting::{Client, RemotingCommand, response_code};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{Context, GOODBYE_LIMIT, Order, request};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The latest order that a name server was asked to take, and whether it has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) number: u64,
    accepted: bool,
}

impl Told {
    pub(super) fn has_taken(self, number: u64) -> bool {
        self.accepted && self.number >= number
    }
}

/// What to send next.
enum Next {
    /// Everything, because this name server may not know it.
    All,
    /// Everything, because a period is over and `forceRegister` says so or the version has changed there.
    Period,
    /// These topics only; it has taken everything else over this connection.
    Changes(Vec<TopicConfig>),
}

/// How a connection ended.
enum End {
    Stopped,
    Lost(String),
}

/// One name server.
pub(super) struct Link {
    address: String,
    context: Arc<Context>,
    orders: watch::Receiver<Order>,
    changes: mpsc::Receiver<TopicConfig>,
    told: watch::Sender<Told>,
    /// The order that is being told, or was told last.
    tried: u64,
    /// Before the next connect; grows while the name server does not answer.
    pause: Duration,
}

impl Link {
    pub(super) fn new(
        address: String,
        context: Arc<Context>,
        orders: watch::Receiver<Order>,
        changes: mpsc::Receiver<TopicConfig>,
        told: watch::Sender<Told>,
    ) -> Link {
        Link { address, context, orders, changes, told, tried: 0, pause: FIRST_PAUSE }
    }

    /// Until an order says stop, or nobody is left to give one.
    pub(super) async fn run(mut self) {
        loop {
            let order = self.next_order();
            if order.stop {
                return;
            }
            // The name is resolved again at every connect: name servers move.
            let reason = match Client::connect(&self.address, CONNECT_TIMEOUT).await {
                Ok(client) => match self.serve(&client).await {
                    End::Stopped => return,
                    End::Lost(reason) => reason,
                },
                Err(error) => error.to_string(),
            };
            self.tell(self.tried, false);
            warn!(name_server = self.address, reason, "not registered");
            tokio::select! {
                () = sleep(self.pause) => {}
                // A new order is worth a try at once.
                changed = self.orders.changed() => if changed.is_err() { return },
            }
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Registers over one connection until it is lost.
    async fn serve(&mut self, client: &Client) -> End {
        let mut next = Next::All;
        loop {
            let order = self.next_order();
            if order.stop {
                self.say_goodbye(client, order).await;
                return End::Stopped;
            }
            match self.send(client, order, next).await {
                Ok(Some(sooner)) => {
                    next = sooner;
                    continue;
                }
                Ok(None) => {}
                Err(reason) => return End::Lost(reason),
            }
            let period_over = Instant::now() + self.context.config.register_period();
            next = tokio::select! {
                changed = self.orders.changed() => match changed {
                    Ok(()) => Next::All,
                    Err(_) => return End::Stopped,
                },
                Some(change) = self.changes.recv() => Next::Changes(self.waiting_changes(change)),
                () = sleep_until(period_over) => Next::Period,
                () = client.closed() => return End::Lost("connection closed".to_owned()),
            };
        }
    }

    /// Sends one registration and waits for its answer. `Some`: a newer order came meanwhile.
    async fn send(&mut self, client: &Client, order: Order, next: Next) -> Result<Option<Next>, String> {
        let timeout = self.context.config.register_broker_timeout;
        if matches!(next, Next::Period) && !self.context.config.force_register {
            let query = request::query_data_version(&self.context, order.member);
            match self.invoke(client, query, timeout).await? {
                None => return Ok(Some(Next::All)),
                Some(answer) if !request::is_changed(&answer) => return Ok(None),
                Some(_) => {}
            }
        }
        let registration = match next {
            Next::Changes(topics) => request::register(&self.context, order.member, Some(topics)),
            Next::All | Next::Period => {
                // What waits is in the table that is read now.
                while self.changes.try_recv().is_ok() {}
                request::register(&self.context, order.member, None)
            }
        };
        let Some(answer) = self.invoke(client, registration, timeout).await? else { return Ok(Some(Next::All)) };
        if answer.code != response_code::SUCCESS {
            return Err(format!("answer {}: {}", answer.code, answer.remark.unwrap_or_default()));
        }
        if !self.told.borrow().accepted {
            info!(name_server = self.address, broker_id = order.member.broker_id, "registered");
        }
        self.pause = FIRST_PAUSE;
        self.tell(order.number, true);
        Ok(None)
    }

    /// The answer, or none if a newer order came first.
    async fn invoke(
        &mut self,
        client: &Client,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<Option<RemotingCommand>, String> {
        tokio::select! {
            answer = client.invoke(request, timeout) => {
                answer.map(Some).map_err(|error| error.to_string())
            }
            changed = self.orders.changed() => match changed {
                Ok(()) => Ok(None),
                Err(_) => Err("stopped".to_owned()),
            },
        }
    }

    fn waiting_changes(&mut self, first: TopicConfig) -> Vec<TopicConfig> {
        let mut topics = vec![first];
        while let Ok(topic) = self.changes.try_recv() {
            topics.push(topic);
        }
        topics
    }

    async fn say_goodbye(&self, client: &Client, order: Order) {
        let goodbye = request::unregister(&self.context, order.member);
        let answer = client.invoke(goodbye, GOODBYE_LIMIT).await;
        self.tell(order.number, answer.is_ok());
    }

    fn next_order(&mut self) -> Order {
        let order = *self.orders.borrow_and_update();
        self.tried = order.number;
        order
    }

    fn tell(&self, number: u64, accepted: bool) {
        self.told.send_replace(Told { number, accepted });
    }
}
