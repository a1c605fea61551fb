//! The seams to the machine: disk, clock, randomness, threads, and the metrics registry.
//!
//! Everything in `store`, `raft` and `broker` that decides what is stored or who leads takes these as parameters
//! (one [`Seams`] value), so that the same code runs on real files and threads here and on the simulated twins in
//! the `sim` crate. A lint (`clippy.toml`) forbids the direct calls outside this crate.

mod clock;
pub mod disk;
pub mod host;
mod mapped_file;
pub mod metrics;
mod real_disk;
mod rng;
mod spawn;

use std::sync::Arc;

pub use clock::{Clock, RealClock};
pub use disk::{Disk, DiskFile, Open};
pub use real_disk::RealDisk;
pub use rng::{RealRng, Rng};
pub use spawn::{RealSpawn, Spawn, Worker, in_place};

/// The machine as one value, cloned into everything that needs it.
#[derive(Clone)]
pub struct Seams {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub spawn: Arc<dyn Spawn>,
    pub metrics: metrics::Registry,
}

impl Seams {
    /// The real machine.
    pub fn real() -> Seams {
        Seams {
            disk: Arc::new(RealDisk::new()),
            clock: Arc::new(RealClock::new()),
            rng: Arc::new(RealRng::new()),
            spawn: Arc::new(RealSpawn),
            metrics: metrics::Registry::default(),
        }
    }
}
