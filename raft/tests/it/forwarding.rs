use std::time::Duration;

use bytes::Bytes;
use raftmq_raft::ForwardError;

use crate::cluster::{Cluster, PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_forward_to_the_leader() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.ready_leader().await;
    let follower = (0..3).find(|slot| *slot != leader).unwrap();
    eventually("the follower knows the leader", || cluster.member(follower).role().leader_slot == Some(leader)).await;

    let group = &cluster.member(follower).group;
    let requests = (0..100).map(|n| group.forward(Bytes::from(format!("request {n}")), PATIENCE));
    for (n, answer) in futures::future::join_all(requests).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("{leader} for {follower}: request {n}").as_bytes());
    }
    let own = cluster.member(leader).group.forward(Bytes::new(), PATIENCE).await;
    assert_eq!(own, Err(ForwardError::SelfLeads));

    let late = group.forward(Bytes::from_static(b"silence"), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(ForwardError::Unknown { .. })), "{late:?}");

    // The link breaks under the request: it fails at once, and may have been done.
    let killed = cluster.take(leader);
    let group = &cluster.member(follower).group;
    let (broken, ()) = tokio::join!(group.forward(Bytes::from_static(b"silence"), PATIENCE), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        killed.kill();
    });
    assert!(matches!(broken, Err(ForwardError::Unknown { .. })), "{broken:?}");
    cluster.ready_leader().await;
}
