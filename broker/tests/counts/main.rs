//! What a send costs the broker in system calls, allocations and fsyncs, under 8 connections with 32 sends in flight.
//!
//! Counted as system calls are reads of and writes to sockets (the server's own counters) and every call of the disk
//! seam, whoever makes it, background work included. Not counted: waiting for readiness and waking threads (epoll,
//! futex, eventfd), which depend on how busy the machine is; parks of the server's threads are printed as their
//! measure. A read that finds nothing would not be counted either, but connections read only when told that there is
//! something.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::disallowed_methods, reason = "the watch over a load decides nothing that is stored")]

mod allocator;
mod disk;
mod load;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use raftmq_broker::config::{BrokerConfig, FlushDiskType};
use raftmq_broker::{Broker, Process};
use raftmq_sys::Seams;
use raftmq_sys::metrics::Registry;
use tokio::runtime::{Builder, Runtime};

use allocator::Counting;
use disk::{CountingDisk, DiskCalls};
use load::{CONNECTIONS, IN_FLIGHT, Load};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// The allocator counts for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const BROKER: &str = "counted";
const WARM_UP_MESSAGES: u64 = 20_000;
const MESSAGES: u64 = 60_000;
const DEADLINE: Duration = Duration::from_secs(120);

/// Everything that is counted, at one moment.
struct Counts {
    messages: u64,
    socket: u64,
    disk: u64,
    append_syncs: u64,
    other_syncs: u64,
    batches: u64,
    allocations: u64,
    parks: u64,
}

struct Counters<'a> {
    registry: Registry,
    disk: Arc<DiskCalls>,
    runtime: &'a Runtime,
    load: Load,
}

impl Counters<'_> {
    fn read(&self) -> Counts {
        let counter = |name| self.registry.counter(name, "", &[]).get();
        let metrics = self.runtime.metrics();
        let parks = (0..metrics.num_workers()).map(|worker| metrics.worker_park_count(worker)).sum();
        let group = [("group", BROKER)];
        Counts {
            messages: self.load.acknowledged(),
            socket: counter("raftmq_remoting_reads_total") + counter("raftmq_remoting_writes_total"),
            disk: self.disk.all(),
            append_syncs: self.disk.append_syncs(),
            other_syncs: self.disk.other_syncs(),
            batches: self.registry.histogram("raftmq_broker_batch_bytes", "", 1.0, &group).count(),
            allocations: ALLOCATOR.allocations(),
            parks,
        }
    }

    fn wait_for(&self, messages: u64) {
        let from = Instant::now();
        while self.load.acknowledged() < messages {
            assert!(!self.load.has_failed(), "a connection has failed");
            assert!(from.elapsed() < DEADLINE, "only {} of {messages} messages", self.load.acknowledged());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A port that was free a moment ago, and the one two below it, where a broker listens too.
fn free_port() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port - 2)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports");
}

fn count(flush: FlushDiskType) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let root = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        broker_name: BROKER.to_owned(),
        broker_ip1: "127.0.0.1".to_owned(),
        bind_address: "127.0.0.1".to_owned(),
        namesrv_addr: String::new(),
        listen_port: free_port(),
        store_root: root.path().display().to_string(),
        commit_log_file_bytes: 256 << 20,
        flush_disk_type: flush,
        ..BrokerConfig::default()
    };
    let address = format!("127.0.0.1:{}", config.listen_port);
    let disk = Arc::new(DiskCalls::default());
    let seams = Seams { disk: Arc::new(CountingDisk::new(disk.clone())), ..Seams::real() };
    let registry = seams.metrics.clone();
    let handle = runtime.handle().clone();
    let broker =
        runtime.block_on(async { Broker::start(config, &Process::new(seams, handle.clone(), handle)).await.unwrap() });
    let counters = Counters { registry, disk, runtime: &runtime, load: Load::start(&address) };
    counters.wait_for(WARM_UP_MESSAGES);
    let before = counters.read();
    counters.wait_for(WARM_UP_MESSAGES + MESSAGES);
    let after = counters.read();
    counters.load.stop();
    runtime.block_on(broker.shutdown());
    judge(flush, &before, &after);
}

fn judge(flush: FlushDiskType, before: &Counts, after: &Counts) {
    let messages = (after.messages - before.messages) as f64;
    let (socket, disk) = (after.socket - before.socket, after.disk - before.disk);
    let calls = (socket + disk) as f64 / messages;
    let allocations = (after.allocations - before.allocations) as f64 / messages;
    let batches = after.batches - before.batches;
    let (append_syncs, other_syncs) =
        (after.append_syncs - before.append_syncs, after.other_syncs - before.other_syncs);
    println!(
        "{flush:?}, {CONNECTIONS} connections with {IN_FLIGHT} in flight, {messages} messages: \
         {calls:.3} system calls per message ({socket} socket, {disk} disk), {allocations:.2} allocations per message, \
         {batches} batches of {:.1} messages, {append_syncs} fsyncs by appends, {other_syncs} in the background, \
         {:.3} parks per message",
        messages / batches as f64,
        (after.parks - before.parks) as f64 / messages,
    );
    assert!(calls <= 0.3, "{calls:.3} system calls per message");
    assert!(allocations <= 4.0, "{allocations:.2} allocations per message");
    match flush {
        FlushDiskType::AsyncFlush => assert_eq!(append_syncs, 0, "an append waited for the disk"),
        // A batch may lie on the edge of what is counted.
        FlushDiskType::SyncFlush => assert!(append_syncs <= batches + 1, "{append_syncs} fsyncs, {batches} batches"),
    }
}

#[test]
fn async_flush_keeps_within_its_counts() {
    count(FlushDiskType::AsyncFlush);
}

#[test]
fn sync_flush_keeps_within_its_counts() {
    count(FlushDiskType::SyncFlush);
}
