use raftmq_model::message_codec;
use raftmq_model::offset::{PhysicalOffset, QueueOffset};
use raftmq_model::sys_flag;
use raftmq_store::{AppendError, ClassicStore, EncodedMessages, OpenError};
use raftmq_sys::{Disk, Open, RealDisk, Seams};

use super::support::*;

#[test]
fn what_is_appended_is_read_and_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    let appended =
        append(&mut store, vec![batch("A", 0, &[b"a", b"b"]), batch("B", 1, &[b"c"]), batch("A", 0, &[b"d"])]);
    assert_eq!(appended.iter().map(|it| it.queue_offset.0).collect::<Vec<_>>(), [0, 0, 2]);
    assert_eq!(appended[0].rest.len(), 1);
    assert_eq!(body_at(&store.log, appended[0].rest[0]), b"b");
    assert_eq!(body_at(&store.log, appended[2].first), b"d");
    assert!(store.log.flushed() < store.log.end());
    store.writer.flush().unwrap();
    assert_eq!(store.log.flushed(), store.log.end());
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(3));
    assert!(store.log.slice(store.log.end(), 1).is_err());
}

#[test]
fn a_client_batch_never_crosses_a_segment_and_the_blank_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    let first = append(&mut store, vec![batch("A", 0, &[&[1; 900], &[2; 100]])])[0].clone();
    append(&mut store, vec![batch("A", 0, &[&[3; 1000]]), batch("A", 0, &[&[3; 800]])]);
    let end = store.writer.end();
    let rolled = append(&mut store, vec![batch("A", 0, &[&[4; 500], &[5; 500]])])[0].clone();
    assert_eq!(first.first, PhysicalOffset(0));
    assert_eq!(rolled.first, PhysicalOffset(SEGMENT_BYTES));
    let segment = RealDisk::new().read(&folder.path().join("commitlog/00000000000000000000")).unwrap();
    let at = end.0 as usize;
    assert_eq!(segment[at..at + 4], ((SEGMENT_BYTES - end.0) as u32).to_be_bytes());
    assert_eq!(segment[at + 4..at + 8], message_codec::BLANK_MAGIC.to_be_bytes());
    assert!(segment[at + 8..].iter().all(|byte| *byte == 0));
}

#[test]
fn half_messages_take_no_queue_offset() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    for flag in [0, sys_flag::TRANSACTION_PREPARED, sys_flag::TRANSACTION_ROLLBACK, sys_flag::TRANSACTION_COMMIT] {
        let mut bytes = Vec::new();
        message("A", 0, flag, b"x", &mut bytes);
        append(&mut store, vec![EncodedMessages { topic: "A".into(), queue_id: 0, count: 1, bytes }]);
    }
    assert_eq!(units(&store.queues.queue("A", 0).unwrap()).len(), 2);
}

#[test]
fn too_large_and_malformed_batches_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    let mut appended = Vec::new();
    let result = store.writer.append(&mut [batch("A", 0, &[b"x"]), batch("A", 0, &[&[0; 1300]])], &mut appended);
    assert!(matches!(result, Err(AppendError::MessageTooLarge { limit_bytes: 1280, .. })), "{result:?}");
    let mut wrong = batch("A", 0, &[b"x"]);
    wrong.count = 2;
    let result = store.writer.append(&mut [wrong], &mut appended);
    assert!(matches!(result, Err(AppendError::Malformed { .. })), "{result:?}");
    assert_eq!(store.writer.end(), PhysicalOffset(0));
    assert_eq!(append(&mut store, vec![batch("A", 0, &[b"x"])])[0].queue_offset, QueueOffset(0));
}

