//! Fuzz targets as plain functions: a run that returns is fine, a panic is a finding. `fuzz_targets/` gives them to
//! libFuzzer, `driver` runs them on stable.

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
}

/// All targets that the driver knows. A new one is a module with `run` and `seeds`, a line here, and a file in
/// `fuzz_targets/` with its `[[bin]]`.
pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: frame::run, seeds: frame::seeds },
    Target { name: "header", run: header::run, seeds: header::seeds },
    Target { name: "message", run: message::run, seeds: message::seeds },
    Target { name: "recovery", run: recovery::run, seeds: recovery::seeds },
];
