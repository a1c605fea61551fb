//! The logs of servers: `namesrv.log` and `broker.log` where RocketMQ users look for them.

use std::io;
use std::path::{Path, PathBuf};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::rolling_file::RollingFile;

/// As in RocketMQ's logback files: 128 MiB, ten old ones.
const LIMIT_BYTES: u64 = 128 << 20;
const KEPT: u32 = 10;
/// Lines that may wait for a slow disk; more are dropped, as a broker must not wait for its log.
const LINES_IN_MEMORY: usize = 10_000;

/// Where logs and pid files lie: `ROCKETMQ_LOG_DIR`, else `logs/rocketmqlogs` in the home folder.
pub(crate) fn folder() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ROCKETMQ_LOG_DIR").unwrap_or_else(|| set("HOME").unwrap_or_default().join("logs").join("rocketmqlogs"))
}

/// Sends everything that is traced to a file; the level comes from `RUST_LOG`, default `info`. What still waits is
/// written when the guard is dropped.
pub(crate) fn start(path: &Path) -> io::Result<WorkerGuard> {
    let file = RollingFile::open(path, LIMIT_BYTES, KEPT)
        .map_err(|error| io::Error::new(error.kind(), format!("log file {}: {error}", path.display())))?;
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES_IN_MEMORY).finish(file);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).with_writer(writer).init();
    Ok(guard)
}
