use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use raftmq_model::offset::QueueOffset;
use raftmq_raft::{Committed, ProposeError, RoleKind, Timers};
use raftmq_store::FlushMode;

use crate::cluster::{Cluster, PATIENCE, copy_directory, eventually};
use crate::tables::{TOPIC, proposal, unknown_command};

const IN_FLIGHT: usize = 32;

/// Proposes batches of numbers to whoever leads until each is acknowledged or its outcome is unknown.
struct Producer {
    acknowledged: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
    last_index: u64,
}

impl Producer {
    fn new() -> Producer {
        Producer { acknowledged: BTreeSet::new(), unknown: BTreeSet::new(), last_index: 0 }
    }

    async fn produce(&mut self, cluster: &Cluster, batches: Vec<Vec<u64>>) {
        let mut waiting: Vec<Vec<u64>> = batches.into_iter().rev().collect();
        let mut in_flight = FuturesUnordered::new();
        let begun = Instant::now();
        loop {
            while in_flight.len() < IN_FLIGHT
                && let Some(batch) = waiting.pop()
            {
                let leader = cluster.connected().find(|member| member.role().is_ready_leader());
                match leader {
                    Some(leader) => {
                        let result = leader.group.propose(proposal(batch.iter().copied()));
                        in_flight.push(async move { (batch, result.await) });
                    }
                    None => {
                        waiting.push(batch);
                        break;
                    }
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{} batches are left", waiting.len() + in_flight.len());
            if in_flight.is_empty() {
                if waiting.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            if let Some((batch, result)) = in_flight.next().await {
                match result {
                    Ok(committed) => self.acknowledge(&batch, &committed),
                    Err(ProposeError::Unknown(_)) => self.unknown.extend(batch),
                    Err(_) => waiting.push(batch),
                }
            }
        }
    }

    fn acknowledge(&mut self, batch: &[u64], committed: &Committed) {
        assert_eq!(committed.appended.len(), batch.len());
        for pair in committed.appended.windows(2) {
            assert!(pair[0].first < pair[1].first);
        }
        self.last_index = self.last_index.max(committed.index);
        self.acknowledged.extend(batch);
    }

    /// Each acknowledged number is there once, and nothing that was never proposed or was refused.
    fn check(&self, numbers: &[u64]) {
        let stored: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(stored.len(), numbers.len(), "a number is stored twice");
        let lost: Vec<&u64> = self.acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let invented: Vec<&u64> = stored
            .iter()
            .filter(|number| !self.acknowledged.contains(number) && !self.unknown.contains(number))
            .collect();
        assert!(invented.is_empty(), "never acknowledged: {invented:?}");
    }
}

fn batches(from: u64, to: u64) -> Vec<Vec<u64>> {
    (from..to).step_by(10).map(|first| (first..(first + 10).min(to)).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_lose_nothing_with_their_leader() {
    let mut cluster = Cluster::new(3);
    cluster.timers = Timers::default();
    for slot in 0..3 {
        cluster.start(slot).await;
    }
    cluster.ready_leader().await;
    let mut producer = Producer::new();
    producer.produce(&cluster, batches(0, 5_000)).await;

    // Some proposals are on their way when the leader goes.
    let old = cluster.ready_leader().await;
    let pending: Vec<_> = (0..20).map(|n| cluster.member(old).group.propose(proposal([1_000_000 + n]))).collect();
    producer.unknown.extend((0..20).map(|n| 1_000_000 + n));
    let killed = Instant::now();
    cluster.take(old).kill();
    drop(pending);
    let new = cluster.ready_leader().await;
    assert_ne!(old, new);
    println!("a new leader took proposals after {:?}", killed.elapsed());
    producer.produce(&cluster, batches(5_000, 10_000)).await;
    producer.check(&cluster.converged().await);
    assert!(producer.acknowledged.len() >= 9_000, "{} numbers are unknown", producer.unknown.len());

    cluster.start(old).await;
    eventually("the old leader catches up", || {
        cluster.member(old).group.status().applied_index >= Some(producer.last_index)
    })
    .await;
    producer.check(&cluster.converged().await);
    cluster.assert_equal_logs();
    for queue_id in 0..4 {
        let ends: BTreeSet<QueueOffset> = cluster
            .running()
            .map(|member| member.group.queues().queue(TOPIC, queue_id).unwrap().max_offset())
            .collect();
        assert_eq!(ends.len(), 1, "queue {queue_id}: {ends:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_offsets_go_on_without_a_gap_under_the_next_leader() {
    let mut cluster = Cluster::started(3).await;
    for round in 0..3 {
        let leader = cluster.ready_leader().await;
        for n in 0..8 {
            let committed = cluster.member(leader).group.propose(proposal([(round * 8 + n) * 4])).await.unwrap();
            assert_eq!(committed.appended[0].queue_offset, QueueOffset(round * 8 + n));
        }
        cluster.converged().await;
        cluster.take(leader).shutdown().await;
        let next = cluster.ready_leader().await;
        assert_ne!(next, leader);
        cluster.start(leader).await;
        // With all three again, so that the next round can lose one.
        cluster.converged().await;
    }
    cluster.assert_equal_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_killed_at_once_lose_nothing() {
    for flush in [FlushMode::Sync, FlushMode::ASYNC_DEFAULT] {
        let mut cluster = Cluster::new(3);
        cluster.flush = flush;
        for slot in 0..3 {
            cluster.start(slot).await;
        }
        let mut producer = Producer::new();
        producer.produce(&cluster, batches(0, 500)).await;
        for round in 1..3 {
            for slot in 0..3 {
                cluster.take(slot).kill();
            }
            for slot in 0..3 {
                cluster.start(slot).await;
            }
            cluster.ready_leader().await;
            producer.check(&cluster.converged().await);
            producer.produce(&cluster, batches(round * 500, (round + 1) * 500)).await;
        }
        producer.check(&cluster.converged().await);
        cluster.assert_equal_logs();
    }
}

/// The old leader goes on appending until its lease ends; what it appended alone is cut off when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_loses_only_what_it_never_acknowledged() {
    let cluster = Cluster::started(3).await;
    let mut producer = Producer::new();
    producer.produce(&cluster, batches(0, 200)).await;
    let old = cluster.ready_leader().await;
    let alone = &cluster.member(old).group;

    cluster.cables[usize::from(old)].pull();
    let pending: Vec<_> = (1000..1050).map(|n| (n, alone.propose(proposal([n])))).collect();
    eventually("the old leader refuses", || {
        let refused = alone.propose(proposal([2000])).now_or_never();
        matches!(refused, Some(Err(ProposeError::LeaseExpired | ProposeError::NotLeader { .. })))
            || !cluster.member(old).role().is_ready_leader()
    })
    .await;
    assert!(alone.read_barrier().await.is_err());
    let new = cluster.ready_leader().await;
    assert_ne!(new, old);
    producer.produce(&cluster, batches(200, 400)).await;

    cluster.cables[usize::from(old)].plug_in();
    for (number, outcome) in pending {
        match outcome.await {
            Ok(_) => drop(producer.acknowledged.insert(number)),
            Err(ProposeError::Unknown(_)) => drop(producer.unknown.insert(number)),
            Err(_) => {}
        }
    }
    // Proposed while the lease lasted, and by nobody who waited for the answer.
    producer.unknown.insert(2000);
    producer.produce(&cluster, batches(400, 500)).await;
    producer.check(&cluster.converged().await);
    cluster.assert_equal_logs();
}

/// Trap T3: in ASYNC_FLUSH a power cut may take what a follower has acknowledged. It must catch up all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_log_went_back_catches_up() {
    let mut cluster = Cluster::started(3).await;
    let mut producer = Producer::new();
    producer.produce(&cluster, batches(0, 300)).await;
    cluster.converged().await;
    let leader = cluster.ready_leader().await;
    let follower = (0..3).find(|slot| *slot != leader).unwrap();
    cluster.take(follower).shutdown().await;
    let old = cluster.directory(follower).with_extension("old");
    copy_directory(&cluster.directory(follower), &old);

    cluster.start(follower).await;
    producer.produce(&cluster, batches(300, 600)).await;
    cluster.converged().await;
    cluster.take(follower).shutdown().await;
    cluster.restore(follower, &old);
    cluster.start(follower).await;
    producer.produce(&cluster, batches(600, 700)).await;
    producer.check(&cluster.converged().await);
    cluster.assert_equal_logs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_share_the_listeners_of_their_processes() {
    let mut first = Cluster::started(3).await;
    let mut second = Cluster::beside(&first, "h");
    for slot in 0..3 {
        second.start(slot).await;
    }
    for (cluster, from) in [(&first, 0), (&second, 100)] {
        let mut producer = Producer::new();
        producer.produce(cluster, batches(from, from + 100)).await;
        producer.check(&cluster.converged().await);
    }
    // The one that goes takes nothing from the other.
    for slot in 0..3 {
        second.take(slot).shutdown().await;
    }
    let leader = first.ready_leader().await;
    first.take(leader).shutdown().await;
    let mut producer = Producer::new();
    producer.produce(&first, batches(100, 200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_serves_alone_and_starts_from_its_snapshot() {
    let mut cluster = Cluster::started(1).await;
    let mut producer = Producer::new();
    producer.produce(&cluster, batches(0, 200)).await;
    cluster.take(0).shutdown().await;

    cluster.start(0).await;
    let member = cluster.member(0);
    // Before the log is applied again the tables are there already.
    assert_eq!(member.tables.lock().unwrap().numbers.len(), 200);
    cluster.ready_leader().await;
    producer.produce(&cluster, batches(200, 300)).await;
    producer.check(&cluster.converged().await);
    member.group.read_barrier().await.unwrap();
    assert_eq!(member.group.status().members.len(), 1);
}

/// A member that cannot apply an entry must not go on without it, nor tell anybody that it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_applied_stops_the_member_and_says_why() {
    let cluster = Cluster::started(1).await;
    let member = cluster.member(0);
    member.group.propose(proposal([1])).await.unwrap();
    let outcome = member.group.propose(unknown_command()).await;
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
    eventually("the member stops", || member.role().is_stopped()).await;
    let RoleKind::Stopped { reason: Some(reason) } = member.role().kind else { panic!("{:?}", member.role()) };
    assert!(reason.contains("unknown command 2"), "{reason}");
    assert!(matches!(member.group.propose(proposal([2])).await, Err(ProposeError::Stopped)));
    assert_eq!(member.numbers(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_under_another_leadership_are_not_appended() {
    let cluster = Cluster::started(3).await;
    let leader = cluster.ready_leader().await;
    let group = &cluster.member(leader).group;
    let epoch = group.role().borrow().epoch;
    for wrong in [epoch + (1 << 16), epoch - 1, 0] {
        let (told, done) = tokio::sync::oneshot::channel();
        group.submit(wrong, proposal([9]), Box::new(move |result| drop(told.send(result.map(|_| ())))));
        assert_eq!(done.await.unwrap(), Err(ProposeError::NotLeader { leader: Some(leader) }));
    }
    let follower = (0..3).find(|slot| *slot != leader).unwrap();
    let follower = &cluster.member(follower).group;
    assert!(matches!(follower.propose(proposal([9])).await, Err(ProposeError::NotLeader { .. })));
    assert!(matches!(follower.read_barrier().await, Err(ProposeError::NotLeader { .. })));
    group.read_barrier().await.unwrap();
    let too_large = proposal(0..40_000);
    assert!(matches!(group.propose(too_large).await, Err(ProposeError::TooLarge { .. })));
    group.propose(proposal([7])).await.unwrap();
    assert_eq!(cluster.converged().await, [7]);
}
