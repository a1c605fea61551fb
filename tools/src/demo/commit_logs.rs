//! Whether the commitlogs of the members are equal.
#![expect(clippy::disallowed_methods, reason = "reads other processes' files; decides nothing about them")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Where two commitlogs differ first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) file: String,
    pub(super) at: u64,
}

/// Compares the files of two commitlog folders byte for byte. A file that is missing, or shorter, reads as zeros: the
/// next segment may be there in advance. Gives the number of bytes up to the last one that is not zero.
pub(super) fn compare(left: &Path, right: &Path) -> io::Result<Result<u64, Difference>> {
    let names: BTreeSet<String> = segments(left)?.union(&segments(right)?).cloned().collect();
    let mut used = 0;
    let mut before = 0;
    for name in names {
        let mut files = [open(&left.join(&name))?, open(&right.join(&name))?];
        let mut chunks = [vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]];
        let mut at = 0;
        loop {
            let mut longest = 0;
            for (file, chunk) in files.iter_mut().zip(&mut chunks) {
                longest = longest.max(fill(file, chunk)?);
            }
            if longest == 0 {
                break;
            }
            let [left, right] = &chunks;
            if left != right {
                let differs = left.iter().zip(right).position(|(left, right)| left != right).unwrap_or_default();
                return Ok(Err(Difference { file: name, at: at + differs as u64 }));
            }
            if let Some(last) = left.iter().rposition(|byte| *byte != 0) {
                used = before + at + last as u64 + 1;
            }
            at += longest as u64;
        }
        before += at;
    }
    Ok(Ok(used))
}

const CHUNK_BYTES: usize = 1 << 20;

fn segments(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Named by their first position, twenty digits.
        if name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()) {
            names.insert(name);
        }
    }
    Ok(names)
}

fn open(path: &PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fills the chunk, with zeros behind the file's end. Gives the bytes that came from the file.
fn fill(file: &mut Option<File>, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    if let Some(file) = file {
        while length < chunk.len() {
            match file.read(&mut chunk[length..])? {
                0 => break,
                read => length += read,
            }
        }
    }
    chunk[length..].fill(0);
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(segments: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in segments {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    const FIRST: &str = "00000000000000000000";
    const SECOND: &str = "00000000000000000004";

    #[test]
    fn a_segment_made_in_advance_makes_no_difference() {
        let left = folder(&[(FIRST, b"abcd"), (SECOND, b"\0\0\0\0")]);
        let right = folder(&[(FIRST, b"abcd"), ("other", b"x")]);
        assert_eq!(compare(left.path(), right.path()).unwrap(), Ok(4));
    }

    #[test]
    fn the_first_difference_is_named() {
        let left = folder(&[(FIRST, b"abcd"), (SECOND, b"ef\0\0")]);
        let right = folder(&[(FIRST, b"abcd"), (SECOND, b"eg")]);
        let difference = Difference { file: SECOND.to_owned(), at: 1 };
        assert_eq!(compare(left.path(), right.path()).unwrap(), Err(difference));
        let shorter = folder(&[(FIRST, b"abcd")]);
        let difference = Difference { file: SECOND.to_owned(), at: 0 };
        assert_eq!(compare(left.path(), shorter.path()).unwrap(), Err(difference));
    }
}
