use std::path::Path;
use std::sync::Arc;

use raftmq_sys::{Disk, Seams, metrics};

use crate::{SimClock, SimDisk, SimRng, SimSpawn};

/// One incarnation of a process on a simulated machine.
pub struct SimMachine {
    pub disk: Arc<SimDisk>,
    pub clock: Arc<SimClock>,
    pub spawn: Arc<SimSpawn>,
    rng: Arc<SimRng>,
}

impl SimMachine {
    /// A machine with an empty disk and the clock at an arbitrary fixed day.
    pub fn new(seed: u64) -> SimMachine {
        SimMachine::on(Arc::new(SimDisk::new(seed)), Arc::new(SimClock::new(1_700_000_000_000)), seed)
    }

    /// A process on an existing disk.
    pub fn on(disk: Arc<SimDisk>, clock: Arc<SimClock>, seed: u64) -> SimMachine {
        SimMachine { disk, clock, spawn: Arc::new(SimSpawn::new()), rng: Arc::new(SimRng::new(seed)) }
    }

    /// What the process under test gets.
    pub fn seams(&self) -> Seams {
        Seams {
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            spawn: self.spawn.clone(),
            metrics: metrics::Registry::default(),
        }
    }

    /// Kills the process if it runs and starts the next incarnation; workers of the old one are gone.
    pub fn restart(&self) -> SimMachine {
        SimMachine {
            disk: Arc::new(self.disk.reboot()),
            clock: self.clock.clone(),
            spawn: Arc::new(SimSpawn::new()),
            rng: self.rng.clone(),
        }
    }

    /// A second universe with the same past: its disk is a copy.
    pub fn fork(&self) -> SimMachine {
        use raftmq_sys::Clock;
        SimMachine {
            disk: Arc::new(self.disk.fork()),
            clock: Arc::new(SimClock::new(self.clock.unix_ms())),
            spawn: Arc::new(SimSpawn::new()),
            rng: Arc::new(SimRng::clone(&self.rng)),
        }
    }

    /// Makes a directory and its name durable, as an administrator does long before the process starts.
    pub fn make_directory(&self, path: &Path) -> std::io::Result<()> {
        self.disk.create_dir_all(path)?;
        for directory in path.ancestors().skip(1) {
            self.disk.sync_dir(directory)?;
        }
        Ok(())
    }
}
