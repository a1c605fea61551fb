use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use raftmq_model::message_codec::StoredMessage;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_model::sys_flag;

use super::applied::{self, AppliedPoint};
use super::files::QueueFiles;
use super::queue::{ConsumeQueue, DispatchError, Pushed};
use super::unit::{QUEUE_OFFSET_LIMIT, UNIT_BYTES, Unit};
use crate::commit_log::CommitLog;
use crate::config::StoreConfig;
use crate::error::{AppendError, is_full};
use crate::folder::Folder;
use crate::signal::Signal;

/// Units only in memory at which the background is woken before its second is over.
const WAKE_AT_UNITS: u64 = (1 << 20) / UNIT_BYTES as u64;
/// Units only in memory at which a dispatch writes them itself: the background does not keep up.
const UNWRITTEN_LIMIT_UNITS: u64 = (64 << 20) / UNIT_BYTES as u64;
/// Applied points waiting for the log to be flushed; beyond it the newest replaces its predecessor.
const POINTS_LIMIT: usize = 4096;

type Table = HashMap<Arc<str>, HashMap<i32, Arc<ConsumeQueue>>>;

/// Which queues exist and from where to where: their number and the XOR of a hash of each. Tells recovery that a file
/// was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) count: u64,
    pub(crate) hash: u64,
}

impl Fingerprint {
    /// Adds a queue that has the offsets from `min` to `end`; none does not count.
    pub(crate) fn add(&mut self, topic: &str, queue_id: i32, (min, end): (u64, u64)) {
        if end > min {
            self.count += 1;
            self.hash ^= extent_hash(topic, queue_id, min, end);
        }
    }

    fn remove(&mut self, topic: &str, queue_id: i32, (min, end): (u64, u64)) {
        if end > min {
            self.count -= 1;
            self.hash ^= extent_hash(topic, queue_id, min, end);
        }
    }
}

