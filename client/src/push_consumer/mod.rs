//! A consumer that shares the queues of its topics with the other members of its group.

mod assignment;
mod coordinator;
mod options;
mod queue_reader;

use std::sync::Arc;

use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use tokio::sync::{mpsc, oneshot};

use crate::error::ClientError;
use crate::instance::ClientInstance;
use crate::message::ReceivedMessage;
use crate::push_consumer::assignment::Assignment;
use crate::push_consumer::coordinator::Coordinator;
pub use crate::push_consumer::options::{ConsumeFrom, PushOptions};

/// Gets the messages of the queues that are its share. Clustering only: each queue has one reader in the group.
///
/// A message counts as consumed when [`PushConsumer::done`] was called for its batch; what was not done when the
/// process ends, or when the queue goes to another member, comes again.
#[doc(alias = "DefaultMQPushConsumer")]
pub struct PushConsumer {
    batches: mpsc::Receiver<Batch>,
    assignment: Arc<Assignment>,
    stop: oneshot::Sender<oneshot::Sender<()>>,
}

/// Messages of one queue, in order.
#[derive(Clone, Debug)]
pub struct Batch {
    pub queue: MessageQueue,
    pub messages: Vec<ReceivedMessage>,
    /// Where the queue goes on after this batch.
    pub next_offset: QueueOffset,
    /// Which time we had the queue: a queue may leave and come back.
    turn: u64,
}

impl PushConsumer {
    /// Joins the group: the first rebalance has happened when this returns, unless the topic does not exist yet, which
    /// later rebalances find.
    pub async fn start(instance: &ClientInstance, options: PushOptions) -> Result<PushConsumer, ClientError> {
        let (sender, batches) = mpsc::channel(options.batches_in_memory.max(1));
        let assignment = Arc::new(Assignment::default());
        let mut coordinator = Coordinator::new(instance.clone(), options, Arc::clone(&assignment), sender)?;
        coordinator.join().await?;
        let (stop, stopped) = oneshot::channel();
        instance.spawn("client-consumer", coordinator.run(stopped));
        Ok(PushConsumer { batches, assignment, stop })
    }

    /// The next messages of any of our queues. Cancel safe.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            let batch = self.batches.recv().await?;
            if self.assignment.is_current(&batch.queue, batch.turn) {
                return Some(batch);
            }
        }
    }

    /// The batch is consumed: its end will be committed, at the latest when the consumer closes. Batches of one queue
    /// must be done in the order they came.
    pub fn done(&self, batch: &Batch) {
        self.assignment.consumed(&batch.queue, batch.turn, batch.next_offset);
    }

    /// The queues that are ours now.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.assignment.queues()
    }

    /// Commits what is done, and leaves the group so that others take over at once.
    pub async fn close(self) {
        let (closed, when_closed) = oneshot::channel();
        if self.stop.send(closed).is_ok() {
            // An error says that the coordinator is gone, which is what we wait for.
            let _ = when_closed.await;
        }
    }
}
