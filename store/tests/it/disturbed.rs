//! Two things at once, and disks that fail or are full.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_store::{AppendError, ClassicStore, ConsumeQueues, FlushError, ReadError, StoreConfig};
use raftmq_sys::{Disk, Open, RealDisk, Seams};

use super::hook_disk::{Kind, seams};
use super::support::*;

/// Longer than anything here takes that is not waiting for ever.
const PATIENCE: Duration = Duration::from_secs(10);

fn eio() -> io::Error {
    io::Error::other("EIO")
}

fn is_background() -> bool {
    thread::current().name() == Some("store-background")
}

/// Runs `work` on a thread of its own; what arrives says that it has ended.
fn meanwhile(work: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (ended, end) = mpsc::channel();
    let run = move || {
        work();
        let _ = ended.send(());
    };
    thread::Builder::new().spawn(run).unwrap();
    end
}

/// Linux tells every open file description of a failed write-back once. The zeros' fsync meets the failure of the
/// append's bytes first, and before it can say so the flusher has its turn.
#[test]
fn the_fsync_of_zeros_does_not_take_a_failed_write_back_from_the_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (zeros_failed, failure) = mpsc::channel();
    let (flushed, flush) = mpsc::channel::<()>();
    let flush = Mutex::new(flush);
    let (armed, told) = (Arc::new(AtomicBool::new(false)), Mutex::new(BTreeSet::new()));
    let is_armed = Arc::clone(&armed);
    let hook = move |call: &super::hook_disk::Call<'_>| {
        if !call.is(Kind::SyncData, "commitlog") || !is_armed.load(Ordering::Acquire) {
            return Ok(());
        }
        let is_news = told.lock().unwrap().insert(call.description);
        if is_background() && is_news {
            zeros_failed.send(()).unwrap();
            flush.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        if is_news { Err(eio()) } else { Ok(()) }
    };
    let config = StoreConfig { segment_bytes: 1 << 20, zero_ahead_bytes: 64 << 10, ..config(folder.path()) };
    let mut store = ClassicStore::open(config, seams(hook)).unwrap();
    append(&mut store, vec![batch("A", 0, &[b"a"])]);
    armed.store(true, Ordering::Release);
    failure.recv_timeout(PATIENCE).unwrap();
    let result = store.writer.flush();
    assert!(matches!(result, Err(FlushError::Io { .. })), "{result:?}");
    flushed.send(()).unwrap();
}

#[test]
fn a_flush_that_ends_after_the_log_was_poisoned_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let queues: Arc<OnceLock<Arc<ConsumeQueues>>> = Arc::default();
    let of_hook = Arc::clone(&queues);
    let hook = move |call: &super::hook_disk::Call<'_>| match of_hook.get() {
        Some(queues) if call.is(Kind::SyncData, "commitlog") && !is_background() => {
            assert!(queues.persist().is_err());
            Ok(())
        }
        Some(_) if call.is(Kind::SyncData, "consumequeue") => Err(eio()),
        _ => Ok(()),
    };
    let mut store = ClassicStore::open(config(folder.path()), seams(hook)).unwrap();
    append(&mut store, vec![batch("A", 0, &[b"a"])]);
    assert!(queues.set(Arc::clone(&store.queues)).is_ok());
    let result = store.writer.flush();
    assert!(matches!(result, Err(FlushError::Poisoned)), "{result:?}");
    assert_eq!(store.log.flushed(), PhysicalOffset(0));
}

#[test]
fn topics_are_deleted_while_queues_are_made_durable() {
    let folder = tempfile::tempdir().unwrap();
    let queues: Arc<OnceLock<Arc<ConsumeQueues>>> = Arc::default();
    let (of_hook, done) = (Arc::clone(&queues), AtomicBool::new(false));
    let hook = move |call: &super::hook_disk::Call<'_>| {
        if let Some(queues) = of_hook.get()
            && call.is(Kind::SyncData, "consumequeue")
            && !done.swap(true, Ordering::AcqRel)
        {
            let queues = Arc::clone(queues);
            // One of them is being made durable at this moment, the other is next.
            let deleted = meanwhile(move || ["A", "B"].iter().for_each(|topic| queues.delete_topic(topic).unwrap()));
            deleted.recv_timeout(PATIENCE).map_err(io::Error::other)?;
        }
        Ok(())
    };
    let mut store = ClassicStore::open(config(folder.path()), seams(hook)).unwrap();
    append(&mut store, vec![batch("A", 0, &[b"a"]), batch("B", 0, &[b"b"]), batch("C", 0, &[b"c"])]);
    store.writer.flush().unwrap();
    assert!(queues.set(Arc::clone(&store.queues)).is_ok());
    store.queues.persist().unwrap();
    store.writer.forget_queue_offsets();
    append(&mut store, vec![batch("C", 0, &[b"d"])]);
    store.writer.close().unwrap();
    let topics: Vec<String> = files(&folder.path().join("consumequeue")).into_iter().map(|(path, _)| path).collect();
    assert!(topics.len() == 1 && topics[0].contains("/C/"), "{topics:?}");
    let store = classic(folder.path());
    assert_eq!(store.report.dispatched, 0, "the deleted queues are not missed");
    assert_eq!(store.queues.queue("C", 0).unwrap().max_offset(), QueueOffset(2));
}

