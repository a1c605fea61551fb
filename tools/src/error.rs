use std::path::PathBuf;
use std::process::ExitCode;

use raftmq_client::{ClientError, SendError};

use crate::local_cluster::{PortError, StartError, StopError};

/// Why a tool failed. Exit code 1; wrong usage is clap's, 2.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Failed(String),
    #[error("interrupted")]
    Interrupted,
}

impl ToolError {
    /// What the user may do about it.
    fn hint(&self) -> Option<&'static str> {
        match self {
            ToolError::Client(ClientError::NameServersUnreachable { .. }) => {
                Some("is a name server running there? `raftmq dev` starts one with a broker")
            }
            ToolError::Client(ClientError::NoRoute { .. }) => Some(
                "no broker that is registered there has the topic, or may create it; `raftmq admin updateTopic` makes one",
            ),
            _ => None,
        }
    }
}

/// Prints the error, if there is one, and gives the exit code.
pub fn exit_code(outcome: Result<(), ToolError>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::FAILURE
}
