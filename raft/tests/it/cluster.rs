use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raftmq_raft::{
    ForwardHandler, ForwardReply, Peer, RaftConfig, RaftEnvironment, RaftGroup, RaftListeners, Role, RoleKind,
    StartError, Timers,
};
use raftmq_store::{FlushMode, StoreConfig};
use raftmq_sys::Seams;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cable::Cable;
use crate::tables::{SharedTables, Tables, ToyMachine};

/// For anything that must happen: the machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Answers with its own slot and the request.
struct Echo(u16);

impl ForwardHandler for Echo {
    fn handle(&self, from_slot: u16, payload: Bytes, reply: ForwardReply) {
        if payload.as_ref() != b"silence" {
            reply(Bytes::from(format!("{} for {from_slot}: {}", self.0, String::from_utf8_lossy(&payload))));
        }
    }
}

/// A running member.
pub(crate) struct Member {
    runtime: Runtime,
    pub(crate) group: RaftGroup,
    pub(crate) tables: SharedTables,
}

impl Member {
    pub(crate) fn role(&self) -> Role {
        self.group.role().borrow().clone()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.tables.lock().unwrap().numbers.clone()
    }

    /// As a crash: the tasks are dropped where they are.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }

    pub(crate) async fn shutdown(self) {
        self.group.shutdown().await;
        self.runtime.shutdown_background();
    }
}

/// The members of one group; slots that are not running are `None`.
pub(crate) struct Cluster {
    root: TempDir,
    pub(crate) cluster: String,
    group: String,
    /// One for each process that a member stands for.
    listeners: Vec<RaftListeners>,
    pub(crate) cables: Vec<Cable>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) members: Vec<Option<Member>>,
    pub(crate) flush: FlushMode,
    pub(crate) timers: Timers,
}

/// Long enough that a busy machine does not look like a dead leader.
const PATIENT: Timers = Timers {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(500),
    election_max: Duration::from_millis(800),
};

impl Cluster {
    /// Nobody runs yet.
    pub(crate) fn new(size: u16) -> Cluster {
        let peers = (0..size).map(|slot| Peer { slot, address: format!("127.0.0.1:{}", free_port()) });
        let cables: Vec<Cable> = (0..size).map(|_| Cable::new()).collect();
        Cluster {
            root: tempfile::tempdir().unwrap(),
            cluster: "test".to_owned(),
            group: "g".to_owned(),
            listeners: cables.iter().map(|cable| RaftListeners::new(Arc::new(cable.clone()))).collect(),
            cables,
            peers: peers.collect(),
            members: (0..size).map(|_| None).collect(),
            flush: FlushMode::Sync,
            timers: PATIENT,
        }
    }

    /// Another group of the same processes, at the same addresses.
    pub(crate) fn beside(other: &Cluster, group: &str) -> Cluster {
        Cluster {
            root: tempfile::tempdir().unwrap(),
            cluster: other.cluster.clone(),
            group: group.to_owned(),
            listeners: other.listeners.clone(),
            cables: other.cables.clone(),
            peers: other.peers.clone(),
            members: other.members.iter().map(|_| None).collect(),
            flush: other.flush,
            timers: other.timers,
        }
    }

    pub(crate) async fn started(size: u16) -> Cluster {
        let mut cluster = Cluster::new(size);
        for slot in 0..size {
            cluster.start(slot).await;
        }
        cluster.ready_leader().await;
        cluster
    }

    pub(crate) fn directory(&self, slot: u16) -> PathBuf {
        self.root.path().join(format!("n{slot}"))
    }

    pub(crate) fn config(&self, slot: u16) -> RaftConfig {
        let store = StoreConfig {
            segment_bytes: 1 << 20,
            queue_file_bytes: 20 * 1000,
            max_message_bytes: 64 << 10,
            flush: self.flush,
            zero_ahead_bytes: 0,
            ..StoreConfig::new(self.directory(slot))
        };
        let mut config = RaftConfig::new(&self.cluster, &self.group, slot, self.peers.clone(), store);
        config.timers = self.timers;
        config
    }

    pub(crate) async fn start(&mut self, slot: u16) {
        let config = self.config(slot);
        self.start_with(config).await;
    }