#[test]
fn the_folder_is_given_free_behind_what_is_made_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (making, made) = mpsc::channel();
    let (dropped, drop_ended) = mpsc::channel::<()>();
    let (drop_ended, was_free) = (Mutex::new(drop_ended), Arc::new(OnceLock::new()));
    let seen = Arc::clone(&was_free);
    let hook = move |call: &super::hook_disk::Call<'_>| {
        if call.kind == Kind::Allocate && is_background() && seen.get().is_none() {
            making.send(()).unwrap();
            // The drop has all the time it needs, and does not end.
            let ended = drop_ended.lock().unwrap().recv_timeout(Duration::from_millis(300)).is_ok();
            seen.set(ended).unwrap();
        }
        Ok(())
    };
    let mut store = ClassicStore::open(config(folder.path()), seams(hook)).unwrap();
    // Past the middle of the first segment, so the second one is wanted.
    append(&mut store, vec![batch("A", 0, &[&[1; 1000]]); 2]);
    made.recv_timeout(PATIENCE).unwrap();
    drop(store);
    // The hook may have gone with its thread.
    let _ = dropped.send(());
    assert_eq!(was_free.get(), Some(&false));
    assert_eq!(classic(folder.path()).report.cut_at, None);
}

/// A map of a file that has become short would be SIGBUS at the first byte.
#[test]
fn behind_the_hot_window_what_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { hot_window_bytes: SEGMENT_BYTES, ..config(folder.path()) };
    let mut store = ClassicStore::open(config, Seams::real()).unwrap();
    let first = append(&mut store, vec![batch("A", 0, &[b"first"])])[0].first;
    assert_eq!(body_at(&store.log, first), b"first");
    let record = store.log.slice(first, 90).unwrap().to_vec();
    for index in 0..20 {
        append(&mut store, vec![batch("A", 0, &[&[index; 900]])]);
    }
    assert_eq!(store.log.slice(first, 90).unwrap(), record, "the same bytes, copied");
    let path = folder.path().join("commitlog/00000000000000000000");
    RealDisk::new().open(&path, Open::Write).unwrap().set_len(0).unwrap();
    let read = store.log.slice(first, 90);
    assert!(matches!(read, Err(ReadError::Io { .. })), "{read:?}");
}

#[test]
fn a_full_disk_refuses_batches_and_the_store_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let space = Arc::new(AtomicI64::new(2));
    let left = Arc::clone(&space);
    let hook = move |call: &super::hook_disk::Call<'_>| match call.kind {
        Kind::Allocate if left.fetch_sub(1, Ordering::AcqRel) <= 0 => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    let mut store = ClassicStore::open(config(folder.path()), seams(hook)).unwrap();
    append(&mut store, vec![batch("A", 0, &[&[1; 900]])]);
    // Over four segments. There is space for the second one, not for the third.
    let large = || vec![batch("A", 0, &[&[2; 900]]); 10];
    for _ in 0..3 {
        let end = store.writer.end();
        let (mut refused, mut appended) = (large(), Vec::new());
        let result = store.writer.append(&mut refused, &mut appended);
        assert!(matches!(result, Err(AppendError::NoSpace { .. })), "{result:?}");
        assert!(appended.is_empty() && store.writer.end() == end && !store.log.is_poisoned());
        store.writer.flush().unwrap();
    }
    assert_eq!(files(&folder.path().join("commitlog")).len(), 2, "no name is left of what found no space");
    space.store(100, Ordering::Release);
    let appended = append(&mut store, large());
    assert_eq!(appended[0].queue_offset, QueueOffset(1), "no number was lost");
    store.writer.close().unwrap();
    assert_eq!(units(&classic(folder.path()).queues.queue("A", 0).unwrap()).len(), 11);
}

#[test]
fn consume_queues_wait_in_memory_while_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let hook = move |call: &super::hook_disk::Call<'_>| match is_full.load(Ordering::Acquire) {
        true if call.is(Kind::Write, "B") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    let mut store = ClassicStore::open(config(folder.path()), seams(hook)).unwrap();
    full.store(true, Ordering::Release);
    append(&mut store, vec![batch("A", 0, &[b"a"]), batch("B", 0, &[b"b"]), batch("C", 0, &[b"c"])]);
    store.writer.flush().unwrap();
    for _ in 0..2 {
        assert_eq!(store.queues.persist().unwrap_err().kind(), io::ErrorKind::StorageFull);
        let refused = store.writer.append(&mut [batch("A", 0, &[b"x"])], &mut Vec::new());
        assert!(matches!(refused, Err(AppendError::NoSpace { .. })), "{refused:?}");
    }
    assert!(!store.log.is_poisoned());
    assert_eq!(units(&store.queues.queue("B", 0).unwrap()).len(), 1, "consumers are served from memory");
    full.store(false, Ordering::Release);
    store.queues.persist().unwrap();
    append(&mut store, vec![batch("B", 0, &[b"d"])]);
    store.writer.close().unwrap();
    let store = classic(folder.path());
    assert_eq!(store.report.dispatched, 0);
    let lengths = ["A", "B", "C"].map(|topic| units(&store.queues.queue(topic, 0).unwrap()).len());
    assert_eq!(lengths, [1, 2, 1]);
}
