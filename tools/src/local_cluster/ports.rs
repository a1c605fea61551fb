use std::net::{Ipv4Addr, TcpListener};

use raftmq_sys::Rng;

/// No run of free ports was found.
#[derive(Debug, thiserror::Error)]
#[error("no {length} free ports in a row found between {FIRST} and {LAST}")]
pub struct PortError {
    length: u16,
}

/// Below the range from which systems take ports for outgoing connections: one of those could otherwise sit on a
/// member's port while it is down.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
const TRIES: usize = 2_000;

/// The first ports of `count` runs of `length` free ports each. They are free now; nothing keeps them so.
pub fn free_blocks(rng: &dyn Rng, count: usize, length: u16) -> Result<Vec<u16>, PortError> {
    let mut blocks: Vec<u16> = Vec::new();
    for _ in 0..TRIES {
        if blocks.len() == count {
            break;
        }
        let first = FIRST + rng.below(u64::from(LAST - FIRST - length)) as u16;
        let overlaps = blocks.iter().any(|block| block.abs_diff(first) < length);
        if !overlaps && (first..first + length).all(is_free) {
            blocks.push(first);
        }
    }
    if blocks.len() == count { Ok(blocks) } else { Err(PortError { length }) }
}

/// Whether nobody listens at it on this machine.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use raftmq_sys::RealRng;

    use super::*;

    #[test]
    fn blocks_are_free_and_do_not_overlap() {
        let mut blocks = free_blocks(&RealRng::new(), 4, 4).unwrap();
        blocks.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[1] - pair[0] >= 4), "{blocks:?}");
    }
}
