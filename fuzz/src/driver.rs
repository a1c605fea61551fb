//! Runs fuzz targets for some seconds each, without nightly: mutated seeds and random bytes.
//!
//! `driver [target…] [--seconds N] [--seed S]`; no target means all. An input that panics, or for which more memory is
//! held than it accounts for, is written to `artifacts/` (a path after `--replay` runs it again) and the exit code is 1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use raftmq_fuzz::allocations::Measuring;
use raftmq_fuzz::mutate::{MAX_BYTES, Random, mutate};
use raftmq_fuzz::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// Inputs kept to mutate further.
const POOL: usize = 256;

struct Options {
    targets: Vec<&'static Target>,
    seconds: u64,
    seed: u64,
    replay: Option<String>,
}

fn options() -> Result<Options, String> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut options = Options { targets: Vec::new(), seconds: 20, seed: clock, replay: None };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse().map_err(|_| "--seconds needs a number")?,
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed needs a number")?,
            "--replay" => options.replay = Some(value()?),
            name => match TARGETS.iter().find(|target| target.name == name) {
                Some(target) => options.targets.push(target),
                None => {
                    let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                    return Err(format!("no target {name}; there are {}", known.join(", ")));
                }
            },
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &options.replay {
        let input = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        for target in &options.targets {
            println!("{path}: no finding by {}, {} bytes held", target.name, target.run_measured(&input));
        }
        return ExitCode::SUCCESS;
    }
    let mut found = false;
    for target in &options.targets {
        found |= !fuzz(target, Duration::from_secs(options.seconds), options.seed);
    }
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether all went well.
fn fuzz(target: &Target, time: Duration, seed: u64) -> bool {
    println!("{}: {} s with --seed {seed}", target.name, time.as_secs());
    let mut random = Random::new(seed);
    let mut pool = (target.seeds)();
    let mut peak = 0;
    for (number, input) in pool.iter().enumerate() {
        match survives(target, input, &format!("seed input {number}")) {
            Some(bytes) => peak = peak.max(bytes),
            None => return false,
        }
    }
    let start = Instant::now();
    let mut executions = 0u64;
    while start.elapsed() < time {
        // The clock is read once for many inputs.
        for _ in 0..64 {
            let input = next_input(&pool, &mut random);
            match survives(target, &input, &format!("execution {executions}, --seed {seed}")) {
                Some(bytes) => peak = peak.max(bytes),
                None => return false,
            }
            executions += 1;
            if random.below(64) == 0 {
                if pool.len() < POOL {
                    pool.push(input);
                } else {
                    let seeds = (target.seeds)().len();
                    let place = seeds + random.below(POOL - seeds);
                    pool[place] = input;
                }
            }
        }
    }
    println!("{}: {executions} executions, at most {peak} bytes held by one", target.name);
    true
}

fn next_input(pool: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    if random.below(16) == 0 {
        let bytes = random.below(256);
        return (0..bytes).map(|_| random.next() as u8).collect();
    }
    let mut input = pool[random.below(pool.len())].clone();
    let other = &pool[random.below(pool.len())];
    mutate(&mut input, other, random);
    debug_assert!(input.len() <= MAX_BYTES);
    input
}

/// The bytes that the run held; `None` if it panicked.
fn survives(target: &Target, input: &[u8], which: &str) -> Option<usize> {
    if let Ok(peak) = catch_unwind(AssertUnwindSafe(|| target.run_measured(input))) {
        return Some(peak);
    }
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let path = format!("{}/artifacts/{}-{hash:016x}", env!("CARGO_MANIFEST_DIR"), target.name);
    let written =
        fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/artifacts")).and_then(|()| fs::write(&path, input));
    println!("{}: FINDING at {which}", target.name);
    match written {
        Ok(()) => println!("run it again with: driver {} --replay {path}", target.name),
        Err(error) => println!("{path}: {error}; the input is {input:?}"),
    }
    None
}
