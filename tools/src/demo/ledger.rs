//! What the demo sent, what was acknowledged and what came out again.

use std::time::Duration;

use bytes::Bytes;
use raftmq_client::SendError;

use crate::latency::Latencies;

/// Bytes of each message body.
pub(super) const BODY_BYTES: usize = 1024;

/// The body of message `number`: the number, then letters that follow from it.
pub(super) fn body(number: u64) -> Bytes {
    let mut body = format!("{number:016x}").into_bytes();
    let mut state = number;
    while body.len() < BODY_BYTES {
        // Knuth's MMIX generator; its top bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.push(b'a' + ((state >> 33) % 26) as u8);
    }
    body.into()
}

/// The number of a body that [`body`] made; `None` if a single byte differs.
pub(super) fn number_of(found: &[u8]) -> Option<u64> {
    let number = u64::from_str_radix(std::str::from_utf8(found.get(..16)?).ok()?, 16).ok()?;
    (body(number) == found).then_some(number)
}

/// One acknowledged send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) number: u64,
    pub(super) queue_id: i32,
    pub(super) queue_offset: u64,
    /// Since the traffic started.
    pub(super) at: Duration,
}

/// Written by the senders and the consumer, read by the live line and the checks.
#[derive(Default)]
pub(super) struct Ledger {
    /// In the order the answers came.
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    /// By number, how often the consumer got the message.
    consumed: Vec<u32>,
    /// Different messages consumed.
    pub(super) consumed_once: u64,
    /// Bodies that we never sent.
    pub(super) strangers: u64,
    /// Since the live line was last shown.
    pub(super) recent: Latencies,
}

impl Ledger {
    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged, latency: Duration) {
        self.acknowledged.push(acknowledged);
        self.recent.record(latency);
    }

    pub(super) fn fail(&mut self, error: &SendError) {
        if error.is_unknown() {
            self.unknown += 1;
        } else {
            self.refused += 1;
        }
    }

    pub(super) fn consume(&mut self, body: &[u8]) {
        let Some(number) = number_of(body).and_then(|number| usize::try_from(number).ok()) else {
            self.strangers += 1;
            return;
        };
        if self.consumed.len() <= number {
            self.consumed.resize(number + 1, 0);
        }
        self.consumed[number] += 1;
        self.consumed_once += u64::from(self.consumed[number] == 1);
    }

    /// Acknowledged messages that the consumer has not got.
    pub(super) fn not_consumed(&self) -> usize {
        let got = |number: u64| self.consumed.get(number as usize).is_some_and(|times| *times > 0);
        self.acknowledged.iter().filter(|acknowledged| !got(acknowledged.number)).count()
    }

    /// The time of the last answer.
    pub(super) fn last_at(&self) -> Option<Duration> {
        self.acknowledged.last().map(|acknowledged| acknowledged.at)
    }

    /// The longest time between two acknowledged sends of which the second came after `moment`.
    pub(super) fn longest_pause_after(&self, moment: Duration) -> Option<Duration> {
        let pairs = self.acknowledged.windows(2);
        let after = pairs.filter(|pair| pair[1].at > moment);
        after.map(|pair| pair[1].at.saturating_sub(pair[0].at)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(number: u64, at_ms: u64) -> Acknowledged {
        Acknowledged { number, queue_id: 0, queue_offset: number, at: Duration::from_millis(at_ms) }
    }

    #[test]
    fn a_body_knows_its_number_and_damage() {
        assert_eq!(body(7).len(), BODY_BYTES);
        assert_eq!(number_of(&body(7)), Some(7));
        let mut damaged = body(7).to_vec();
        damaged[BODY_BYTES - 1] ^= 1;
        assert_eq!(number_of(&damaged), None);
        assert_eq!(number_of(b"short"), None);
    }

    #[test]
    fn the_pause_after_a_moment_is_the_longest_that_ends_behind_it() {
        let mut ledger = Ledger::default();
        for (number, at_ms) in [(0, 0), (1, 900), (2, 1000), (3, 1300), (4, 1310)] {
            ledger.acknowledge(acknowledged(number, at_ms), Duration::ZERO);
        }
        assert_eq!(ledger.longest_pause_after(Duration::from_millis(950)), Some(Duration::from_millis(300)));
        assert_eq!(ledger.longest_pause_after(Duration::from_millis(2000)), None);
    }

    #[test]
    fn what_was_not_consumed_is_counted() {
        let mut ledger = Ledger::default();
        for number in 0..3 {
            ledger.acknowledge(acknowledged(number, number), Duration::ZERO);
        }
        for found in [body(2), body(2), body(0), Bytes::from_static(b"?")] {
            ledger.consume(&found);
        }
        assert_eq!((ledger.not_consumed(), ledger.consumed_once, ledger.strangers), (1, 2, 1));
    }
}
