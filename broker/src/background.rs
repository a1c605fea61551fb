//! What a group does by itself: deadlines of held pulls, offset commits that wait, clients that went silent.

use std::sync::Arc;
use std::time::Duration;

use raftmq_store::ProposalRecord;

use crate::group::Group;
use crate::processor::{client_manage, pull_message};
use crate::proposer::{ProposeError, Work};
use crate::replicator::ReplicateError;

/// One-way offset commits are in the log after this long at the latest, if a leader is there.
const OFFSET_COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// A pause that comes so much later than it was to end was one of the whole process.
const STALL: Duration = Duration::from_secs(1);
/// Pause between looks for clients without a heartbeat (RocketMQ: 10 s).
const CLIENT_SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// Pause between sweeps of held pulls whose connection is gone.
const HOLD_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Deadlines of held pulls are this exact.
const DEADLINE_GRAIN: Duration = Duration::from_millis(5);

/// Pause between looks for work that waits to be proposed, or to be answered, for too long.
const LATE_WORK_INTERVAL: Duration = Duration::from_millis(100);

/// Starts the tasks; they end with the runtime.
pub(crate) fn start(group: &Arc<Group>) {
    group.io.spawn(end_holds(group.clone()));
    group.io.spawn(commit_offsets(group.clone()));
    group.io.spawn(scan_clients(group.clone()));
    group.io.spawn(sweep_holds(group.clone()));
    group.io.spawn(answer_late_work(group.clone()));
}

async fn answer_late_work(group: Arc<Group>) {
    loop {
        tokio::time::sleep(LATE_WORK_INTERVAL).await;
        group.proposer.answer_late();
    }
}

async fn end_holds(group: Arc<Group>) {
    let clock = group.seams.clock.clone();
    loop {
        let Some(deadline) = group.holds.next_deadline() else {
            group.holds.sooner().await;
            continue;
        };
        let left = deadline.saturating_sub(clock.monotonic());
        if left.is_zero() {
            pull_message::resume(&group, group.holds.expired(clock.monotonic()));
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(left.max(DEADLINE_GRAIN)) => {}
            () = group.holds.sooner() => {}
        }
    }
}

async fn commit_offsets(group: Arc<Group>) {
    let clock = group.seams.clock.clone();
    loop {
        let before = clock.monotonic();
        tokio::time::sleep(OFFSET_COMMIT_INTERVAL).await;
        let slept = clock.monotonic().saturating_sub(before);
        if slept > OFFSET_COMMIT_INTERVAL + STALL {
            tracing::warn!(?slept, "this process did not run for a while");
            group.offset_commits.note_stall();
        }
        group.offset_commits.forget_applied();
        if group.offset_commits.is_empty() {
            continue;
        }
        if group.replicator.leadership().is_leading() {
            propose_offsets(&group);
        } else if let Some(hold) = &group.leader_hold {
            hold.forward_offsets(&group).await;
        }
    }
}

/// Proposes the offsets that wait now, in pieces; those that were definitely not appended wait again.
pub(crate) fn propose_offsets(group: &Arc<Group>) {
    let mut left = group.offset_commits.len();
    while left > 0 {
        let proposed = propose_some_offsets(group);
        if proposed == 0 {
            break;
        }
        left = left.saturating_sub(proposed);
    }
}

fn propose_some_offsets(group: &Arc<Group>) -> usize {
    group.offset_commits.drain_with(|taken| {
        let Some(taken) = taken else { return 0 };
        let count = taken.commits().len();
        let epoch = group.replicator.leadership().epoch();
        let records = vec![ProposalRecord::Command(taken.to_command().to_record())];
        let group_ = group.clone();
        let done = Box::new(move |result: Result<&[_], ProposeError>| match result {
            Ok(_) => {}
            // They may be in the log; clients commit again within seconds.
            Err(ProposeError::Replicate(ReplicateError::Unknown(_) | ReplicateError::Illegal(_))) => {}
            Err(error) => {
                tracing::debug!(%error, "offset commits wait for a leader");
                let io = group_.io.clone();
                // A refusal can come before `submit` returns, with the waiting offsets still locked.
                io.spawn(async move { group_.offset_commits.put_back(taken) });
            }
        });
        group.proposer.submit(Work::new(epoch, records, done));
        count
    })
}

async fn sweep_holds(group: Arc<Group>) {
    loop {
        tokio::time::sleep(HOLD_SWEEP_INTERVAL).await;
        if !group.holds.is_empty() {
            group.holds.forget_gone();
        }
        group.metrics.held_pulls.set(group.holds.len() as i64);
    }
}

async fn scan_clients(group: Arc<Group>) {
    loop {
        tokio::time::sleep(CLIENT_SCAN_INTERVAL).await;
        client_manage::scan(&group, group.seams.clock.monotonic());
    }
}
