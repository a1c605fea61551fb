//! From a directory to a running member.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openraft::{Config, SnapshotPolicy, StepDownPolicy};
use raftmq_store::{CommitLog, ConsumeQueues, FlushMode, Flusher, RaftEntries, RaftStore, RaftWriter};
use raftmq_sys::Seams;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::applier::{AppliedStore, Applier};
use crate::bootstrap::Bootstrap;
use crate::config::{RaftConfig, SnapshotSchedule};
use crate::durable::Durable;
use crate::error::StartError;
use crate::forward::ForwardHandler;
use crate::group::{MAX_ENTRY_BYTES, QUEUED_PROPOSALS, RaftEnvironment, RaftGroup};
use crate::handshake::{Dialer, Identity, RefusalLog};
use crate::hard_state::{HardState, HardStateFile};
use crate::log_storage::{LogStorage, SharedWriter};
use crate::membership::BrokerNode;
use crate::metrics::RaftMetrics;
use crate::network::{Callers, NetworkFactory};
use crate::role::{Role, RoleKind};
use crate::role_watch::{JOINING, publish, watch_role};
use crate::server::{PeerServer, Raft};
use crate::snapshot::SnapshotFile;
use crate::state_machine::{OpenedStore, StateMachine};
use crate::wire::Purpose;

/// Frame header and the blank that closes a segment.
const ENTRY_OVERHEAD_BYTES: u64 = 64 + 8;
/// A forwarded request may be held at the leader; only after this long the link counts as dead.
const FORWARD_STALE: Duration = Duration::from_secs(15);
const SNAPSHOT_CHECK: Duration = Duration::from_secs(1);

/// What comes from the disk.
struct Opened {
    writer: RaftWriter,
    log: Arc<CommitLog>,
    entries: Arc<RaftEntries>,
    queues: Arc<ConsumeQueues>,
    flusher: Arc<Flusher>,
    durable: Arc<Durable>,
    applier: Applier,
    /// Neither log nor vote: a first boot, or one that was interrupted before anybody else took part.
    blank: bool,
}

pub(crate) async fn start(
    config: RaftConfig,
    environment: RaftEnvironment,
    make_state_machine: impl FnOnce(&OpenedStore) -> Result<Box<dyn StateMachine>, String> + Send + 'static,
    forward: Arc<dyn ForwardHandler>,
) -> Result<RaftGroup, StartError> {
    config.validate().map_err(StartError::Config)?;
    let group = config.group.clone();
    let raft_error = |reason: String| StartError::Raft { group: group.clone(), reason };
    let raft_config = Arc::new(raft_config(&config).validate().map_err(|error| raft_error(error.to_string()))?);
    let own = config.own_peer().cloned().ok_or_else(|| StartError::Config("no own peer".to_owned()))?;

    let (done, opened) = oneshot::channel();
    let (open_config, seams) = (config.clone(), environment.seams.clone());
    let metrics = RaftMetrics::new(&seams.metrics, &config.group);
    let (open_seams, open_metrics) = (seams.clone(), metrics.clone());
    let open_job = move || {
        // The caller of start may have given up.
        let _ = done.send(open(open_config, open_seams, open_metrics, make_state_machine));
    };
    seams.spawn.blocking("raft-open", Box::new(open_job));
    let opened = opened.await.map_err(|_| raft_error("the opening job was dropped".to_owned()))??;
    let Opened { writer, log, entries, queues, flusher, durable, applier, blank } = opened;

    let identity = Arc::new(Identity {
        cluster: config.cluster.clone(),
        group: config.group.clone(),
        slot: own.slot,
        incarnation: durable.state().incarnation,
        segment_bytes: config.store.segment_bytes,
        slots: config.peers.iter().map(|peer| u32::from(peer.slot)).collect::<BTreeSet<_>>().into_iter().collect(),
        durable: Arc::clone(&durable),
    });
    let refusals = Arc::new(RefusalLog::default());
    let dialer = Dialer {
        transport: environment.listeners.transport(),
        identity: Arc::clone(&identity),
        runtime: environment.runtime.clone(),
        refusals: Arc::clone(&refusals),
    };
    let writer: SharedWriter = Arc::new(Mutex::new(Some(writer)));
    let log_storage =
        LogStorage::new(Arc::clone(&writer), entries, flusher, Arc::clone(&durable), Arc::clone(&seams.spawn));
    let network = NetworkFactory {
        dialer: dialer.clone(),
        control: Arc::new(Callers::new(
            dialer.clone(),
            Purpose::Control,
            config.response_deadline,
            metrics.calls_turned_away.clone(),
        )),
        response_deadline: config.response_deadline,
    };
    let node = u64::from(own.slot);
    let raft = Raft::build(node, raft_config, network, log_storage, applier)
        .await
        .map_err(|error| raft_error(error.to_string()))?;

    let server = Arc::new(PeerServer {
        identity: Arc::clone(&identity),
        raft: OnceLock::from(raft.clone()),
        forward,
        spawn: Arc::clone(&seams.spawn),
        joined: Notify::new(),
        refusals,
        stopping: watch::Sender::new(false),
    });
    let registration = environment
        .listeners
        .register(&own.address, Arc::clone(&server))
        .await
        .map_err(|source| StartError::Listen { address: own.address.clone(), source })?;
    let role = Arc::new(watch::Sender::new(JOINING));
    let bootstrap = Bootstrap {
        dialer: dialer.clone(),
        server: Arc::clone(&server),
        raft: raft.clone(),
        peers: config.peers.clone(),
        blank,
    };
    tokio::spawn(take_part(bootstrap, raft.clone(), node, Arc::clone(&role), metrics.clone()));
    tokio::spawn(take_snapshots(raft.clone(), Arc::clone(&queues), config.snapshots, server.stopping.subscribe()));
    let largest = config.store.segment_bytes.saturating_sub(ENTRY_OVERHEAD_BYTES);
    Ok(RaftGroup {
        raft,
        own: BrokerNode { incarnation: identity.incarnation, address: own.address, slot: own.slot },
        role,
        server,
        forwards: Callers::new(dialer, Purpose::Forward, FORWARD_STALE, metrics.calls_turned_away.clone()),
        log,
        queues,
        writer,
        max_entry_bytes: usize::try_from(largest).unwrap_or(usize::MAX).min(MAX_ENTRY_BYTES),
        runtime: environment.runtime,
        spawn: seams.spawn,
        clock: seams.clock,
        metrics,
        registration: Mutex::new(Some(registration)),
        closed: OnceLock::new(),
    })
}

