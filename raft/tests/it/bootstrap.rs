use std::time::Duration;

use raftmq_raft::RoleKind;

use crate::cluster::{Cluster, eventually, is_joining, wipe};
use crate::tables::proposal;

/// Long enough for many rounds of questions and elections. Only for what must never happen.
const A_WHILE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_forms_only_when_all_members_answer_and_may_be_interrupted() {
    let mut cluster = Cluster::new(3);
    cluster.start(0).await;
    cluster.start(1).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(cluster.running().all(is_joining));

    cluster.take(0).kill();
    cluster.take(1).kill();
    for slot in 0..3 {
        cluster.start(slot).await;
    }
    let leader = cluster.ready_leader().await;
    cluster.member(leader).group.propose(proposal([1])).await.unwrap();
    assert_eq!(cluster.converged().await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_form_a_group() {
    let cluster = Cluster::started(5).await;
    let leader = cluster.ready_leader().await;
    cluster.member(leader).group.propose(proposal([5])).await.unwrap();
    assert_eq!(cluster.converged().await, [5]);
    assert_eq!(cluster.member(leader).group.status().members.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_is_refused_and_the_others_go_on() {
    let mut cluster = Cluster::started(3).await;
    for wiped in [0, 2] {
        let directory = cluster.directory(wiped);
        cluster.converged().await;
        cluster.take(wiped).shutdown().await;
        let kept = directory.with_extension("kept");
        std::fs::rename(&directory, &kept).unwrap();
        cluster.start(wiped).await;
        let member = cluster.member(wiped);
        eventually("the wiped member stops", || member.role().is_stopped()).await;
        let RoleKind::Stopped { reason: Some(reason) } = member.role().kind else { panic!("{:?}", member.role()) };
        assert!(reason.contains("another incarnation"), "{reason}");

        // The other two are a majority; the member itself is welcome with its own directory.
        let stranger = cluster.take(wiped);
        let leader = cluster.ready_leader().await;
        cluster.member(leader).group.propose(proposal([u64::from(wiped)])).await.unwrap();
        stranger.shutdown().await;
        wipe(&directory);
        std::fs::rename(&kept, &directory).unwrap();
        cluster.start(wiped).await;
    }
    assert_eq!(cluster.converged().await, [0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_is_refused() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.ready_leader().await;
    let victim = (0..3).find(|slot| *slot != leader).unwrap();
    cluster.take(victim).shutdown().await;
    let mut config = cluster.config(victim);
    config.cluster = "other".to_owned();
    config.store.root = cluster.directory(9);
    config.store.commit_log_dir = cluster.directory(9).join("commitlog");
    cluster.start_with(config).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(is_joining(cluster.member(victim)));
    let status = cluster.member(victim).group.status();
    assert_eq!((status.last_index, status.role.term), (None, 0));

    // A directory of the other cluster is not taken for ours either.
    cluster.take(victim).shutdown().await;
    cluster.start(victim).await;
    let leader = cluster.ready_leader().await;
    cluster.member(leader).group.propose(proposal([3])).await.unwrap();
    assert_eq!(cluster.converged().await, [3]);
}
