//! No acknowledged message is lost: it is read where its answer said, and the consumer was given it.
//! (jepsen-io/jepsen `kafka.clj`: lost-write; an offset that two sends were answered is its inconsistent-offsets.)

use std::collections::{HashMap, HashSet};

use super::shorten;
use crate::failover::history::History;

/// Every acknowledged message is read back at the queue offset of its answer, and every queue from end to end.
pub(crate) fn kept(history: &History) -> Vec<String> {
    let mut read = HashMap::new();
    let mut wrong = Vec::new();
    for message in &history.read {
        match message.number {
            Some(number) => {
                read.insert((message.queue, message.offset), number);
            }
            None => wrong.push(format!("queue {} offset {}", message.queue, message.offset)),
        }
    }
    let mut lost = Vec::new();
    for sent in &history.acknowledged {
        let found = read.get(&(sent.queue, sent.offset));
        if found != Some(&sent.number) {
            let at = format!("{} acknowledged in queue {} at {}", sent.number, sent.queue, sent.offset);
            lost.push(found.map_or_else(|| format!("{at} is gone"), |other| format!("{at}, where {other} lies")));
        }
    }
    let mut holes = Vec::new();
    for queue in &history.queues {
        let count = history.read.iter().filter(|message| message.queue == queue.queue).count() as u64;
        if count != queue.max - queue.min {
            holes.push(format!("queue {} from {} to {} has {count}", queue.queue, queue.min, queue.max));
        }
    }
    let mut findings = shorten("acknowledged and lost", lost);
    findings.extend(shorten("bodies that nobody sent", wrong));
    findings.extend(shorten("messages missing in a queue", holes));
    findings
}

/// The push consumer was given every acknowledged message at least once.
pub(crate) fn delivered(history: &History) -> Vec<String> {
    let delivered: HashSet<u64> = history.delivered.iter().map(|delivered| delivered.number).collect();
    let missing = history.acknowledged.iter().filter(|sent| !delivered.contains(&sent.number));
    shorten("acknowledged and never delivered", missing.map(|sent| sent.number.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "A\t1\t2\t7\t3\t0\nA\t1\t2\t8\t3\t1\nC\t1\t7\t3\t0\nC\t1\t8\t3\t1\nQ\t3\t0\t2\nR\t3\t0\t7\nR\t3\t1\t8\n";

    fn findings(text: &str) -> Vec<String> {
        let history = History::parse(text).expect("a history");
        [kept(&history), delivered(&history)].concat()
    }

    #[test]
    fn a_good_history_has_no_findings() {
        assert_eq!(findings(GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_lost_a_replaced_and_an_undelivered_message_are_found() {
        let lost = findings(&GOOD.replace("R\t3\t1\t8\n", ""));
        assert_eq!(lost[0], "acknowledged and lost (1 times): 8 acknowledged in queue 3 at 1 is gone");
        assert_eq!(lost[1], "messages missing in a queue (1 times): queue 3 from 0 to 2 has 1");
        let replaced = findings(&GOOD.replace("R\t3\t1\t8\n", "R\t3\t1\t9\n"));
        assert_eq!(replaced, ["acknowledged and lost (1 times): 8 acknowledged in queue 3 at 1, where 9 lies"]);
        let undelivered = findings(&GOOD.replace("C\t1\t8\t3\t1\n", ""));
        assert_eq!(undelivered, ["acknowledged and never delivered (1 times): 8"]);
    }
}
