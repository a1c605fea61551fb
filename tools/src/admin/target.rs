use clap::Args;
use raftmq_client::{Admin, ClientError};

use crate::error::ToolError;

/// Which brokers a change goes to.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "camelCase")]
#[group(required = true, multiple = false)]
pub(super) struct Target {
    /// The broker at this HOST:PORT
    #[arg(short = 'b', long)]
    broker_addr: Option<String>,
    /// The masters, or leaders, of this cluster
    #[arg(short = 'c', long)]
    cluster_name: Option<String>,
}

impl Target {
    /// Addresses, at least one.
    pub(super) async fn addresses(&self, admin: &Admin) -> Result<Vec<String>, ToolError> {
        let Some(cluster) = &self.cluster_name else { return Ok(self.broker_addr.iter().cloned().collect()) };
        let info = admin.cluster_info().await?;
        let Some(names) = info.cluster_addr_table.get(cluster) else {
            let known = info.cluster_addr_table.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(ToolError::Failed(format!("cluster {cluster} is not known; there is: {known}")));
        };
        let masters = names.iter().filter_map(|name| info.broker_addr_table.get(name)?.broker_addrs.get(&0).cloned());
        let masters: Vec<String> = masters.collect();
        if masters.is_empty() {
            return Err(ToolError::Failed(format!("cluster {cluster} has no broker with id 0 now")));
        }
        Ok(masters)
    }
}

/// Prints a success line for each address at which `change` works; the first failure ends it.
pub(super) async fn change_each<Change>(addresses: &[String], what: &str, change: Change) -> Result<(), ToolError>
where
    Change: AsyncFn(&str) -> Result<(), ClientError>,
{
    for address in addresses {
        change(address).await?;
        println!("{what} to {address} success.");
    }
    Ok(())
}
