use clap::Args;

use super::table;
use crate::cluster_options::ClusterOptions;
use crate::error::ToolError;

/// Lists the brokers of all clusters
#[derive(Args, Clone, Debug)]
#[command(alias = "clusterlist", rename_all = "camelCase")]
pub(super) struct ClusterList {
    #[command(flatten)]
    cluster: ClusterOptions,
}

impl ClusterList {
    pub(super) async fn run(self) -> Result<(), ToolError> {
        let admin = super::admin(&self.cluster)?;
        let info = admin.cluster_info().await?;
        let mut rows = Vec::new();
        for (cluster, names) in &info.cluster_addr_table {
            for (name, id, address) in names
                .iter()
                .filter_map(|name| info.broker_addr_table.get(name))
                .flat_map(|group| group.broker_addrs.iter().map(|(id, address)| (&group.broker_name, id, address)))
            {
                // A broker that does not answer is listed all the same.
                let counted = admin.runtime_info(address).await.unwrap_or_default();
                let version = counted.get("brokerVersionDesc").cloned().unwrap_or_else(|| "-".to_owned());
                rows.push(vec![cluster.clone(), name.clone(), id.to_string(), address.clone(), version]);
            }
        }
        print!("{}", table::render(&["Cluster Name", "Broker Name", "BID", "Addr", "Version"], &rows));
        Ok(())
    }
}
