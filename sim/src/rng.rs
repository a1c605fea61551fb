use std::sync::atomic::{AtomicU64, Ordering};

use raftmq_sys::Rng;

/// SplitMix64 from a seed: the same seed gives the same numbers.
pub struct SimRng {
    state: AtomicU64,
}

impl SimRng {
    pub fn new(seed: u64) -> SimRng {
        SimRng { state: AtomicU64::new(seed) }
    }

    /// True in `share` of 256 draws.
    pub fn chance(&self, share: u64) -> bool {
        self.below(256) < share
    }
}

impl Clone for SimRng {
    fn clone(&self) -> Self {
        SimRng::new(self.state.load(Ordering::SeqCst))
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(GOLDEN, Ordering::SeqCst).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let draw = |seed| (0..4).map(|_| SimRng::new(seed).next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // The published first output of SplitMix64 for seed 0.
        assert_eq!(SimRng::new(0).next_u64(), 0xE220_A839_7B1D_CDAF);
    }
}
