//! How long nothing was acknowledged.

use crate::failover::history::Acknowledged;

/// The longest time between two acknowledgements of which the second came in `from_us..=until_us`.
pub(crate) fn longest_ms(acknowledged: &[Acknowledged], from_us: u64, until_us: u64) -> f64 {
    let mut times: Vec<u64> = acknowledged.iter().map(|sent| sent.ended_us).collect();
    times.sort_unstable();
    let pairs = times.windows(2).filter(|pair| (from_us..=until_us).contains(&pair[1]));
    let longest_us = pairs.map(|pair| pair[1] - pair[0]).max();
    // Nothing came in the whole span: it is the least that can be said.
    longest_us.unwrap_or(until_us - from_us) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_begins_with_the_last_answer_before_the_kill() {
        let at = |ended_us| Acknowledged { ended_us, number: 0, queue: 0, offset: 0 };
        let acknowledged = [at(1_000), at(9_000), at(500_000), at(501_000), at(2_000_000)];
        assert_eq!(longest_ms(&acknowledged, 10_000, 600_000), 491.0);
        assert_eq!(longest_ms(&acknowledged, 2_100_000, 2_200_000), 100.0);
    }
}
