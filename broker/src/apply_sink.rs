use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::Notify;

use crate::group::Group;
use crate::processor::pull_message;
use crate::pull_hold::Arrival;
use crate::state_machine::{ApplySink, OffsetCommit};

/// From the state machine to those who wait: held pulls, and the registration at name servers.
///
/// The state machine is made before the group that it serves, so the group is filled in later.
#[derive(Clone, Default)]
pub(crate) struct GroupSink {
    group: Arc<OnceLock<Weak<Group>>>,
    topics_changed: Arc<Notify>,
}

impl GroupSink {
    pub(crate) fn set_group(&self, group: &Arc<Group>) {
        // A second call would be a bug of the one place that wires a group; the first group stays.
        let _ = self.group.set(Arc::downgrade(group));
    }

    /// Told after topics have changed; several changes may be one notice.
    pub(crate) fn topics_changed(&self) -> Arc<Notify> {
        self.topics_changed.clone()
    }

    fn group(&self) -> Option<Arc<Group>> {
        self.group.get().and_then(Weak::upgrade)
    }
}

impl ApplySink for GroupSink {
    fn has_waiters(&self) -> bool {
        self.group().is_some_and(|group| !group.holds.is_empty())
    }

    fn arrived(&mut self, arrivals: &[Arrival]) {
        let Some(group) = self.group() else { return };
        let woken = group.holds.arrived(arrivals);
        if !woken.is_empty() {
            let io = group.io.clone();
            // One task for all: reading for them must not hold up apply.
            io.spawn(async move { pull_message::resume(&group, woken) });
        }
    }

    fn topics_changed(&mut self, _topics: &[Arc<str>]) {
        self.topics_changed.notify_one();
    }

    fn offsets_committed(&mut self, commits: &[OffsetCommit]) {
        if let Some(group) = self.group() {
            group.offset_commits.note_applied(commits);
        }
    }
}
