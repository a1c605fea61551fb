use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies, kept with three digits from a microsecond to a minute; longer ones count as a minute.
pub(crate) struct Latencies {
    micros: Histogram<u64>,
}

const LONGEST: Duration = Duration::from_secs(60);

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let micros = Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3);
        Latencies { micros: micros.expect("bounds and digits are constants in range") }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.micros.saturating_record(latency.as_micros().max(1) as u64);
    }

    pub(crate) fn clear(&mut self) {
        self.micros.clear();
    }

    /// `p50 0.42 ms, p99 1.90 ms`; empty without a record.
    pub(crate) fn summary(&self) -> String {
        if self.micros.is_empty() {
            return "p50 -, p99 -".to_owned();
        }
        let at = |quantile| self.micros.value_at_quantile(quantile) as f64 / 1000.0;
        format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.micros.max())
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), "p50 -, p99 -");
        for _ in 0..98 {
            latencies.record(Duration::from_micros(500));
        }
        latencies.record(Duration::from_millis(2));
        latencies.record(Duration::from_secs(600));
        assert_eq!(latencies.summary(), "p50 0.50 ms, p99 2.00 ms");
    }
}
