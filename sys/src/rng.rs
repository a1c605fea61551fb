use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// Randomness for choices (queue picks, incarnations, election jitter), not for secrets.
pub trait Rng: Send + Sync + 'static {
    fn next_u64(&self) -> u64;

    /// A number in `0..bound`; 0 when `bound` is 0.
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64 }
    }
}

/// SplitMix64 seeded from the operating system's entropy by way of the standard library's hash keys.
pub struct RealRng {
    state: AtomicU64,
}

impl RealRng {
    pub fn new() -> RealRng {
        RealRng { state: AtomicU64::new(RandomState::new().hash_one(0u8)) }
    }
}

impl Default for RealRng {
    fn default() -> Self {
        RealRng::new()
    }
}

impl Rng for RealRng {
    fn next_u64(&self) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
