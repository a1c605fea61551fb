//! Counters, gauges and histograms, and their text in the Prometheus exposition format.
//!
//! A metric is registered once by name and labels and then updated without a lock. Each crate lists its names in
//! its own `metrics.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All metrics of one process (or of one simulated node).
#[derive(Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<&'static str, Family>>>,
}

struct Family {
    help: &'static str,
    series: BTreeMap<String, Series>,
}

#[derive(Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Only goes up. Names end in `_total`.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of values up to each power-of-two bound. Values are integers in the unit `unit_per_one` says (for
/// example microseconds with 1e-6, so that the text is in seconds).
#[derive(Clone)]
pub struct Histogram(Arc<HistogramCore>);

struct HistogramCore {
    unit: f64,
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

const BUCKETS: usize = 32;

impl Histogram {
    fn new(unit: f64) -> Histogram {
        Histogram(Arc::new(HistogramCore {
            unit,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }))
    }

    /// Records one value, in the histogram's integer unit.
    pub fn record(&self, value: u64) {
        let bucket = (64 - value.leading_zeros() as usize).min(BUCKETS - 1);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Registry {
    /// The counter of this name and these labels, made at the first call.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Counter {
        match self.series(name, help, labels, || Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            _ => panic!("metric {name} was registered as another kind"),
        }
    }

    /// The gauge of this name and these labels, made at the first call.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Gauge {
        match self.series(name, help, labels, || Series::Gauge(Gauge::default())) {
            Series::Gauge(gauge) => gauge,
            _ => panic!("metric {name} was registered as another kind"),
        }
    }

    /// The histogram of this name and these labels, made at the first call; `unit` is the size of one recorded
    /// step in the unit that the name ends with.
    pub fn histogram(&self, name: &'static str, help: &'static str, unit: f64, labels: &[(&str, &str)]) -> Histogram {
        match self.series(name, help, labels, || Series::Histogram(Histogram::new(unit))) {
            Series::Histogram(histogram) => histogram,
            _ => panic!("metric {name} was registered as another kind"),
        }
    }

    fn series(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        make: impl FnOnce() -> Series,
    ) -> Series {
        let mut key = String::new();
        for (label, value) in labels {
            let separator = if key.is_empty() { "" } else { "," };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(key, "{separator}{label}=\"{value}\"");
        }
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
        family.series.entry(key).or_insert_with(make).clone()
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter() {
            let kind = match family.series.values().next() {
                Some(Series::Counter(_)) => "counter",
                Some(Series::Gauge(_)) => "gauge",
                Some(Series::Histogram(_)) => "histogram",
                None => continue,
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, series) in &family.series {
                let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                let _ = match series {
                    Series::Counter(counter) => writeln!(text, "{name}{braces} {}", counter.get()),
                    Series::Gauge(gauge) => writeln!(text, "{name}{braces} {}", gauge.get()),
                    Series::Histogram(histogram) => {
                        render_histogram(&mut text, name, labels, histogram);
                        Ok(())
                    }
                };
            }
        }
        text
    }
}

fn render_histogram(text: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let core = &histogram.0;
    let separator = if labels.is_empty() { "" } else { "," };
    let mut below = 0;
    for (index, bucket) in core.buckets.iter().enumerate() {
        below += bucket.load(Ordering::Relaxed);
        // Bucket `index` holds integers of `index` bits: up to 2^index - 1.
        let bound = if index == BUCKETS - 1 {
            "+Inf".to_owned()
        } else {
            format!("{}", ((1u64 << index) - 1) as f64 * core.unit)
        };
        let _ = writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {below}");
    }
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "{name}_sum{braces} {}", core.sum.load(Ordering::Relaxed) as f64 * core.unit);
    let _ = writeln!(text, "{name}_count{braces} {below}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_labels_are_one_counter() {
        let registry = Registry::default();
        registry.counter("a_total", "A.", &[("code", "310")]).add(2);
        registry.counter("a_total", "A.", &[("code", "310")]).add(3);
        assert!(registry.render().contains("a_total{code=\"310\"} 5\n"), "{}", registry.render());
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_bounded() {
        let registry = Registry::default();
        let histogram = registry.histogram("wait_seconds", "W.", 1e-6, &[]);
        for value in [0, 1, 3, u64::MAX] {
            histogram.record(value);
        }
        let text = registry.render();
        assert!(text.contains("wait_seconds_bucket{le=\"0\"} 1\n"), "{text}");
        assert!(text.contains("wait_seconds_bucket{le=\"0.000003\"} 3\n"), "{text}");
        assert!(text.contains("wait_seconds_bucket{le=\"+Inf\"} 4\n"), "{text}");
        assert!(text.contains("wait_seconds_count 4\n"), "{text}");
    }
}
