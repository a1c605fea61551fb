//! Waiting for a condition, in place of sleeping.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// A condition that did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("not within {seconds} s: {what}")]
pub struct TimedOut {
    pub what: String,
    pub seconds: u64,
}

/// Looks at `condition` until it yields a value, for `limit` at most.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T, TimedOut> {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if begin.elapsed() > limit {
            return Err(TimedOut { what: what.to_owned(), seconds: limit.as_secs() });
        }
        std::thread::sleep(PERIOD);
    }
}
