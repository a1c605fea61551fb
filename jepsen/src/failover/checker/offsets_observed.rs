//! The offsets were looked at. Without answers "never back" holds of nothing; and a consumer that was given everything
//! has committed everything, so what was committed last is the end of the queue, whoever is asked.

use super::shorten;
use crate::failover::history::{History, OffsetSeen};

/// Every member told an offset of every queue while messages were sent, and at last its end.
pub(crate) fn observed(history: &History, members: &[String]) -> Vec<String> {
    let Some(stopped_us) = history.stopped_us else {
        return vec!["nobody wrote down when the sending stopped".to_owned()];
    };
    if history.queues.is_empty() || members.is_empty() {
        return vec![format!("{} queues and {} members to look at", history.queues.len(), members.len())];
    }
    let (mut unseen, mut short) = (Vec::new(), Vec::new());
    for (member, end) in members.iter().flat_map(|member| history.queues.iter().map(move |end| (member, end))) {
        let at = format!("queue {} at {member}", end.queue);
        let answers = || history.offsets.iter().filter(|seen| seen.member == *member && seen.queue == end.queue);
        if !answers().any(|seen| seen.ended_us < stopped_us && seen.offset.is_some()) {
            unseen.push(at.clone());
        }
        let last: Option<&OffsetSeen> =
            answers().filter(|seen| seen.asked_us >= stopped_us).max_by_key(|seen| seen.ended_us);
        match last.map(|seen| seen.offset) {
            None => short.push(format!("{at} did not answer, its end is {}", end.max)),
            Some(offset) if offset != Some(end.max) => {
                let offset = offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
                short.push(format!("{at} is {offset}, its end is {}", end.max));
            }
            Some(_) => {}
        }
    }
    let mut findings = shorten("no committed offset was seen while messages were sent", unseen);
    findings.extend(shorten("what is committed at last is not the end of the queue", short));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two members, one queue, each asked before and after the stop at 50.
    const GOOD: &str = "O\t1\t2\t0\t3\ta\nO\t3\t4\t0\t4\tb\nS\t50\nO\t51\t52\t0\t5\ta\nO\t53\t54\t0\t4\tb\nO\t55\t56\t0\t5\tb\nQ\t0\t0\t5\n";

    fn findings(text: &str) -> Vec<String> {
        observed(&History::parse(text).expect("a history"), &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn offsets_seen_at_each_member_up_to_the_end_are_fine() {
        assert_eq!(findings(GOOD), Vec::<String>::new());
    }

    #[test]
    fn nothing_seen_is_found() {
        assert_eq!(findings(""), ["nobody wrote down when the sending stopped"]);
        assert_eq!(findings("S\t50\n"), ["0 queues and 2 members to look at"]);
        assert_eq!(
            findings("S\t50\nQ\t0\t0\t5\n"),
            [
                "no committed offset was seen while messages were sent (2 times): queue 0 at a; queue 0 at b",
                "what is committed at last is not the end of the queue (2 times): \
                 queue 0 at a did not answer, its end is 5; queue 0 at b did not answer, its end is 5",
            ]
        );
    }

    #[test]
    fn a_member_and_a_queue_that_nobody_looked_at_are_found() {
        assert_eq!(
            findings(&GOOD.replace("O\t3\t4\t0\t4\tb\n", "")),
            ["no committed offset was seen while messages were sent (1 times): queue 0 at b"]
        );
        assert_eq!(
            findings(&GOOD.replace("O\t3\t4\t0\t4\tb\n", "O\t3\t4\t0\t-1\tb\n")),
            ["no committed offset was seen while messages were sent (1 times): queue 0 at b"]
        );
        let findings = findings(&format!("{GOOD}Q\t1\t0\t0\n"));
        assert!(findings[0].contains("(2 times): queue 1 at a; queue 1 at b"), "{findings:?}");
    }

    #[test]
    fn a_last_offset_below_the_end_and_a_last_one_that_is_none_are_found() {
        assert_eq!(
            findings(&GOOD.replace("O\t55\t56\t0\t5\tb\n", "")),
            ["what is committed at last is not the end of the queue (1 times): queue 0 at b is 4, its end is 5"]
        );
        assert_eq!(
            findings(&GOOD.replace("O\t55\t56\t0\t5\tb\n", "O\t55\t56\t0\t-1\tb\n")),
            ["what is committed at last is not the end of the queue (1 times): queue 0 at b is none, its end is 5"]
        );
    }
}
