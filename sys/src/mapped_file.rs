//! The only module with `unsafe`: a read-only map of a whole file, handed out as [`Bytes`].
#![expect(unsafe_code, reason = "a file map cannot be made without it; see the block below for why it holds")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// Maps the first `length` bytes of `file`; slices of the result keep the map alive.
pub(crate) fn map(file: &File, length: usize) -> io::Result<Bytes> {
    // SAFETY: the map is read-only and private to this process. Its bytes could change under a reader in two ways.
    // (1) The file shrinks: a load past the new end is SIGBUS. Segments are allocated to their full size before
    //     they are mapped, are never shortened afterwards (truncation of the log zeroes instead), and unlinking a
    //     mapped file is harmless. The store's directory lock keeps a second RaftMQ process away.
    // (2) Bytes are rewritten: readers only ask for ranges below the published end of the log; those bytes are
    //     written once. Raft truncation rewrites bytes only above the committed end, where the one possible reader
    //     is replication, whose frames carry a CRC that the receiver checks.
    let map: Mmap = unsafe { MmapOptions::new().len(length).map(file)? };
    Ok(Bytes::from_owner(map))
}
