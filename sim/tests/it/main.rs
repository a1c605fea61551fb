//! The simulated disk against the real one: the same calls give the same answers, as long as nothing goes wrong.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftmq_sim::{SimDisk, SimRng};
use raftmq_sys::{Disk, DiskFile, Open, RealDisk, Rng};

const STEPS: usize = 300;

/// A disk below some folder, and the files that are open on it.
struct Subject {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    open: BTreeMap<u64, Arc<dyn DiskFile>>,
}

impl Subject {
    fn path(&self, name: u64) -> PathBuf {
        let folder = if name < 4 { self.root.clone() } else { self.root.join(format!("d{}", name % 2)) };
        folder.join(format!("f{name}"))
    }

    /// One random call, as text: what was asked and what came of it.
    fn step(&mut self, rng: &SimRng) -> String {
        let (name, other) = (rng.below(8), rng.below(8));
        let (position, length) = (rng.below(3000), rng.below(2000));
        let path = self.path(name);
        match rng.below(16) {
            0..=3 => {
                let how = [Open::Read, Open::Write, Open::Create, Open::Truncate][rng.below(4) as usize];
                let opened = self.disk.open(&path, how);
                let said = format!("{how:?} {name}: {:?}", opened.as_ref().map(|_| ()).map_err(io::Error::kind));
                if how != Open::Read {
                    self.open.extend(opened.ok().map(|file| (name, file)));
                }
                said
            }
            4..=6 => {
                let bytes = vec![name as u8 + 1; length as usize];
                self.on(name, "write", |file| file.write_at(&bytes, position).map(|()| 0))
            }
            7 => self.on(name, "zero", |file| file.zero(position, length + 1).map(|()| 0)),
            8 => self.on(name, "set_len", |file| file.set_len(position).map(|()| 0)),
            9 => self.on(name, "allocate", |file| file.allocate(length + 1).map(|()| 0)),
            10 => self.on(name, "read", |file| {
                let mut bytes = vec![0; length as usize];
                file.read_at(&mut bytes, position).map(|()| sum(&bytes))
            }),
            11 => self.on(name, "sync", |file| file.sync_data().and_then(|()| file.len())),
            12 => {
                self.open.retain(|open, _| *open != name && *open != other);
                format!("rename {name} {other}: {}", text(self.disk.rename(&path, &self.path(other))))
            }
            13 => {
                self.open.remove(&name);
                format!("remove {name}: {}", text(self.disk.remove_file(&path)))
            }
            14 => format!("mkdir: {}", text(self.disk.create_dir_all(&self.root.join(format!("d{}", name % 2))))),
            _ => format!("list: {:?}", self.disk.list(&self.root).map_err(|error| error.kind())),
        }
    }

    fn on(&self, name: u64, what: &str, act: impl FnOnce(&dyn DiskFile) -> io::Result<u64>) -> String {
        match self.open.get(&name) {
            Some(file) => format!("{what} {name}: {}", text(act(&**file))),
            None => format!("{what} {name}: not open"),
        }
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().enumerate().map(|(at, byte)| (at as u64 + 1) * u64::from(*byte)).sum()
}

fn text<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    format!("{:?}", result.map_err(|error| error.kind()))
}

#[test]
fn sim_disk_answers_as_the_real_one() {
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let subject = |disk: Arc<dyn Disk>, root: &Path| Subject { disk, root: root.to_owned(), open: BTreeMap::new() };
        let mut real = subject(Arc::new(RealDisk::new()), folder.path());
        let mut simulated = subject(Arc::new(SimDisk::new(seed)), Path::new("/"));
        let (mut steps, rng) = (Vec::new(), SimRng::new(seed));
        for _ in 0..STEPS {
            let same = rng.clone();
            let (expected, found) = (real.step(&rng), simulated.step(&same));
            steps.push(expected.clone());
            assert_eq!(found, expected, "seed {seed}, after {steps:#?}");
        }
        for name in 0..8 {
            let (real, simulated) = (real.disk.read(&real.path(name)), simulated.disk.read(&simulated.path(name)));
            assert_eq!(simulated.ok(), real.ok(), "seed {seed}, file {name}");
        }
    }
}
