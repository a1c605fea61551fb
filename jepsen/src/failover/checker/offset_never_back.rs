//! A committed offset that one answer showed is not taken back by a later one (DESIGN.md 3: an offset that a query has
//! seen is in the log). Members are asked side by side, so an answer is later than another only if its question was
//! asked after the other had come.

use std::collections::BTreeMap;

use super::shorten;
use crate::failover::history::{History, OffsetSeen};

pub(crate) fn never_back(history: &History) -> Vec<String> {
    let mut queues: BTreeMap<u32, Vec<&OffsetSeen>> = BTreeMap::new();
    for seen in &history.offsets {
        queues.entry(seen.queue).or_default().push(seen);
    }
    let back = queues.values_mut().flat_map(|answers| steps_back(answers)).collect();
    let mut findings = shorten("a committed offset went back", back);
    let past = history.queues.iter().filter(|end| {
        history.offsets.iter().any(|seen| seen.queue == end.queue && seen.offset.is_some_and(|offset| offset > end.max))
    });
    findings
        .extend(shorten("a committed offset past the end", past.map(|end| format!("queue {}", end.queue)).collect()));
    findings
}

/// Answers about one queue that are less than one which had come before they were asked for.
fn steps_back(answers: &mut [&OffsetSeen]) -> Vec<String> {
    answers.sort_by_key(|seen| seen.ended_us);
    // What is the highest among the first n answers, and whose it is.
    let mut highest: Vec<Option<&OffsetSeen>> = vec![None];
    for seen in answers.iter() {
        let before = highest.last().copied().flatten();
        let higher = before.is_none_or(|before| seen.offset > before.offset).then_some(*seen);
        highest.push(higher.filter(|seen| seen.offset.is_some()).or(before));
    }
    let mut back = Vec::new();
    for seen in answers.iter() {
        let came_before = answers.partition_point(|other| other.ended_us < seen.asked_us);
        let Some(before) = highest[came_before].filter(|before| seen.offset < before.offset) else { continue };
        back.push(format!(
            "queue {} from {} by {} to {} by {}, asked at {}",
            seen.queue,
            text(before.offset),
            before.member,
            text(seen.offset),
            seen.member,
            seen.asked_us
        ));
    }
    back
}

fn text(offset: Option<u64>) -> String {
    offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        never_back(&History::parse(text).expect("a history"))
    }

    #[test]
    fn offsets_that_grow_per_queue_are_fine() {
        let grows = "O\t1\t2\t0\t-1\ta\nO\t3\t4\t0\t5\ta\nO\t5\t6\t1\t2\tb\nO\t7\t8\t0\t5\tb\nQ\t0\t0\t5\n";
        assert_eq!(findings(grows), Vec::<String>::new());
    }

    #[test]
    fn a_question_asked_before_the_greater_answer_came_may_be_answered_less() {
        assert_eq!(findings("O\t1\t9\t0\t4\tpaused\nO\t2\t3\t0\t5\tb\n"), Vec::<String>::new());
        assert_eq!(
            findings("O\t4\t9\t0\t4\tpaused\nO\t2\t3\t0\t5\tb\n"),
            ["a committed offset went back (1 times): queue 0 from 5 by b to 4 by paused, asked at 4"]
        );
    }

    #[test]
    fn a_smaller_offset_a_vanished_one_and_one_past_the_end_are_found() {
        assert_eq!(
            findings("O\t1\t2\t0\t5\ta\nO\t3\t4\t0\t4\tb\n"),
            ["a committed offset went back (1 times): queue 0 from 5 by a to 4 by b, asked at 3"]
        );
        assert_eq!(
            findings("O\t1\t2\t0\t5\ta\nO\t3\t4\t0\t-1\tb\n"),
            ["a committed offset went back (1 times): queue 0 from 5 by a to none by b, asked at 3"]
        );
        assert_eq!(findings("O\t1\t2\t0\t6\ta\nQ\t0\t0\t5\n"), ["a committed offset past the end (1 times): queue 0"]);
    }

    #[test]
    fn every_answer_below_the_highest_is_found_not_only_the_first() {
        let back = findings("O\t1\t2\t0\t9\ta\nO\t3\t4\t0\t4\tb\nO\t5\t6\t0\t8\tb\nO\t7\t8\t0\t9\tb\n");
        assert!(back[0].starts_with("a committed offset went back (2 times): "), "{back:?}");
    }
}
