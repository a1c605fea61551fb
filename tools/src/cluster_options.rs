use clap::Args;
use raftmq_client::{ClientConfig, ClientInstance};
use raftmq_sys::Seams;

use crate::error::ToolError;

/// Where the cluster is.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterOptions {
    /// Name servers, HOST:PORT separated by `;`. Without it: the environment variable NAMESRV_ADDR
    #[arg(short = 'n', long = "namesrvAddr", visible_alias = "namesrv", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
}

impl ClusterOptions {
    /// Settings for a client of this cluster.
    pub(crate) fn config(&self) -> Result<ClientConfig, ToolError> {
        let given = self.namesrv_addr.clone().or_else(|| std::env::var("NAMESRV_ADDR").ok()).unwrap_or_default();
        let config = ClientConfig::new(&given);
        if config.name_servers.is_empty() {
            return Err(raftmq_client::ClientError::NoNameServer.into());
        }
        Ok(config)
    }

    /// A client of this cluster.
    pub(crate) fn start(&self) -> Result<ClientInstance, ToolError> {
        Ok(ClientInstance::start(self.config()?, Seams::real()))
    }
}
