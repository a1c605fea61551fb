use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use raftmq_sys::Clock;

/// Time that moves only when the test moves it.
pub struct SimClock {
    unix_ms: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl SimClock {
    pub fn new(unix_ms: i64) -> SimClock {
        SimClock { unix_ms: AtomicI64::new(unix_ms), monotonic_ns: AtomicU64::new(0) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.monotonic_ns.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        self.unix_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator or NTP would; the monotonic one does not notice.
    pub fn set_unix_ms(&self, unix_ms: i64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_ns.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_until_it_is_moved() {
        let clock = SimClock::new(1_000);
        assert_eq!((clock.unix_ms(), clock.monotonic()), (1_000, Duration::ZERO));
        clock.advance(Duration::from_millis(5));
        clock.set_unix_ms(10);
        assert_eq!((clock.unix_ms(), clock.monotonic()), (10, Duration::from_millis(5)));
    }
}
