//! The senders and the consumer of the demo.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raftmq_client::{ClientInstance, ConsumeFrom, Message, Producer, ProducerOptions, PushConsumer, PushOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::ledger::{Acknowledged, Ledger, body};
use crate::error::ToolError;

/// Sends under way at the same time.
const SENDERS: usize = 16;
/// After a failed send. Without it, sends that fail at once would fill the gap with noise.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs until [`Traffic::stop_sending`] and [`Traffic::stop_consuming`].
pub(super) struct Traffic {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
    consumer: JoinHandle<()>,
}

struct Shared {
    topic: String,
    producer: Producer,
    ledger: Mutex<Ledger>,
    start: Instant,
    next: AtomicU64,
    sending: AtomicBool,
    consuming: AtomicBool,
}

impl Traffic {
    pub(super) async fn start(instance: &ClientInstance, topic: &str, group: &str) -> Result<Traffic, ToolError> {
        let options = PushOptions { from: ConsumeFrom::First, ..PushOptions::new(group, topic) };
        let consumer = PushConsumer::start(instance, options).await?;
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            producer: Producer::new(instance, "demo_producer", ProducerOptions::default()),
            ledger: Mutex::default(),
            start: Instant::now(),
            next: AtomicU64::new(0),
            sending: AtomicBool::new(true),
            consuming: AtomicBool::new(true),
        });
        let senders = (0..SENDERS).map(|_| tokio::spawn(Arc::clone(&shared).send())).collect();
        let consumer = tokio::spawn(Arc::clone(&shared).consume(consumer));
        Ok(Traffic { shared, senders, consumer })
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger()
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// How many numbers were given out.
    pub(super) fn started(&self) -> u64 {
        self.shared.next.load(Ordering::Relaxed)
    }

    /// Returns when every send has its outcome.
    pub(super) async fn stop_sending(&mut self) -> Result<(), ToolError> {
        self.shared.sending.store(false, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            sender.await.map_err(|error| ToolError::Failed(format!("a sender ended early: {error}")))?;
        }
        Ok(())
    }

    /// Returns when the consumer has left its group.
    pub(super) async fn stop_consuming(self) -> Result<(), ToolError> {
        self.shared.consuming.store(false, Ordering::Relaxed);
        self.consumer.await.map_err(|error| ToolError::Failed(format!("the consumer ended early: {error}")))
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self: Arc<Self>) {
        while self.sending.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let message = Message::new(self.topic.as_str(), body(number));
            let start = Instant::now();
            match self.producer.send(&message).await {
                Ok(result) => {
                    let acknowledged = Acknowledged {
                        number,
                        queue_id: result.queue.queue_id,
                        queue_offset: result.queue_offset.0,
                        at: self.start.elapsed(),
                    };
                    self.ledger().acknowledge(acknowledged, start.elapsed());
                }
                Err(error) => {
                    self.ledger().fail(&error);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn consume(self: Arc<Self>, mut consumer: PushConsumer) {
        /// How often to look whether to go on while nothing comes.
        const LOOK: Duration = Duration::from_millis(100);
        while self.consuming.load(Ordering::Relaxed) {
            let Ok(next) = tokio::time::timeout(LOOK, consumer.next()).await else { continue };
            let Some(batch) = next else { return };
            let mut ledger = self.ledger();
            for message in &batch.messages {
                ledger.consume(&message.body);
            }
            drop(ledger);
            consumer.done(&batch);
        }
        consumer.close().await;
    }
}
