//! `bench`: sends as fast as a server answers, on raw sockets, and says what a message cost the server.
//!
//! The generator encodes one frame per connection and patches numbers in it, so that its own cost stays small beside
//! the server's. Server CPU is the sum over the threads' `schedstat`, in nanoseconds.
#![expect(clippy::disallowed_methods, reason = "a load generator decides nothing that is stored")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use std::{fs, thread};

use clap::Args;
use hdrhistogram::Histogram;
use raftmq_remoting::{RemotingCommand, request_code};

use crate::error::{ToolError, exit_code};

/// What to send, and to whom.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  raftmq bench --broker 127.0.0.1:10911 --pid $(pgrep -f 'raftmq broker')
  raftmq bench --broker 127.0.0.1:30911 --pid 101,102,103 --connections 8 --in-flight 32 --seconds 10

Prints one line: messages per second, latency, answers that were no success, and with --pid the CPU time that
the servers took for each message.")]
pub struct BenchArgs {
    /// Broker to send to, HOST:PORT; in a Raft group its leader
    #[arg(long)]
    broker: String,
    /// Topic; made by the first send if the broker allows it
    #[arg(short, long, default_value = "BenchmarkTest")]
    topic: String,
    /// Connections, each with a thread of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Sends that wait for an answer, per connection
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Bytes of each body
    #[arg(short, long, default_value_t = 1024)]
    size: usize,
    /// Queues to spread over
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
    /// Seconds that count
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds before that
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Processes of the servers, separated by commas
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    counts: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

/// Runs the load and prints the result. An answer that is no success makes the run fail.
pub fn run(args: &BenchArgs) -> ExitCode {
    exit_code(measure(args))
}

fn measure(args: &BenchArgs) -> Result<(), ToolError> {
    let shared = Arc::new(Shared::default());
    let ready = Arc::new(Barrier::new(args.connections as usize + 1));
    let mut threads = Vec::new();
    for number in 0..args.connections {
        let stream = TcpStream::connect(&args.broker)
            .map_err(|error| ToolError::Failed(format!("connect to {}: {error}", args.broker)))?;
        let (args, shared, ready) = (args.clone(), shared.clone(), ready.clone());
        threads.push(thread::spawn(move || {
            ready.wait();
            drive(stream, &args, number, &shared)
        }));
    }
    ready.wait();
    thread::sleep(Duration::from_secs(args.warm_up));
    let cpu_before = cpu_nanoseconds(&args.pid)?;
    shared.counts.store(true, Ordering::Relaxed);
    let from = Instant::now();
    thread::sleep(Duration::from_secs(args.seconds));
    shared.counts.store(false, Ordering::Relaxed);
    let took = from.elapsed();
    let cpu = cpu_nanoseconds(&args.pid)? - cpu_before;
    shared.stop.store(true, Ordering::Relaxed);
    let mut latency: Histogram<u64> = histogram();
    for thread in threads {
        match thread.join() {
            Ok(Ok(of_thread)) => latency.add(of_thread).map_err(|error| ToolError::Failed(error.to_string()))?,
            Ok(Err(error)) => return Err(ToolError::Failed(format!("{}: {error}", args.broker))),
            Err(_) => return Err(ToolError::Failed("a sending thread panicked".to_owned())),
        }
    }
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    let refused = shared.refused.load(Ordering::Relaxed);
    print!(
        "{:.0} messages/s of {} bytes, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms, {refused} not stored",
        acknowledged as f64 / took.as_secs_f64(),
        args.size,
        latency.value_at_quantile(0.5) as f64 / 1000.0,
        latency.value_at_quantile(0.99) as f64 / 1000.0,
        latency.max() as f64 / 1000.0,
    );
    if !args.pid.is_empty() && acknowledged > 0 {
        print!(", server CPU {:.2} us per message", cpu as f64 / 1000.0 / acknowledged as f64);
    }
    println!();
    if refused > 0 {
        return Err(ToolError::Failed(format!("{refused} sends were not answered with success")));
    }
    Ok(())
}

/// Microseconds up to a minute; what took longer counts as a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// A frame whose opaque and queue id have room for numbers of fixed width.
struct Template {
    frame: Vec<u8>,
    opaque_at: usize,
    queue_at: usize,
}

const OPAQUE_DIGITS: &[u8] = b"1000000000";
const QUEUE_DIGITS: &[u8] = b"7777";

impl Template {
    fn new(args: &BenchArgs) -> Template {
        let mut request = RemotingCommand::request(request_code::SEND_MESSAGE_V2)
            .with_field("a", "raftmq_bench")
            .with_field("b", &args.topic)
            .with_field("c", "TBW102")
            .with_field("d", args.queues)
            .with_field("e", "7777")
            .with_field("f", 0)
            .with_field("g", 1_700_000_000_000i64)
            .with_field("h", 0)
            .with_field("i", "UNIQ_KEY\u{1}7F0000010B5C18B4AAC216A9E7F80000\u{2}WAIT\u{1}true")
            .with_field("j", 0)
            .with_field("k", false)
            .with_field("m", false)
            .with_body(vec![b'm'; args.size]);
        request.opaque = 1_000_000_000;
        let frame = request.to_bytes().to_vec();
        let opaque_at = position(&frame, b"\"opaque\":1000000000") + b"\"opaque\":".len();
        let queue_at = position(&frame, b"\"e\":\"7777\"") + b"\"e\":\"".len();
        Template { frame, opaque_at, queue_at }
    }

