//! Topics and groups that every broker has: a leader makes those that are missing.

use std::sync::Arc;
use std::time::Duration;

use raftmq_store::ProposalRecord;
use tokio::sync::oneshot;

use crate::group::Group;
use crate::proposer::{ProposeError, Work};
use crate::state_machine::{Tables, bootstrap_commands};

/// Pause before they are proposed once more.
const PAUSE: Duration = Duration::from_millis(100);

/// Told when a proposal has ended, well or not.
pub(crate) type Proposed = oneshot::Receiver<()>;

/// Proposes what is missing. Existing topics and groups stay as they are, so a second proposal is harmless. `None` if
/// everything is there.
pub(crate) fn propose(group: &Group) -> Option<Proposed> {
    let tables = Tables {
        topics: group.topics.clone(),
        groups: group.groups.clone(),
        consumer_offsets: group.consumer_offsets.clone(),
    };
    let epoch = group.replicator.leadership().epoch();
    let commands = bootstrap_commands(&tables, &group.topic_defaults, group.seams.clock.unix_ms());
    if commands.is_empty() {
        return None;
    }
    let records = commands.iter().map(|command| ProposalRecord::Command(command.to_record())).collect();
    let (ended, wait) = oneshot::channel();
    let done = Box::new(move |result: Result<&[_], ProposeError>| {
        if let Err(error) = result {
            tracing::warn!(%error, "the topics of the start were not created yet");
        }
        // Nobody waits any more if this member does not lead any more.
        let _ = ended.send(());
    });
    group.proposer.submit(Work::new(epoch, records, done));
    Some(wait)
}

/// Tries until everything is there: nobody else does it while this member leads. `proposed` is what is under way.
pub(crate) async fn finish(group: &Arc<Group>, proposed: Option<Proposed>) {
    let mut proposed = proposed.or_else(|| propose(group));
    while let Some(ended) = proposed {
        // An error is a proposal that was dropped; it is followed like one that failed.
        let _ = ended.await;
        proposed = propose(group);
        if proposed.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_group::{TestGroup, eventually};

    #[tokio::test]
    async fn a_leader_tries_until_the_topics_of_the_start_are_there() {
        let fixture = TestGroup::without_topics();
        let first = propose(&fixture.group);
        assert!(first.is_some());
        let group = fixture.group.clone();
        let finished = tokio::spawn(async move { finish(&group, first).await });
        fixture.refuse_next();
        eventually("a second proposal", || (fixture.batches() > 0).then_some(())).await;
        assert!(fixture.group.topics.is_empty());
        fixture.store_next();
        finished.await.unwrap();
        assert!(fixture.group.topics.contains("TBW102"));
        assert!(propose(&fixture.group).is_none());
    }
}