fn open(
    config: RaftConfig,
    seams: Seams,
    metrics: RaftMetrics,
    make_state_machine: impl FnOnce(&OpenedStore) -> Result<Box<dyn StateMachine>, String>,
) -> Result<Opened, StartError> {
    let group = || config.group.clone();
    let root = config.store.root.clone();
    let asynchronous = matches!(config.store.flush, FlushMode::Async { .. });
    let RaftStore { writer, log, entries, queues, flusher, report } =
        RaftStore::open(config.store.clone(), seams.clone())
            .map_err(|source| StartError::Store { group: group(), source })?;
    let flusher = Arc::new(flusher);
    if asynchronous {
        tracing::warn!(
            group = config.group,
            "ASYNC_FLUSH: messages are acknowledged before they are on disk; power loss of one machine may lose them"
        );
    }
    let last = entries.last();
    let durable = open_hard_state(&config, &seams, last.is_some())
        .map_err(|reason| StartError::HardState { group: group(), reason })?;
    let opened =
        OpenedStore { log: Arc::clone(&log), queues: Arc::clone(&queues), entries: Arc::clone(&entries), report };
    let machine = make_state_machine(&opened).map_err(|reason| StartError::StateMachine { group: group(), reason })?;
    let snapshots = SnapshotFile::new(Arc::clone(&seams.disk), &root)
        .map_err(|error| StartError::Snapshot { group: group(), reason: error.to_string() })?;
    let blank = last.is_none() && durable.vote().is_none();
    let applied_store = AppliedStore {
        entries: Arc::clone(&entries),
        queues: Arc::clone(&queues),
        flusher: Arc::clone(&flusher),
        durable: Arc::clone(&durable),
        snapshots,
        spawn: Arc::clone(&seams.spawn),
        metrics,
    };
    let applier =
        Applier::open(machine, applied_store).map_err(|reason| StartError::StateMachine { group: group(), reason })?;
    Ok(Opened { writer, log, entries, queues, flusher, durable, applier, blank })
}

