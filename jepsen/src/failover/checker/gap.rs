//! How long nothing came: no acknowledgement to the producers, no delivery to the consumer.

/// The longest time between two events of which the second came in `from_us..=until_us`.
pub(crate) fn longest_ms(times_us: impl Iterator<Item = u64>, from_us: u64, until_us: u64) -> f64 {
    let mut times: Vec<u64> = times_us.collect();
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
    fn the_gap_begins_with_the_last_event_before_the_fault() {
        let times = [1_000, 9_000, 500_000, 501_000, 2_000_000];
        assert_eq!(longest_ms(times.into_iter(), 10_000, 600_000), 491.0);
        assert_eq!(longest_ms(times.into_iter(), 2_100_000, 2_200_000), 100.0);
    }
}
