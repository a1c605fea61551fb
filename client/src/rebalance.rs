//! Which queues a consumer of a group takes (RocketMQ `AllocateMessageQueueAveragely`).

use raftmq_model::queue::MessageQueue;

/// The share of `self_id`: `queues` in order, cut into as many runs as there are `consumers`, the first ones longer
/// by one where it does not divide. Every member must pass the same lists; both are sorted here. Empty when
/// `self_id` is not among them, or there are more consumers than queues before it.
pub fn allocate_averagely(self_id: &str, consumers: &[String], queues: &[MessageQueue]) -> Vec<MessageQueue> {
    let mut consumers: Vec<&str> = consumers.iter().map(String::as_str).collect();
    consumers.sort_unstable();
    consumers.dedup();
    let Some(index) = consumers.iter().position(|consumer| *consumer == self_id) else {
        return Vec::new();
    };
    let mut queues = queues.to_vec();
    queues.sort_unstable_by(|a, b| (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id)));
    let (share, longer) = (queues.len() / consumers.len(), queues.len() % consumers.len());
    let start = index * share + index.min(longer);
    let length = share + usize::from(index < longer);
    queues.into_iter().skip(start).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count)
            .rev()
            .map(|queue_id| MessageQueue { broker_name: "a".to_owned(), queue_id, topic: "T".to_owned() })
            .collect()
    }

    fn ids(consumers: &[&str]) -> Vec<String> {
        consumers.iter().map(|id| (*id).to_owned()).collect()
    }

    fn taken(self_id: &str, consumers: &[&str], count: i32) -> Vec<i32> {
        allocate_averagely(self_id, &ids(consumers), &queues(count)).iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn shares_are_runs_and_the_first_are_longer() {
        let consumers = ["c2", "c1", "c3"];
        assert_eq!(taken("c1", &consumers, 8), [0, 1, 2]);
        assert_eq!(taken("c2", &consumers, 8), [3, 4, 5]);
        assert_eq!(taken("c3", &consumers, 8), [6, 7]);
    }

    #[test]
    fn every_queue_is_taken_once_whatever_the_numbers() {
        for consumers in 1..6 {
            let names: Vec<String> = (0..consumers).map(|number| format!("c{number}")).collect();
            for count in 0..10 {
                let mut all: Vec<i32> = names
                    .iter()
                    .flat_map(|name| allocate_averagely(name, &names, &queues(count)))
                    .map(|queue| queue.queue_id)
                    .collect();
                all.sort_unstable();
                assert_eq!(all, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_stranger_takes_nothing() {
        assert_eq!(taken("x", &["c1"], 4), [0; 0]);
    }
}
