//! Simulated twins of everything in `sys`, for tests only: a disk that forgets what was not synced, a clock and
//! workers that move when the test says so, and seeded randomness. A run is a pure function of its seed.

mod clock;
pub mod disk;
mod machine;
mod rng;
mod spawn;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use machine::SimMachine;
pub use rng::SimRng;
pub use spawn::SimSpawn;
