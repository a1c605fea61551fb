//! Ports that no other test of this machine takes meanwhile.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the kernel gives to outgoing connections, so nothing drifts in.
const FIRST: u16 = 20_000;
const BLOCK: u16 = 10;
const BLOCKS: u16 = 1_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Ten ports in a row, ours until this is dropped: a lock on a file of the temporary directory tells other test
/// processes, and each port was free when we looked.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    _lock: File,
}

impl PortBlock {
    /// Finds a block; `None` when every one is in use.
    pub fn take() -> Option<PortBlock> {
        let start = (std::process::id() % u32::from(BLOCKS)) as u16;
        for _ in 0..BLOCKS {
            let block = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
            let first = FIRST + block * BLOCK;
            let path = std::env::temp_dir().join(format!("raftmq-ports-{first}"));
            let Ok(lock) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else { continue };
            let free = (first..first + BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
            if lock.try_lock().is_ok() && free {
                return Some(PortBlock { first, _lock: lock });
            }
        }
        None
    }

    /// Name server, or broker: the ports of RocketMQ around it are in the block too (-2 VIP, +1 HA).
    pub fn listen(&self) -> u16 {
        self.first + 2
    }

    pub fn raft(&self) -> u16 {
        self.first + 4
    }

    pub fn metrics(&self) -> u16 {
        self.first + 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_while_they_live() {
        let blocks: Vec<_> = (0..5).map(|_| PortBlock::take().expect("a free block")).collect();
        let mut firsts: Vec<_> = blocks.iter().map(|block| block.first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 5);
    }
}