#[test]
fn a_closed_store_opens_with_everything_and_looks_at_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    for index in 0..100u8 {
        append(&mut store, vec![batch("A", 0, &[&[index; 200]])]);
    }
    let (end, before) = (store.writer.end(), units(&store.queues.queue("A", 0).unwrap()));
    store.writer.close().unwrap();
    assert!(!folder.path().join("abort").exists());
    let config = raftmq_store::StoreConfig { verify_at_open_bytes: 0, ..config(folder.path()) };
    let mut store = ClassicStore::open(config, Seams::real()).unwrap();
    assert!(folder.path().join("abort").exists());
    // The last run verified this much; from now on only what follows the end.
    assert_eq!(store.report.cut_at, None);
    assert_eq!((store.writer.end(), units(&store.queues.queue("A", 0).unwrap())), (end, before));
    assert_eq!(append(&mut store, vec![batch("A", 0, &[b"x"])])[0].queue_offset, QueueOffset(100));
    store.writer.close().unwrap();
    let config = raftmq_store::StoreConfig { verify_at_open_bytes: 0, ..super::support::config(folder.path()) };
    let store = ClassicStore::open(config, Seams::real()).unwrap();
    assert!(store.report.scanned_bytes < 200, "{:?}", store.report);
}

#[test]
fn a_killed_store_opens_with_everything_the_kernel_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    for index in 0..100u8 {
        append(&mut store, vec![batch("A", i32::from(index % 3), &[&[index; 200]])]);
    }
    let end = store.writer.end();
    drop(store);
    let store = classic(folder.path());
    assert_eq!(store.writer.end(), end);
    assert_eq!((store.report.cut_at, store.report.dispatched), (None, 100));
    assert_eq!(units(&store.queues.queue("A", 1).unwrap()).len(), 33);
}

#[test]
fn deleted_consume_queues_come_back_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    for index in 0..100u8 {
        append(&mut store, vec![batch(["A", "B"][usize::from(index % 2)], 0, &[&[index; 200]])]);
    }
    store.writer.close().unwrap();
    let queues = folder.path().join("consumequeue");
    let before = files(&queues);
    for removed in [queues.clone(), queues.join("A")] {
        RealDisk::new().remove_dir_all(&removed).unwrap();
        let store = classic(folder.path());
        assert_eq!(store.report.dispatched, 100);
        store.writer.close().unwrap();
        assert!(files(&queues) == before, "{}", removed.display());
    }
}

#[test]
fn a_torn_tail_is_cut_and_damage_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    append(&mut store, vec![batch("A", 0, &[&[1; 200]])]);
    store.writer.close().unwrap();
    let mut store = classic(folder.path());
    let good = append(&mut store, vec![batch("A", 0, &[&[2; 200]])])[0].first;
    let torn = append(&mut store, vec![batch("A", 0, &[&[3; 200]])])[0].first;
    let end = store.writer.end();
    drop(store);
    let path = folder.path().join("commitlog/00000000000000000000");
    let flip = |at: u64| {
        let file = RealDisk::new().open(&path, Open::Write).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1], at).unwrap();
    };
    flip(torn.0 + 100);
    let store = classic(folder.path());
    assert_eq!(store.report.cut_at, Some(torn));
    assert_eq!(store.report.cut_bytes, end.0 - torn.0);
    assert_eq!(store.writer.end(), torn);
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(2));
    drop(store);
    let store = classic(folder.path());
    assert_eq!((store.report.cut_at, store.report.cut_bytes), (None, 0));
    drop(store);
    flip(good.0 + 100);
    let before = files(folder.path());
    let error = ClassicStore::open(config(folder.path()), Seams::real()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { offset, .. } if offset == good), "{error}");
    assert!(files(folder.path()) == before);
}

#[test]
fn a_second_process_and_another_kind_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = classic(folder.path());
    let error = ClassicStore::open(config(folder.path()), Seams::real()).err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    store.writer.close().unwrap();
    let error = raftmq_store::RaftStore::open(config(folder.path()), Seams::real()).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("classic store") && text.contains("raft store"), "{text}");
    let larger = raftmq_store::StoreConfig { segment_bytes: 8192, ..config(folder.path()) };
    let error = ClassicStore::open(larger, Seams::real()).err().unwrap();
    assert!(error.to_string().contains("4096") && error.to_string().contains("8192"), "{error}");
}