    fn write(&mut self, opaque: u32, queue: u32, out: &mut Vec<u8>) {
        digits(1_000_000_000 + opaque, &mut self.frame[self.opaque_at..self.opaque_at + OPAQUE_DIGITS.len()]);
        digits(queue, &mut self.frame[self.queue_at..self.queue_at + QUEUE_DIGITS.len()]);
        out.extend_from_slice(&self.frame);
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> usize {
    let found = haystack.windows(needle.len()).position(|window| window == needle);
    found.expect("the frame was just made with it")
}

/// Decimal with leading zeros, as wide as `out`.
fn digits(mut number: u32, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// One connection: a window of sends, refilled by as many as were answered.
fn drive(mut stream: TcpStream, args: &BenchArgs, number: u32, shared: &Shared) -> io::Result<Histogram<u64>> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut template = Template::new(args);
    let mut latency = histogram();
    let mut sent_at = vec![Instant::now(); args.in_flight as usize];
    let mut free: Vec<u32> = (0..args.in_flight).collect();
    let (mut out, mut input) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 256 << 10];
    let mut queue = number;
    loop {
        let stopping = shared.stop.load(Ordering::Relaxed);
        if stopping && free.len() == args.in_flight as usize {
            return Ok(latency);
        }
        if !stopping && !free.is_empty() {
            out.clear();
            let now = Instant::now();
            for slot in free.drain(..) {
                sent_at[slot as usize] = now;
                queue = (queue + 1) % args.queues;
                template.write(slot, queue, &mut out);
            }
            stream.write_all(&out)?;
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        input.extend_from_slice(&chunk[..count]);
        let now = Instant::now();
        let mut at = 0;
        while let Some(length) = input.get(at..at + 4) {
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let Some(frame) = input.get(at + 4..at + 4 + length) else { break };
            let (slot, stored) = answer(frame)?;
            at += 4 + length;
            free.push(slot);
            if shared.counts.load(Ordering::Relaxed) {
                let which = if stored { &shared.acknowledged } else { &shared.refused };
                which.fetch_add(1, Ordering::Relaxed);
                let waited = now - sent_at[slot as usize];
                latency.saturating_record(waited.as_micros() as u64);
            }
        }
        input.drain(..at);
    }
}

/// Which send a response answers, and whether it was stored.
fn answer(frame: &[u8]) -> io::Result<(u32, bool)> {
    let opaque = position_of(frame, b"\"opaque\":1").map(|at| &frame[at..]);
    let digits = opaque.map(|rest| rest.iter().take_while(|byte| byte.is_ascii_digit()));
    let slot = digits.map(|digits| digits.fold(0, |slot, digit| slot * 10 + u32::from(digit - b'0')));
    let stored = position_of(frame, b"\"code\":0,").is_some();
    slot.map(|slot| (slot, stored)).ok_or_else(|| io::Error::other("an answer without our opaque"))
}

fn position_of(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle).map(|at| at + needle.len())
}

/// CPU time that all threads of these processes have had, in nanoseconds.
fn cpu_nanoseconds(pids: &[u32]) -> Result<u64, ToolError> {
    let mut sum = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&tasks).map_err(|error| ToolError::Failed(format!("process {pid}: {error}")))?;
        for entry in entries.flatten() {
            // A thread may end in between.
            let text = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_their_send() {
        let frame = br#"....{"code":0,"extFields":{"queueId":"1"},"flag":1,"language":"JAVA","opaque":1000000031,"version":409}"#;
        assert_eq!(answer(frame).unwrap(), (31, true));
        let frame = br#"....{"code":14,"flag":1,"language":"JAVA","opaque":1000000000,"version":409}"#;
        assert_eq!(answer(frame).unwrap(), (0, false));
    }

    #[test]
    fn latencies_are_kept_up_to_a_minute() {
        let mut latency = histogram();
        latency.saturating_record(250_000);
        latency.saturating_record(90_000_000);
        assert!(latency.equivalent(latency.value_at_quantile(0.5), 250_000));
        assert!(latency.equivalent(latency.max(), 60_000_000));
    }

    #[test]
    fn numbers_fill_their_width() {
        let mut out = *b"xxxx";
        digits(42, &mut out);
        assert_eq!(&out, b"0042");
    }
}
