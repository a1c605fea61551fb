//! Topics that are on their way into the log.
//!
//! Two first sends to a topic may wish for different numbers of queues. Only one wish counts, so both must be checked
//! against it: else a message lies in a queue that nobody pulls. Volatile, and of use on the leader only; a new leader
//! has applied everything of earlier ones before it takes sends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raftmq_model::topic::TopicConfig;

use crate::state_machine::Topic;

/// The table. Clones share it.
#[derive(Clone, Default)]
pub struct TopicsInCreation {
    topics: Arc<Mutex<HashMap<Arc<str>, InCreation>>>,
}

struct InCreation {
    topic: Arc<Topic>,
    /// Proposals under way that create it. Each carries the same configuration, because any of them may fail.
    proposals: usize,
}

/// One proposal that creates a topic; to be kept until that proposal has ended, well or not.
pub struct Creation {
    table: TopicsInCreation,
    topic: Arc<Topic>,
}

impl Creation {
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        let mut topics = self.table.lock();
        let Some(found) = topics.get_mut(&self.topic.name) else { return };
        found.proposals -= 1;
        if found.proposals == 0 {
            topics.remove(&self.topic.name);
        }
    }
}

impl TopicsInCreation {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, InCreation>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a topic as whoever began to create it first wished for, else as `wish` says. `wish` looks into the topic
    /// table, and its error is that there is nothing to create. It is called with this table locked: an entry leaves
    /// after its topic was applied, so a topic is found in one of the two.
    pub fn create<T>(&self, wish: impl FnOnce() -> Result<TopicConfig, T>) -> Result<Creation, T> {
        let mut topics = self.lock();
        let config = wish()?;
        let topic = match topics.get_mut(config.topic_name.as_str()) {
            Some(found) => {
                found.proposals += 1;
                found.topic.clone()
            }
            None => {
                let name: Arc<str> = config.topic_name.as_str().into();
                let topic = Arc::new(Topic { name: name.clone(), config });
                topics.insert(name, InCreation { topic: topic.clone(), proposals: 1 });
                topic
            }
        };
        Ok(Creation { table: self.clone(), topic })
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(table: &TopicsInCreation, queues: i32) -> Creation {
        let created = table.create(|| Ok::<_, ()>(TopicConfig::new("T", queues, 6)));
        created.unwrap_or_else(|()| panic!("created"))
    }

    #[test]
    fn the_first_wish_counts_until_all_its_proposals_have_ended() {
        let table = TopicsInCreation::default();
        let first = create(&table, 4);
        let second = create(&table, 8);
        assert_eq!(second.topic().write_queue_nums, 4);
        drop(first);
        let third = create(&table, 8);
        assert_eq!(third.topic().write_queue_nums, 4, "the second may still make it");
        drop((second, third));
        assert!(table.is_empty());
        assert_eq!(create(&table, 8).topic().write_queue_nums, 8, "nobody has made it");
    }

    #[test]
    fn what_is_there_is_not_created() {
        let table = TopicsInCreation::default();
        assert_eq!(table.create(|| Err(5)).err(), Some(5));
        assert!(table.is_empty());
    }
}