/// FNV-1a over topic, queue id, first offset and end; stable, because it is stored.
fn extent_hash(topic: &str, queue_id: i32, min: u64, end: u64) -> u64 {
    let bytes = topic.bytes().chain(queue_id.to_be_bytes()).chain(min.to_be_bytes()).chain(end.to_be_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// All consume queues of a store.
///
/// One caller dispatches, in log order; a background worker writes behind it; anybody reads.
pub struct ConsumeQueues {
    files: Arc<QueueFiles>,
    log: Arc<CommitLog>,
    table: RwLock<Table>,
    next_number: AtomicU64,
    dirty: Mutex<Vec<Arc<ConsumeQueue>>>,
    unwritten_units: AtomicU64,
    fingerprint: Mutex<Fingerprint>,
    dispatched: AtomicU64,
    applied_at_open: Option<AppliedPoint>,
    points: Mutex<VecDeque<AppliedPoint>>,
    /// Held over writes and removals, never over an fsync: deletions and dispatches wait for it.
    pass: Mutex<Pass>,
    /// Held over the fsyncs of one pass, and taken before `pass`. What the file of the applied point says.
    persisted: Mutex<Option<(AppliedPoint, Fingerprint)>>,
    /// A write or fsync has failed, so what the files hold is unknown.
    failed: AtomicBool,
    /// The last write found the disk full; the units wait in memory.
    lacks_space: AtomicBool,
    stopped: AtomicBool,
    wake: Arc<Signal>,
    /// Raft: where the applied point is kept.
    applied_path: Option<PathBuf>,
}

/// State of the one write-behind pass at a time.
#[derive(Default)]
struct Pass {
    number: u64,
    unsynced: Vec<Arc<ConsumeQueue>>,
    /// Queues with units that are not in the fingerprint yet.
    uncounted: Vec<Arc<ConsumeQueue>>,
    recent: Vec<Arc<ConsumeQueue>>,
}

/// What one pass has written and is about to make durable.
struct Written {
    queues: Vec<Arc<ConsumeQueue>>,
    /// Directories with new names.
    names: BTreeSet<PathBuf>,
    /// Every message below this log position is dispatched and durable in the log.
    durable: u64,
    point: Option<AppliedPoint>,
    /// The queues are counted up to here.
    below: u64,
}

/// How [`ConsumeQueues`] begin; made by recovery.
pub(crate) struct QueueSetup {
    pub(crate) files: Arc<QueueFiles>,
    pub(crate) log: Arc<CommitLog>,
    /// Raft: the durable applied point, clamped to the log.
    pub(crate) applied: Option<AppliedPoint>,
    pub(crate) applied_path: Option<PathBuf>,
    pub(crate) wake: Arc<Signal>,
    pub(crate) dispatched: u64,
}

/// The files under `<root>/consumequeue`.
pub(crate) fn queue_files(folder: &Folder, config: &StoreConfig, log: &CommitLog) -> Arc<QueueFiles> {
    let gauge = log.metrics.queue_files_open.clone();
    let files = QueueFiles::new(Arc::clone(&folder.disk), folder.consume_queues(), config.queue_file_bytes, gauge);
    Arc::new(files)
}

impl ConsumeQueues {
    pub(crate) fn new(setup: QueueSetup) -> ConsumeQueues {
        ConsumeQueues {
            files: setup.files,
            log: setup.log,
            table: RwLock::default(),
            next_number: AtomicU64::new(0),
            dirty: Mutex::default(),
            unwritten_units: AtomicU64::new(0),
            fingerprint: Mutex::default(),
            dispatched: AtomicU64::new(setup.dispatched),
            applied_at_open: setup.applied,
            points: Mutex::new(setup.applied.into_iter().collect()),
            pass: Mutex::default(),
            persisted: Mutex::default(),
            failed: AtomicBool::new(false),
            lacks_space: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            wake: setup.wake,
            applied_path: setup.applied_path,
        }
    }

    /// Enters a message into its queue. `false` if it is there already, or takes no place in a queue (prepared and
    /// rolled back ones). Messages come in log order; one caller at a time.
    pub fn dispatch(&self, message: &StoredMessage<'_>) -> Result<bool, DispatchError> {
        if !sys_flag::takes_queue_offset(message.sys_flag) {
            return Ok(false);
        }
        if message.queue_offset.0 >= QUEUE_OFFSET_LIMIT {
            return Err(DispatchError::Offset {
                topic: message.topic.to_owned(),
                queue_id: message.queue_id,
                offset: message.queue_offset.0,
                at: message.physical_offset,
            });
        }
        if self.unwritten_units.load(Ordering::Relaxed) >= UNWRITTEN_LIMIT_UNITS {
            raftmq_sys::in_place(|| self.write_behind()).map_err(DispatchError::Write)?;
        }
        let queue = match self.queue(message.topic, message.queue_id) {
            Some(queue) => queue,
            None => self.add(message.topic, message.queue_id),
        };
        match queue.push(message.queue_offset.0, Unit::of(message))? {
            Pushed::Known => Ok(false),
            Pushed::New { list } => {
                if list {
                    lock(&self.dirty).push(queue);
                }
                if self.unwritten_units.fetch_add(1, Ordering::Relaxed) + 1 == WAKE_AT_UNITS {
                    self.wake.raise();
                }
                Ok(true)
            }
        }
    }

    /// `None` until a message was dispatched to it.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(topic)?.get(&queue_id).cloned()
    }

    /// The offset that the next message of a queue gets.
    pub(crate) fn next_offset(&self, topic: &str, queue_id: i32) -> u64 {
        self.queue(topic, queue_id).map_or(0, |queue| queue.max_offset().0)
    }

    /// Topics that have queues, sorted, with the ids of their queues.
    pub fn topics(&self) -> Vec<(Arc<str>, Vec<i32>)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics: Vec<_> = table
            .iter()
            .map(|(topic, queues)| {
                let mut ids: Vec<i32> = queues.keys().copied().collect();
                ids.sort_unstable();
                (Arc::clone(topic), ids)
            })
            .collect();
        topics.sort();
        topics
    }

    /// Every message below `end` has been dispatched; in Raft mode by applying entries up to `applied`.
    ///
    /// A replay comes past entries that the queues hold already; that takes nothing back.
    pub fn set_dispatched(&self, end: PhysicalOffset, applied: Option<AppliedPoint>) {
        self.dispatched.fetch_max(end.0, Ordering::AcqRel);
        if let Some(point) = applied {
            let mut points = lock(&self.points);
            if points.back().is_some_and(|last| point.end <= last.end) {
                return;
            }
            if points.len() >= POINTS_LIMIT {
                points.pop_back();
            }
            points.push_back(point);
        }
    }

    /// Behind the last dispatched message: the end that consumers may see.
    pub fn dispatched(&self) -> PhysicalOffset {
        PhysicalOffset(self.dispatched.load(Ordering::Acquire))
    }

    /// Raft: up to where the queues were complete and durable when the store was opened, clamped to the recovered
    /// log. Entries behind it have to be applied again.
    pub fn applied(&self) -> Option<AppliedPoint> {
        self.applied_at_open
    }

    /// Makes everything dispatched, as far as its messages are durable, durable in the queues too.
    pub fn persist(&self) -> io::Result<()> {
        self.persist_point().map(|_| ())
    }

    /// Takes a removed queue out of what is counted. Nobody may be writing it.
    fn forget(&self, topic: &str, queue_id: i32, queue: &ConsumeQueue) {
        let deleted = queue.mark_deleted();
        lock(&self.fingerprint).remove(topic, queue_id, deleted.counted);
        self.unwritten_units.fetch_sub(deleted.unwritten_units, Ordering::Relaxed);
    }

    /// Removes a topic's queues and their files.
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        let pass = lock(&self.pass);
        let removed = self.table.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
        let Some(removed) = removed else { return Ok(()) };
        for (queue_id, queue) in removed {
            self.forget(topic, queue_id, &queue);
        }
        let directory = self.files.root.join(topic);
        if !self.files.disk.exists(&directory) {
            return Ok(());
        }
        let result = self.files.disk.remove_dir_all(&directory);
        drop(pass);
        self.noted(result.and_then(|()| self.files.disk.sync_dir(&self.files.root)))
    }

    /// Removes one queue; its next message begins it anew.
    pub(crate) fn begin_anew(&self, topic: &str, queue_id: i32) -> io::Result<()> {
        let _pass = lock(&self.pass);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let removed = table.get_mut(topic).and_then(|queues| queues.remove(&queue_id));
        drop(table);
        let Some(removed) = removed else { return Ok(()) };
        self.forget(topic, queue_id, &removed);
        let directory = self.files.queue_directory(topic, queue_id);
        let result = match self.files.disk.exists(&directory) {
            true => self.files.disk.remove_dir_all(&directory),
            false => Ok(()),
        };
        self.files.note_names(&directory);
        self.noted(result)
    }

    /// Adds a queue that was found on disk with units from `min` to `end`, durable below `synced`.
    pub(super) fn add_loaded(&self, topic: &str, queue_id: i32, (min, end): (u64, u64), synced: u64) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let queue = ConsumeQueue::new(Arc::from(topic), queue_id, number, Arc::clone(&self.files));
        let queue = Arc::new(queue.loaded(min, end, synced));
        lock(&self.fingerprint).add(topic, queue_id, (min, end));
        if synced < end {
            lock(&self.pass).unsynced.push(Arc::clone(&queue));
        }
        self.insert(queue);
    }

    /// A queue that never had a message begins at `at`, the greatest that it was told: a topic that was deleted and created
    /// again goes on from its old end. In memory only until its first message; to be called again after a restart.
    pub fn begin_at(&self, topic: &str, queue_id: i32, at: QueueOffset) {
        let queue = self.queue(topic, queue_id).unwrap_or_else(|| self.add(topic, queue_id));
        queue.begin_at(at.0);
    }

    pub(super) fn files(&self) -> &Arc<QueueFiles> {
        &self.files
    }

    fn add(&self, topic: &str, queue_id: i32) -> Arc<ConsumeQueue> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let queue = ConsumeQueue::new(Arc::from(topic), queue_id, number, Arc::clone(&self.files));
        self.insert(Arc::new(queue))
    }

    fn insert(&self, queue: Arc<ConsumeQueue>) -> Arc<ConsumeQueue> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let queues = table.entry(Arc::clone(queue.topic())).or_default();
        queues.insert(queue.queue_id(), Arc::clone(&queue));
        queue
    }

    /// Writes all units that are only in memory, without making them durable.
    pub(crate) fn write_behind(&self) -> io::Result<()> {
        let mut pass = lock(&self.pass);
        self.check()?;
        self.write_dirty(&mut pass)
    }

    /// Like [`write_behind`](ConsumeQueues::write_behind), but only if the wait for the next tick would be long.
    pub(crate) fn write_if_many(&self) -> io::Result<()> {
        if self.unwritten_units.load(Ordering::Relaxed) >= WAKE_AT_UNITS { self.write_behind() } else { Ok(()) }
    }

    /// Number of queues that the next [`persist_point`](ConsumeQueues::persist_point) has to fsync.
    pub(crate) fn unsynced(&self) -> usize {
        lock(&self.pass).unsynced.len() + lock(&self.dirty).len()
    }

    /// Writes and fsyncs the queues. Returns the position up to which they are durable, and which queues there are.
    pub(crate) fn persist_point(&self) -> io::Result<(u64, Fingerprint)> {
        let mut persisted = lock(&self.persisted);
        let written = self.take_written()?;
        self.noted(self.sync(&written))?;
        let fingerprint = {
            let mut pass = lock(&self.pass);
            pass.uncounted.extend(written.queues);
            // A queue that always has units behind the point is in both.
            unique(&mut pass.uncounted);
            self.noted(self.fingerprint_below(&mut pass, written.below))?
        };
        if let Some((path, point)) = self.applied_path.as_ref().zip(written.point)
            && *persisted != Some((point, fingerprint))
        {
            let result = self.files.disk.replace(path, &applied::encode(&point, &fingerprint));
            // A file that did not fit is not the one that counts.
            self.noted_unless_full(result)?;
            *persisted = Some((point, fingerprint));
        }
        Ok((written.durable, fingerprint))
    }

    /// Whether appended messages can be expected to find a place in their queues.
    pub(crate) fn check_space(&self) -> Result<(), AppendError> {
        if self.lacks_space.load(Ordering::Acquire) {
            return Err(AppendError::making(&self.files.root, io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// No write happens after this returns.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        drop(lock(&self.persisted));
        drop(lock(&self.pass));
    }

    fn check(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) || self.stopped.load(Ordering::Acquire) {
            return Err(io::Error::other("consume queues are closed or failed before"));
        }
        Ok(())
    }

    /// After a failed write or fsync what the files hold is unknown, so the point they are complete to must never
    /// rise again in this process.
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.failed.store(true, Ordering::Release);
            self.log.poison(&self.files.root, error);
        }
        result
    }

    fn noted_unless_full<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(is_full) { result } else { self.noted(result) }
    }

    /// Writes every queue that has units only in memory. On a full disk they stay there: nothing is lost, and the
    /// next pass tries again.
    fn write_dirty(&self, pass: &mut Pass) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut *lock(&self.dirty));
        pass.number += 1;
        let mut result = Ok(());
        for (done, queue) in dirty.iter().enumerate() {
            match queue.write(pass.number) {
                Ok(bytes) => {
                    self.unwritten_units.fetch_sub(bytes / UNIT_BYTES as u64, Ordering::Relaxed);
                    self.log.metrics.queue_written_bytes.add(bytes);
                }
                Err(error) => {
                    result = Err((done, error));
                    break;
                }
            }
        }
        let result = result.map_err(|(done, error)| {
            let mut again = dirty.split_off(done);
            // The dispatch has listed the first one itself if it got units since the write began.
            if again.first().is_some_and(|queue| !queue.list()) {
                again.remove(0);
            }
            lock(&self.dirty).extend(again);
            error
        });
        self.lacks_space.store(result.as_ref().is_err_and(is_full), Ordering::Release);
        let unwritten = self.unwritten_units.load(Ordering::Relaxed) * UNIT_BYTES as u64;
        self.log.metrics.queue_unwritten_bytes.set(unwritten as i64);
        for queue in std::mem::replace(&mut pass.recent, dirty.clone()) {
            queue.rest(pass.number);
        }
        pass.unsynced.extend(dirty);
        self.noted_unless_full(result)
    }

    /// Writes what is only in memory, and takes what has to be made durable for the present point.
    fn take_written(&self) -> io::Result<Written> {
        let mut pass = lock(&self.pass);
        self.check()?;
        let flushed = self.log.flushed();
        let durable = self.dispatched().min(flushed).0;
        let point = self.newest_point(flushed);
        let below = if self.applied_path.is_some() { point.map_or(0, |point| point.end.0) } else { durable };
        self.write_dirty(&mut pass)?;
        let mut queues = std::mem::take(&mut pass.unsynced);
        // A queue may be listed once per write; syncing it again finds nothing to do in the kernel.
        unique(&mut queues);
        Ok(Written { queues, names: self.files.take_names(), durable, point, below })
    }

    fn sync(&self, written: &Written) -> io::Result<()> {
        written.queues.iter().try_for_each(|queue| queue.sync())?;
        self.files.sync_names(&written.names)
    }

    /// The newest applied point whose entry is durable in the log (trap T4 of the Raft notes: never ahead of it).
    fn newest_point(&self, flushed: PhysicalOffset) -> Option<AppliedPoint> {
        let mut points = lock(&self.points);
        let mut newest = None;
        while let Some(point) = points.front().filter(|point| point.end <= flushed).copied() {
            newest = Some(point);
            points.pop_front();
        }
        if let Some(point) = newest {
            // It stays a candidate until a newer one is durable.
            points.push_front(point);
        }
        newest
    }

    /// The fingerprint of the units below `position`, all of which are durable.
    fn fingerprint_below(&self, pass: &mut Pass, position: u64) -> io::Result<Fingerprint> {
        for queue in std::mem::take(&mut pass.uncounted) {
            let counted = queue.count_below(position).map_err(io::Error::other)?;
            let mut fingerprint = lock(&self.fingerprint);
            fingerprint.remove(queue.topic(), queue.queue_id(), counted.before);
            fingerprint.add(queue.topic(), queue.queue_id(), counted.now);
            if counted.has_more {
                pass.uncounted.push(queue);
            }
        }
        Ok(*lock(&self.fingerprint))
    }
}

/// Each queue once.
fn unique(queues: &mut Vec<Arc<ConsumeQueue>>) {
    queues.sort_by_key(|queue| Arc::as_ptr(queue) as usize);
    queues.dedup_by(|left, right| Arc::ptr_eq(left, right));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
