use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{ToolError, exit_code};

/// Runs a tool on its own tokio runtime until it ends, or until SIGINT or SIGTERM, which drop it where it stands.
/// The future is polled on this thread.
pub fn run(tool: impl Future<Output = Result<(), ToolError>>) -> ExitCode {
    run_to_end(async {
        tokio::select! {
            // Signals first: a tool that starts processes must not be interrupted before we listen.
            biased;
            stopped = interrupted() => stopped.and(Err(ToolError::Interrupted)),
            outcome = tool => outcome,
        }
    })
}

/// [`run`] for a tool that handles the signals itself.
pub fn run_to_end(tool: impl Future<Output = Result<(), ToolError>>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => exit_code(runtime.block_on(tool)),
        Err(error) => exit_code(Err(ToolError::Failed(format!("no tokio runtime: {error}")))),
    }
}

/// Returns at SIGINT or SIGTERM.
pub async fn interrupted() -> Result<(), ToolError> {
    let failed = |error| ToolError::Failed(format!("no signal handler: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
