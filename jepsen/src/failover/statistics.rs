//! The distribution of a few hundred numbers.

use std::fmt;

/// Gaps in which something did not happen, one per fault.
#[derive(Debug)]
pub(crate) struct Distribution {
    what: String,
    /// Ascending, in milliseconds.
    sorted_ms: Vec<f64>,
}

impl Distribution {
    /// `what` did not happen, as in "no send acknowledged".
    pub(crate) fn of(what: &str, fault: &str, mut gaps_ms: Vec<f64>) -> Distribution {
        gaps_ms.sort_by(f64::total_cmp);
        Distribution { what: format!("{what} for, over {} {fault}s", gaps_ms.len()), sorted_ms: gaps_ms }
    }

    /// The smallest value that at least `percent` of all do not exceed.
    fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.sorted_ms.len() * percent).div_ceil(100).max(1);
        self.sorted_ms.get(rank - 1).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: min {:.0} ms, p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
            self.what,
            self.percentile(0),
            self.percentile(50),
            self.percentile(90),
            self.percentile(99),
            self.percentile(100)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let distribution = Distribution::of("no send acknowledged", "kill", (1..=100).rev().map(f64::from).collect());
        assert_eq!(
            distribution.to_string(),
            "no send acknowledged for, over 100 kills: min 1 ms, p50 50 ms, p90 90 ms, p99 99 ms, max 100 ms"
        );
    }
}
