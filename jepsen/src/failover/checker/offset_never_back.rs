//! A committed offset that one answer showed is not taken back by a later one (DESIGN.md 3: an offset that a query has
//! seen is in the log). The driver asks one request after the other, so the answers have an order.

use std::collections::HashMap;

use super::shorten;
use crate::failover::history::History;

pub(crate) fn never_back(history: &History) -> Vec<String> {
    let mut highest: HashMap<u32, u64> = HashMap::new();
    let mut back = Vec::new();
    for seen in &history.offsets {
        match (seen.offset, highest.get(&seen.queue).copied()) {
            (None, None) => {}
            (None, Some(before)) => back.push(format!("queue {} from {before} to none at {}", seen.queue, seen.at_us)),
            (Some(now), before) => {
                if let Some(before) = before.filter(|before| now < *before) {
                    back.push(format!("queue {} from {before} to {now} at {}", seen.queue, seen.at_us));
                }
                highest.insert(seen.queue, before.map_or(now, |before| before.max(now)));
            }
        }
    }
    let mut findings = shorten("a committed offset went back", back);
    let past = history.queues.iter().filter(|end| highest.get(&end.queue).is_some_and(|offset| *offset > end.max));
    findings
        .extend(shorten("a committed offset past the end", past.map(|end| format!("queue {}", end.queue)).collect()));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        never_back(&History::parse(text).expect("a history"))
    }

    #[test]
    fn offsets_that_grow_per_queue_are_fine() {
        assert!(findings("O\t1\t0\t-1\ta\nO\t2\t0\t5\ta\nO\t3\t1\t2\tb\nO\t4\t0\t5\tb\nQ\t0\t0\t5\n").is_empty());
    }

    #[test]
    fn a_smaller_offset_a_vanished_one_and_one_past_the_end_are_found() {
        assert_eq!(
            findings("O\t1\t0\t5\ta\nO\t2\t0\t4\tb\n"),
            ["a committed offset went back (1 times): queue 0 from 5 to 4 at 2"]
        );
        assert_eq!(
            findings("O\t1\t0\t5\ta\nO\t2\t0\t-1\tb\n"),
            ["a committed offset went back (1 times): queue 0 from 5 to none at 2"]
        );
        assert_eq!(findings("O\t1\t0\t6\ta\nQ\t0\t0\t5\n"), ["a committed offset past the end (1 times): queue 0"]);
    }
}
