use std::collections::BTreeMap;
use std::time::Duration;

use raftmq_client::Admin;
use tokio::time::{Instant, sleep};

use super::ClusterSpec;
use crate::error::ToolError;

/// The member that the name server shows as brokerId 0, as soon as all members are registered.
pub async fn find_leader(admin: &Admin, spec: &ClusterSpec, patience: Duration) -> Result<usize, ToolError> {
    const PAUSE: Duration = Duration::from_millis(50);
    let start = Instant::now();
    loop {
        let registered = match admin.cluster_info().await {
            Ok(info) => info
                .broker_addr_table
                .get(&spec.broker_name)
                .map(|group| group.broker_addrs.clone())
                .unwrap_or_default(),
            // Not up yet, or not asked in time: the end of our patience tells.
            Err(_) => BTreeMap::new(),
        };
        let leader = registered.get(&0).and_then(|address| spec.member_at(address));
        if let Some(leader) = leader.filter(|_| registered.len() == spec.members.len()) {
            return Ok(leader);
        }
        if start.elapsed() > patience {
            let (seconds, group) = (patience.as_secs(), &spec.broker_name);
            let text = format!("group {group} is not complete after {seconds} s; the name server knows {registered:?}");
            return Err(ToolError::Failed(text));
        }
        sleep(PAUSE).await;
    }
}
