//! Folders for the data of members we start.
#![expect(clippy::disallowed_methods, reason = "makes folders for child processes; stores nothing itself")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::ToolError;

/// A new folder that goes when the value is dropped.
pub fn temporary(prefix: &str) -> Result<TempDir, ToolError> {
    let path = std::env::temp_dir();
    tempfile::Builder::new().prefix(prefix).tempdir().map_err(|source| ToolError::Io { path, source })
}

/// Makes the folder if it is not there. Gives its absolute path.
pub fn ready(folder: &Path) -> Result<PathBuf, ToolError> {
    let failed = |source| ToolError::Io { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    folder.canonicalize().map_err(failed)
}

/// [`ready`], and an error if something is in it.
pub fn empty(folder: &Path) -> Result<PathBuf, ToolError> {
    let folder = ready(folder)?;
    let failed = |source| ToolError::Io { path: folder.clone(), source };
    if fs::read_dir(&folder).map_err(failed)?.next().is_some() {
        return Err(ToolError::Failed(format!("{} is not empty", folder.display())));
    }
    Ok(folder)
}
