use raftmq_model::offset::QueueOffset;

use super::support::*;

#[test]
fn many_queues_share_a_bounded_set_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    for round in 0..3u8 {
        for topic in 0..150 {
            let batches = (0..8).map(|queue| batch(&format!("T{topic}"), queue, &[&[round; 10]])).collect();
            append(&mut store, batches);
        }
        store.queues.persist().unwrap();
    }
    assert_eq!(store.queues.topics().len(), 150);
    for topic in 0..150 {
        let queue = store.queues.queue(&format!("T{topic}"), 7).unwrap();
        assert_eq!(units(&queue).len(), 3);
    }
    store.writer.close().unwrap();
    let store = classic(folder.path());
    assert_eq!(store.report.dispatched, 0);
    assert_eq!(units(&store.queues.queue("T149", 0).unwrap()).len(), 3);
}

#[test]
fn a_queue_that_begins_above_zero_is_filled_as_rocketmq_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    store.queues.begin_at("A", 0, QueueOffset(23));
    let appended = append(&mut store, vec![batch("A", 0, &[b"a", b"b"])]);
    assert_eq!(appended[0].queue_offset, QueueOffset(23));
    store.writer.close().unwrap();
    let found = files(&folder.path().join("consumequeue"));
    assert_eq!(found.len(), 1);
    assert!(found[0].0.ends_with("A/0/00000000000000000400"), "{}", found[0].0);
    let mut fill = [0u8; 20];
    fill[8..12].copy_from_slice(&0x7FFF_FFFFu32.to_be_bytes());
    assert_eq!(found[0].1.len(), 400);
    assert_eq!(found[0].1[..60], fill.repeat(3));
    let store = classic(folder.path());
    let queue = store.queues.queue("A", 0).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (QueueOffset(23), QueueOffset(25)));
}

#[test]
fn a_deleted_topic_is_gone_and_may_go_on_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    append(&mut store, vec![batch("A", 0, &[b"a", b"b"]), batch("B", 0, &[b"c"])]);
    store.queues.persist().unwrap();
    store.queues.delete_topic("A").unwrap();
    assert!(store.queues.queue("A", 0).is_none());
    assert!(!folder.path().join("consumequeue/A").exists());
    store.queues.begin_at("A", 0, QueueOffset(2));
    store.writer.forget_queue_offsets();
    assert_eq!(append(&mut store, vec![batch("A", 0, &[b"d"])])[0].queue_offset, QueueOffset(2));
    store.writer.close().unwrap();
    let store = classic(folder.path());
    assert_eq!(store.report.dispatched, 0, "the deleted queues are not missed");
    assert_eq!(store.queues.queue("A", 0).unwrap().min_offset(), QueueOffset(2));
}

#[test]
fn reading_spans_files_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = classic(folder.path());
    for _ in 0..5 {
        append(&mut store, vec![batch("A", 0, &[b"x".as_slice(); 8]); 4]);
        store.queues.persist().unwrap();
    }
    append(&mut store, vec![batch("A", 0, &[b"x".as_slice(); 3])]);
    let queue = store.queues.queue("A", 0).unwrap();
    let all = units(&queue);
    assert_eq!(all.len(), 163);
    for from in 0..170 {
        for count in [0, 1, 7, 25, 200] {
            let mut some = Vec::new();
            queue.read(QueueOffset(from), count, &mut some).unwrap();
            let expected: Vec<_> = all.iter().skip(from as usize).take(count).copied().collect();
            assert_eq!(some, expected, "{from} {count}");
        }
    }
}
