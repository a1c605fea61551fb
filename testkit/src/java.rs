//! Our programs on Apache's Java client, through the scripts under `interop/java`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{CommandLine, ProcessError};
use crate::repository;

/// A command line of one of our Java programs (`org.raftmq.interop.<class>`) on Apache's client of `version`; its state
/// goes to `home`.
pub fn program(version: &str, class: &str, home: &Path) -> Result<CommandLine, ProcessError> {
    let build = repository().join("interop/java/build");
    let failed = |source| ProcessError::Start { program: build.display().to_string(), source };
    let built = Command::new(&build).arg(version).output().map_err(failed)?;
    if !built.status.success() {
        return Err(failed(std::io::Error::other(String::from_utf8_lossy(&built.stderr).into_owned())));
    }
    let class_path = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    let mut line = CommandLine::new(PathBuf::from("java"));
    for flag in ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dfile.encoding=UTF-8"]
    {
        line = line.argument(flag);
    }
    Ok(line
        .argument(format!("-Duser.home={}", home.display()))
        .argument("-cp")
        .argument(class_path)
        .argument(format!("org.raftmq.interop.{class}")))
}