    /// Takes the directory of a member back to what `copy` holds.
    pub(crate) fn restore(&self, slot: u16, copy: &Path) {
        wipe(&self.directory(slot));
        copy_directory(copy, &self.directory(slot));
    }

    /// A killed member's threads and sockets take a moment to go, so locked and in use are tried again.
    pub(crate) async fn start_with(&mut self, config: RaftConfig) {
        let slot = config.self_slot;
        let begun = Instant::now();
        let member = loop {
            match start(config.clone(), self.listeners[usize::from(slot)].clone()).await {
                Ok(member) => break member,
                Err(error) => {
                    assert!(begun.elapsed() < PATIENCE, "n{slot} does not start: {error:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        self.members[usize::from(slot)] = Some(member);
    }

    pub(crate) fn member(&self, slot: u16) -> &Member {
        self.members[usize::from(slot)].as_ref().expect("the member runs")
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }

    pub(crate) fn take(&mut self, slot: u16) -> Member {
        self.members[usize::from(slot)].take().expect("the member runs")
    }

    /// Those that others can reach.
    pub(crate) fn connected(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.iter().zip(&self.cables);
        members.filter(|(_, cable)| !cable.is_pulled()).filter_map(|(member, _)| member.as_ref())
    }

    /// The slot of a leader that takes proposals and that others can reach.
    pub(crate) async fn ready_leader(&self) -> u16 {
        let mut leader = 0;
        eventually("a leader is ready", || {
            let ready = self.connected().map(Member::role).find(Role::is_ready_leader);
            ready.and_then(|role| role.leader_slot).inspect(|slot| leader = *slot).is_some()
        })
        .await;
        leader
    }

    /// All running members have applied the same, and as much as the furthest.
    pub(crate) async fn converged(&self) -> Vec<u64> {
        eventually("the members have applied the same", || {
            let applied: Vec<_> = self.running().map(|member| member.group.status().applied_index).collect();
            let last: Vec<_> = self.running().map(|member| member.group.status().last_index).collect();
            applied.iter().all(|index| *index == applied[0]) && applied == last
        })
        .await;
        let mut tables = self.running().map(Member::numbers);
        let first = tables.next().expect("a member runs");
        for other in tables {
            assert_eq!(first, other);
        }
        first
    }

    /// The committed part of the commitlogs is equal, byte for byte.
    pub(crate) fn assert_equal_logs(&self) {
        let logs: Vec<_> = self.running().map(|member| member.group.commit_log()).collect();
        let end = logs.iter().map(|log| log.end().0).min().expect("a member runs");
        let mut at = 0;
        while at < end {
            let segment_end = (at / (1 << 20) + 1) * (1 << 20);
            let length = (end.min(segment_end) - at) as u32;
            let position = raftmq_model::offset::PhysicalOffset(at);
            let first = logs[0].slice(position, length).unwrap();
            for other in &logs[1..] {
                assert!(first == other.slice(position, length).unwrap(), "the logs differ between {at} and {end}");
            }
            at += u64::from(length);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A runtime must not be dropped inside another one.
        self.members.drain(..).flatten().for_each(Member::kill);
    }
}

async fn start(config: RaftConfig, listeners: RaftListeners) -> Result<Member, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(format!("raft-n{}", config.self_slot))
        .enable_all()
        .build()
        .unwrap();
    let environment = RaftEnvironment { seams: Seams::real(), runtime: runtime.handle().clone(), listeners };
    let tables = SharedTables::default();
    let machine_tables = Arc::clone(&tables);
    let slot = config.self_slot;
    let started = RaftGroup::start(
        config,
        environment,
        move |store| {
            *machine_tables.lock().unwrap() = Tables::default();
            Ok(Box::new(ToyMachine { tables: machine_tables, queues: Arc::clone(&store.queues) }))
        },
        Arc::new(Echo(slot)),
    )
    .await;
    match started {
        Ok(group) => Ok(Member { runtime, group, tables }),
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

/// Below the ports that the system gives to outgoing connections: those of other tests must not take a port while
/// its member is down.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id().wrapping_mul(97).wrapping_add(step) % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for a condition; what must happen has [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn is_joining(member: &Member) -> bool {
    member.role().kind == RoleKind::Joining
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn wipe(directory: &Path) {
    std::fs::remove_dir_all(directory).unwrap();
}
