//! The `store-mode` file: which kind of store a folder holds.

use std::fmt;
use std::path::Path;

use raftmq_sys::Disk;

use crate::config::StoreConfig;
use crate::error::OpenError;

const FORMAT: u32 = 1;

/// What wrote the files of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Classic,
    Raft,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Classic => "classic",
            Kind::Raft => "raft",
        })
    }
}

/// The three lines of the file (docs/on-disk-format.md, "Store mode").
pub(crate) fn text(kind: Kind, segment_bytes: u64) -> String {
    format!("kind={kind}\nformat={FORMAT}\nsegment_bytes={segment_bytes}\n")
}

/// Checks the marker of a folder against what is wanted, before anything is touched. `true` if there is one.
///
/// Without a marker, Java's files count as classic.
pub(crate) fn check(disk: &dyn Disk, path: &Path, config: &StoreConfig, kind: Kind) -> Result<bool, OpenError> {
    let wrong = |found: String| OpenError::WrongKind {
        path: config.root.clone(),
        found,
        wanted: format!("a {kind} store (format {FORMAT}, segments of {} bytes)", config.segment_bytes),
    };
    if !disk.exists(path) {
        let has_log = disk.exists(&config.commit_log_dir)
            && !disk.list(&config.commit_log_dir).map_err(OpenError::io("list", &config.commit_log_dir))?.is_empty();
        if has_log && kind == Kind::Raft {
            return Err(wrong("a commitlog that RocketMQ wrote (no store-mode file)".to_owned()));
        }
        return Ok(false);
    }
    let bytes = disk.read(path).map_err(OpenError::io("read", path))?;
    let found = String::from_utf8_lossy(&bytes).into_owned();
    if found == text(kind, config.segment_bytes) {
        return Ok(true);
    }
    let field = |name: &str| {
        let line = found.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("?").to_owned()
    };
    Err(wrong(format!(
        "a {} store (format {}, segments of {} bytes)",
        field("kind"),
        field("format"),
        field("segment_bytes")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/on-disk-format.md, "Store mode".
    #[test]
    fn the_text_is_golden() {
        assert_eq!(text(Kind::Classic, 1 << 30), "kind=classic\nformat=1\nsegment_bytes=1073741824\n");
        assert_eq!(text(Kind::Raft, 4096), "kind=raft\nformat=1\nsegment_bytes=4096\n");
    }
}