/// The hard state of this directory, made now if the directory is new.
fn open_hard_state(config: &RaftConfig, seams: &Seams, has_log: bool) -> Result<Arc<Durable>, String> {
    let root = &config.store.root;
    let opened = HardStateFile::open(&*seams.disk, root).map_err(|error| error.to_string())?;
    let file = match opened {
        Some(file) => {
            let state = file.state();
            let found = (state.cluster.as_str(), state.group.as_str(), state.slot);
            let wanted = (config.cluster.as_str(), config.group.as_str(), config.self_slot);
            if found != wanted {
                return Err(format!(
                    "{} belongs to n{} of group {} in cluster {}, this broker is configured as n{} of group {} in \
                     cluster {}",
                    root.display(),
                    found.2,
                    found.1,
                    found.0,
                    wanted.2,
                    wanted.1,
                    wanted.0
                ));
            }
            file
        }
        None if has_log => {
            return Err(format!("{} has a log but no hard state: its vote is lost", root.display()));
        }
        None => {
            let incarnation = u128::from(seams.rng.next_u64()) << 64 | u128::from(seams.rng.next_u64());
            let state = HardState {
                incarnation,
                node: u64::from(config.self_slot),
                slot: config.self_slot,
                cluster: config.cluster.clone(),
                group: config.group.clone(),
                joined: false,
                founder: None,
                vote: None,
                purged: None,
                membership: None,
            };
            HardStateFile::create(&*seams.disk, root, state).map_err(|error| error.to_string())?
        }
    };
    Ok(Arc::new(Durable::new(file)))
}

/// reference/raft.md, 1.3; what differs from openraft's defaults, and why.
fn raft_config(config: &RaftConfig) -> Config {
    let milliseconds = |duration: Duration| duration.as_millis() as u64;
    let longest = milliseconds(config.timers.election_max);
    Config {
        cluster_name: format!("{}/{}", config.cluster, config.group),
        heartbeat_interval: milliseconds(config.timers.heartbeat),
        election_timeout_min: milliseconds(config.timers.election_min),
        election_timeout_max: longest,
        // A member that cannot win must not raise the term of those who can.
        enable_pre_vote: Some(true),
        // A leader that lost its unflushed tail would lead the same term again and reuse its indexes (trap T2).
        enable_leader_restore: Some(false),
        // A follower that lost acknowledged entries would never catch up (trap T3).
        allow_log_reversion: Some(true),
        // A leader that can send but not hear would keep its followers quiet for ever (trap T15).
        quorum_loss_probe_interval: Some(longest * 5 / 2),
        // Snapshots by our own schedule; the log is not purged for them.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        // Counts of entries; bytes are bounded by the log reader.
        max_payload_entries: 1024,
        max_append_entries: Some(1024),
        api_batch_linger_ms: 0,
        api_channel_size: Some(QUEUED_PROPOSALS),
        // Replication does not wait for the leader's own disk.
        broadcast_submitted_on_append: Some(true),
        install_snapshot_timeout: 3_600_000,
        backoff: "50ms 100ms 200ms ...1s".to_owned(),
        removed_leader_step_down: StepDownPolicy::After(150),
        ..Config::default()
    }
}

/// Joins or forms the group, then follows its role until it stops.
async fn take_part(bootstrap: Bootstrap, raft: Raft, node: u64, role: Arc<watch::Sender<Role>>, metrics: RaftMetrics) {
    let group = bootstrap.dialer.identity.group.clone();
    let mut stopping = bootstrap.server.stopping.subscribe();
    let joined = tokio::select! {
        joined = bootstrap.run() => joined,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    match joined {
        Ok(()) => watch_role(raft, node, &role, &metrics).await,
        Err(reason) => {
            tracing::error!(group, slot = node, reason, "cannot take part in the group");
            publish(&role, Role { kind: RoleKind::Stopped { reason: Some(Arc::from(reason)) }, ..JOINING });
        }
    }
}

/// Lost tables are rebuilt from the newest snapshot and the log after it: the schedule bounds how much that is.
async fn take_snapshots(
    raft: Raft,
    queues: Arc<ConsumeQueues>,
    schedule: SnapshotSchedule,
    mut stopping: watch::Receiver<bool>,
) {
    let mut last = (Instant::now(), queues.dispatched().0);
    loop {
        tokio::select! {
            () = tokio::time::sleep(SNAPSHOT_CHECK) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let (age, bytes) = (last.0.elapsed(), queues.dispatched().0.saturating_sub(last.1));
        let due = bytes >= schedule.log_bytes || (bytes > 0 && age >= schedule.interval);
        if due && age >= schedule.least_interval {
            last = (Instant::now(), queues.dispatched().0);
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }
}
