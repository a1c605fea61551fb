//! What must be true of the queues after the demo.

use std::collections::BTreeMap;

use raftmq_client::{ClientError, PullConsumer, PullRequest};
use raftmq_model::offset::QueueOffset;
use raftmq_model::queue::MessageQueue;
use raftmq_model::subscription::{SUBSCRIBE_ALL, SubscriptionData};

use super::ledger::{Acknowledged, number_of};

/// Read from a queue: its offset, and which message it is (`None`: not one of ours, or damaged).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) queue_offset: u64,
    pub(super) number: Option<u64>,
}

/// What the checks counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) stored: u64,
    /// Copies beyond the first of a message.
    pub(super) repeated: u64,
    /// Different messages that are stored although their send was not acknowledged.
    pub(super) unacknowledged: u64,
}

/// Checks that offsets are dense from 0, that every message is one we sent, and that every acknowledged one is where
/// the acknowledgement said. Gives the first violations as sentences.
pub(super) fn check(
    acknowledged: &[Acknowledged],
    started: u64,
    queues: &BTreeMap<i32, Vec<Found>>,
) -> Result<Counts, Vec<String>> {
    const MOST_SENTENCES: usize = 10;
    let mut violations = Vec::new();
    let mut copies: BTreeMap<u64, u64> = BTreeMap::new();
    let mut counts = Counts::default();
    for (queue_id, found) in queues {
        for (expected, message) in found.iter().enumerate() {
            let offset = message.queue_offset;
            if offset != expected as u64 {
                violations.push(format!("queue {queue_id} has offset {offset} where {expected} should be"));
                break;
            }
            counts.stored += 1;
            match message.number {
                Some(number) if number < started => *copies.entry(number).or_default() += 1,
                _ => violations.push(format!("queue {queue_id} offset {offset} is a message that nobody sent")),
            }
        }
    }
    for Acknowledged { number, queue_id, queue_offset, .. } in acknowledged {
        let found = queues.get(queue_id).and_then(|found| found.get(*queue_offset as usize));
        if found.and_then(|found| found.number) != Some(*number) {
            violations.push(format!(
                "message {number} was acknowledged at queue {queue_id} offset {queue_offset}, where there is {found:?}"
            ));
        }
    }
    counts.repeated = copies.values().map(|copies| copies - 1).sum();
    for acknowledged in acknowledged {
        copies.remove(&acknowledged.number);
    }
    counts.unacknowledged = copies.len() as u64;
    if violations.is_empty() {
        return Ok(counts);
    }
    let more = violations.len().saturating_sub(MOST_SENTENCES);
    violations.truncate(MOST_SENTENCES);
    if more > 0 {
        violations.push(format!("and {more} more"));
    }
    Err(violations)
}

/// Reads a queue from its first to its last message. Bodies' CRCs are checked by the client.
pub(super) async fn read_queue(consumer: &PullConsumer, queue: &MessageQueue) -> Result<Vec<Found>, ClientError> {
    let subscription = SubscriptionData::from_tags(&queue.topic, SUBSCRIBE_ALL)
        .map_err(|error| ClientError::Invalid(error.to_string()))?;
    let end = consumer.max_offset(queue).await?;
    let mut offset = QueueOffset(0);
    let mut found = Vec::new();
    while offset < end {
        let request = PullRequest { queue, subscription: &subscription, offset, max_messages: 32, hold: None };
        let pulled = consumer.pull(&request).await?;
        found.extend(
            pulled
                .messages
                .iter()
                .map(|message| Found { queue_offset: message.queue_offset.0, number: number_of(&message.body) }),
        );
        if pulled.next_offset <= offset {
            let reason = format!("queue {} gives nothing at {offset} of {end}", queue.queue_id);
            return Err(ClientError::Invalid(reason));
        }
        offset = pulled.next_offset;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn acknowledged(number: u64, queue_id: i32, queue_offset: u64) -> Acknowledged {
        Acknowledged { number, queue_id, queue_offset, at: Duration::ZERO }
    }

    fn queue(numbers: &[u64]) -> Vec<Found> {
        let found = numbers.iter().zip(0..);
        found.map(|(number, queue_offset)| Found { queue_offset, number: Some(*number) }).collect()
    }

    #[test]
    fn repeated_and_unacknowledged_messages_are_fine() {
        let queues = BTreeMap::from([(0, queue(&[1, 3, 1])), (1, queue(&[2, 4]))]);
        let counts = check(&[acknowledged(1, 0, 2), acknowledged(2, 1, 0)], 5, &queues).unwrap();
        assert_eq!(counts, Counts { stored: 5, repeated: 1, unacknowledged: 2 });
    }

    #[test]
    fn a_lost_message_is_named() {
        let queues = BTreeMap::from([(0, queue(&[1]))]);
        let violations = check(&[acknowledged(1, 0, 0), acknowledged(2, 0, 1)], 5, &queues).unwrap_err();
        assert_eq!(violations, ["message 2 was acknowledged at queue 0 offset 1, where there is None"]);
    }

    #[test]
    fn a_hole_a_stranger_and_a_wrong_place_are_named() {
        let mut holed = queue(&[1, 2]);
        holed[1].queue_offset = 2;
        let queues = BTreeMap::from([(0, holed), (1, queue(&[9])), (2, queue(&[3, 4]))]);
        let violations = check(&[acknowledged(4, 2, 0)], 5, &queues).unwrap_err();
        assert_eq!(violations.len(), 3, "{violations:?}");
    }
}
