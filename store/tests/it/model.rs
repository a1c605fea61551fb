//! Random append, flush, truncate and reopen against a plain `Vec`.

use proptest::prelude::*;
use raftmq_store::{AppendEntry, AppliedPoint, FrameId, FrameKind, ProposalRecord};

use super::support::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        bodies: Vec<usize>,
        queue: i32,
    },
    Blank,
    Flush,
    /// Keeps this share of the entries that were not applied, in 256ths.
    Truncate(u8),
    Apply,
    Persist,
    Kill,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (prop::collection::vec(0..900usize, 1..4), 0..3i32).prop_map(|(bodies, queue)| Step::Append { bodies, queue }),
        2 => Just(Step::Blank),
        2 => Just(Step::Flush),
        2 => any::<u8>().prop_map(Step::Truncate),
        3 => Just(Step::Apply),
        1 => Just(Step::Persist),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_raft_store_is_a_list_of_entries(steps in prop::collection::vec(step(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = raft(folder.path());
        let mut model: Vec<(FrameId, Vec<u8>)> = Vec::new();
        let (mut applied, mut term) = (0, 1);
        for step in steps {
            let next = FrameId { term, leader: 1, index: model.len() as u64 };
            match step {
                Step::Append { bodies, queue } => {
                    let bodies: Vec<Vec<u8>> = bodies.iter().map(|length| vec![b'x'; *length]).collect();
                    let mut records: Vec<_> =
                        bodies.iter().map(|body| ProposalRecord::Messages(batch("A", queue, &[body]))).collect();
                    if store.writer.append(AppendEntry::Proposal(next, &mut records), &mut Vec::new()).is_ok() {
                        store.writer.write().unwrap();
                        model.push((next, records.iter().flat_map(|record| record.bytes().to_vec()).collect()));
                    }
                }
                Step::Blank => {
                    store.writer.append(AppendEntry::Blank(next), &mut Vec::new()).unwrap();
                    store.writer.write().unwrap();
                    model.push((next, Vec::new()));
                }
                Step::Flush => barrier(&store),
                Step::Truncate(share) => {
                    barrier(&store);
                    let keep = applied + (model.len() - applied) * usize::from(share) / 256;
                    store.writer.truncate_after(keep.checked_sub(1).map(|index| index as u64)).unwrap();
                    store.writer.reset_queue_offsets();
                    model.truncate(keep);
                    term += 1;
                    // A new leader numbers on from the queues, so they must hold all that is left.
                    applied = apply(&store, applied);
                }
                Step::Apply => applied = apply(&store, applied),
                Step::Persist => store.queues.persist().unwrap(),
                Step::Kill => {
                    drop(store);
                    store = raft(folder.path());
                    applied = apply(&store, store.queues.applied().map_or(0, |point| point.id.index as usize + 1));
                }
                Step::Close => {
                    store.writer.close().unwrap();
                    drop((store.log, store.entries, store.queues, store.flusher));
                    store = raft(folder.path());
                    applied = apply(&store, store.queues.applied().map_or(0, |point| point.id.index as usize + 1));
                }
            }
            check(&store, &model);
        }
        store.writer.close().unwrap();
        let again = raft(folder.path());
        prop_assert_eq!(again.report.cut_at, None);
        check(&again, &model);
    }
}

fn apply(store: &raftmq_store::RaftStore, from: usize) -> usize {
    let end = store.entries.last().map_or(0, |last| last.index + 1);
    if (from as u64) < end {
        for frame in store.entries.read(from as u64, end, usize::MAX).unwrap() {
            if frame.header.kind == FrameKind::Data {
                dispatch(&store.queues, &frame.body());
            }
            store.queues.set_dispatched(frame.end(), Some(AppliedPoint { id: frame.header.id, end: frame.end() }));
        }
    }
    end as usize
}

fn check(store: &raftmq_store::RaftStore, model: &[(FrameId, Vec<u8>)]) {
    assert_eq!(store.entries.last(), model.last().map(|(id, _)| *id));
    if model.is_empty() {
        return;
    }
    let frames = store.entries.read(0, model.len() as u64, usize::MAX).unwrap();
    for (frame, (id, body)) in frames.iter().zip(model) {
        assert_eq!((frame.header.id, frame.body().as_ref()), (*id, &body[..]));
        assert_eq!(store.entries.id(id.index), Some(*id));
    }
}