#[test]
fn rocketmqs_folder_without_a_marker_is_classic_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    append(&mut store, vec![batch("A", 0, &[b"x"])]);
    store.writer.close().unwrap();
    for name in ["store-mode", "mark"] {
        RealDisk::new().remove_file(&folder.path().join(name)).unwrap();
    }
    let error = raftmq_store::RaftStore::open(config(folder.path()), Seams::real()).err().unwrap();
    assert!(error.to_string().contains("RocketMQ"), "{error}");
    assert_eq!(classic(folder.path()).report.entries, 1);
}

#[test]
fn the_checkpoint_tells_damage_in_a_store_without_our_mark() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    let mut at = Vec::new();
    for index in 0..5u8 {
        at.push(append(&mut store, vec![batch("A", 0, &[&[index; 200]])])[0].first.0);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    store.writer.close().unwrap();
    RealDisk::new().remove_file(&folder.path().join("mark")).unwrap();
    let path = folder.path().join("commitlog/00000000000000000000");
    let file = RealDisk::new().open(&path, Open::Write).unwrap();
    file.write_at(&[0xFF], at[3] + 95).unwrap();
    let error = ClassicStore::open(config(folder.path()), Seams::real()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { offset, .. } if offset.0 == at[3]), "{error}");
    // An older checkpoint and an unclean stop: a torn tail.
    RealDisk::new().remove_file(&folder.path().join("checkpoint")).unwrap();
    RealDisk::new().open(&folder.path().join("abort"), Open::Create).unwrap();
    let store = classic(folder.path());
    assert_eq!(store.writer.end().0, at[3]);
    assert_eq!(store.queues.queue("A", 0).unwrap().max_offset(), QueueOffset(3));
}

#[test]
fn offsets_are_found_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(append(&mut store, vec![batch("A", 0, &[b"x"])])[0].store_timestamp);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let queue = store.queues.queue("A", 0).unwrap();
    let by_time = |time| raftmq_store::offset_by_time(&store.log, &queue, time).unwrap().0;
    assert_eq!((by_time(0), by_time(i64::MAX)), (0, 3));
    for (offset, time) in times.iter().enumerate() {
        assert_eq!(by_time(*time), offset as u64);
    }
    assert_eq!((by_time(times[1] + 1), by_time(times[2] - 1)), (1, 2));
    assert_eq!(raftmq_store::earliest_store_time(&store.log, &queue).unwrap(), Some(times[0]));
}

#[test]
fn units_that_rocketmq_computed_otherwise_are_kept() {
    for is_clean in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = classic(folder.path());
        append(&mut store, vec![batch("A", 0, &[b"x", b"y"])]);
        store.writer.close().unwrap();
        RealDisk::new().remove_file(&folder.path().join("mark")).unwrap();
        if !is_clean {
            RealDisk::new().open(&folder.path().join("abort"), Open::Create).unwrap();
        }
        let path = folder.path().join("consumequeue/A/0/00000000000000000000");
        RealDisk::new().open(&path, Open::Write).unwrap().write_at(&7u64.to_be_bytes(), 12).unwrap();
        for _ in 0..2 {
            let store = classic(folder.path());
            let codes: Vec<_> = units(&store.queues.queue("A", 0).unwrap()).iter().map(|unit| unit.tags_code).collect();
            assert_eq!(codes, [7, 2_598_919], "clean: {is_clean}");
        }
    }
}

#[test]
fn a_unit_that_the_log_contradicts_is_damage_until_the_queues_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    append(&mut store, vec![batch("A", 0, &[b"x", b"y"])]);
    store.writer.close().unwrap();
    let path = folder.path().join("consumequeue/A/0/00000000000000000000");
    RealDisk::new().open(&path, Open::Write).unwrap().write_at(&7u64.to_be_bytes(), 12).unwrap();
    let error = ClassicStore::open(config(folder.path()), Seams::real()).err().unwrap();
    assert!(error.to_string().contains("remove the folder consumequeue"), "{error}");
    RealDisk::new().remove_dir_all(&folder.path().join("consumequeue")).unwrap();
    assert_eq!(classic(folder.path()).report.dispatched, 2);
}
