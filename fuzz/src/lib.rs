//! Fuzz targets as plain functions: a run that returns is fine, a panic is a finding. `fuzz_targets/` gives them to
//! libFuzzer, `driver` runs them on stable.

pub mod allocations;
pub mod frame;
pub mod header;
pub mod message;
pub mod mutate;
pub mod recovery;

/// One target.
pub struct Target {
    pub name: &'static str,
    /// Panics if an invariant does not hold for this input.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub memory: Memory,
}

/// What a run may hold at once. A small multiple of the input: a length in it that lies asks for far more.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Whatever the input: tables, and the files of a simulated disk.
    pub fixed_bytes: usize,
    pub per_input_byte: usize,
}

impl Memory {
    pub fn limit_bytes(self, input: &[u8]) -> usize {
        self.fixed_bytes + self.per_input_byte * input.len()
    }
}

impl Target {
    /// Runs it and yields the most bytes that it held; a panic if they were more than its input accounts for.
    pub fn run_measured(&self, input: &[u8]) -> usize {
        let ((), peak) = allocations::peak_bytes(|| (self.run)(input));
        let limit = self.memory.limit_bytes(input);
        assert!(peak <= limit, "{peak} bytes held for an input of {} bytes, {limit} are allowed", input.len());
        peak
    }
}

/// All targets that the driver knows. A new one is a module with `run` and `seeds`, a line here, and a file in
/// `fuzz_targets/` with its `[[bin]]`.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frame",
        run: frame::run,
        seeds: frame::seeds,
        memory: Memory { fixed_bytes: 4 << 10, per_input_byte: 8 },
    },
    Target {
        name: "header",
        run: header::run,
        seeds: header::seeds,
        memory: Memory { fixed_bytes: 128 << 10, per_input_byte: 256 },
    },
    Target {
        name: "message",
        run: message::run,
        seeds: message::seeds,
        memory: Memory { fixed_bytes: 1 << 10, per_input_byte: 2 },
    },
    Target {
        name: "recovery",
        run: recovery::run,
        seeds: recovery::seeds,
        memory: Memory { fixed_bytes: 256 << 10, per_input_byte: 64 },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_keeps_to_its_memory_on_its_seeds() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            let most = seeds.iter().map(|input| target.run_measured(input)).max();
            assert!(most > Some(0), "{} is not measured", target.name);
        }
    }

    /// Believes the length that the input begins with, as far as a decoder with a bound of 16 MiB would.
    fn believes_lengths(input: &[u8]) {
        let Some(length) = input.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else { return };
        drop(std::hint::black_box(Vec::<u8>::with_capacity(length.min(16 << 20) as usize)));
    }

    #[test]
    fn a_target_that_believes_a_length_is_found_under_the_limits_of_each_real_one() {
        for target in TARGETS {
            let planted = Target { name: "planted", run: believes_lengths, seeds: Vec::new, memory: target.memory };
            planted.run_measured(&[0, 0, 0, 4, 1, 2, 3, 4]);
            let lies = std::panic::catch_unwind(|| planted.run_measured(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]));
            assert!(lies.is_err(), "16 MiB for 8 bytes pass as {:?} of {}", target.memory, target.name);
        }
    }
}
