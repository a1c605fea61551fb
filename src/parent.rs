//! A member started by `raftmq dev` or `demo` ends with the process that started it.

use raftmq_tools::local_cluster::PARENT_PID;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// If the environment names the process that started this one: asks the kernel for SIGTERM at its end. False if it
/// has ended already, in which case nobody wants this process.
pub(crate) fn bind_to_parent() -> bool {
    let Some(parent) = std::env::var(PARENT_PID).ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else {
        return true;
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("warning: this process will outlive its parent: {error}");
    }
    getppid() == Some(parent)
}
