//! Classic mode: RocketMQ's CRC covers the body only. What nothing contradicts is listed in docs/on-disk-format.md.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use raftmq_model::message_codec;
use raftmq_sim::SimMachine;
use raftmq_store::{ClassicStore, LogRecord, StoreConfig, records};

use crate::cases::{Harm, assert_refused, data_files, difference, for_each, segment};
use crate::support::{self, batch, read_classic};

pub(crate) const MAX_BODY_BYTES: usize = 512;

pub(crate) fn config() -> StoreConfig {
    support::config(MAX_BODY_BYTES)
}

/// A store as a kill left it.
pub(crate) struct Stopped {
    machine: SimMachine,
    /// Flushed mark on disk; consume queues are durable up to it.
    mark: usize,
    /// Start and bytes of each record.
    pub(crate) records: Vec<(usize, Bytes)>,
}

impl Stopped {
    fn end(&self) -> usize {
        self.records.last().map_or(0, |(start, bytes)| start + bytes.len())
    }

    fn records_before(&self, position: usize) -> &[(usize, Bytes)] {
        let kept = self.records.iter().take_while(|(start, bytes)| start + bytes.len() <= position).count();
        &self.records[..kept]
    }

    /// A copy to do harm to.
    pub(crate) fn copy(&self) -> SimMachine {
        self.machine.fork().restart()
    }
}

fn send(store: &mut ClassicStore, topic: &str, queue: i32, ids: &[u64], body_bytes: usize) {
    let mut batches = [batch(topic, queue, ids, body_bytes)];
    store.writer.append(&mut batches, &mut Vec::new()).unwrap();
    store.writer.flush().unwrap();
    for record in records(&batches[0].bytes) {
        if let (_, LogRecord::Message(message)) = record.unwrap() {
            store.queues.dispatch(&message).unwrap();
        }
    }
    store.queues.set_dispatched(store.writer.end(), None);
}

pub(crate) fn read_all(store: &ClassicStore) -> Vec<(usize, Bytes)> {
    read_classic(&store.log).unwrap().into_iter().map(|(at, bytes)| (at as usize, bytes)).collect()
}

/// Messages below the mark and behind it; `filler` batches of the largest size come first.
pub(crate) fn stopped(filler: u64) -> Stopped {
    let machine = support::machine(5);
    let mut store = ClassicStore::open(config(), machine.seams()).unwrap();
    for number in 0..filler {
        let ids: Vec<u64> = (0..16).map(|id| 10_000 + number * 100 + id).collect();
        send(&mut store, "F", 0, &ids, MAX_BODY_BYTES);
    }
    send(&mut store, "A", 0, &[1, 2], 60);
    send(&mut store, "B", 1, &[3], 20);
    send(&mut store, "A", 1, &[4], 10);
    send(&mut store, "A", 0, &[5], 33);
    machine.clock.advance(Duration::from_millis(1001));
    machine.spawn.run_until_idle();
    let mark = store.log.flushed().0 as usize;
    send(&mut store, "A", 0, &[6], 30);
    send(&mut store, "B", 0, &[7, 8], 40);
    send(&mut store, "B", 1, &[9], 50);
    let records = read_all(&store);
    machine.disk.kill();
    Stopped { machine, mark, records }
}

/// What happened to a store with one wrong bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Noticed,
    Unnoticed,
}

fn check(stopped: &Stopped, harm: Harm, position: usize) -> Seen {
    let what = format!("{harm:?} at {position} of {} (mark {})", stopped.end(), stopped.mark);
    let machine = stopped.copy();
    let bytes = machine.disk.files()[&segment()].clone();
    harm.apply(&machine, &segment(), position);
    let harmed = machine.fork();
    let opened = ClassicStore::open(config(), machine.seams());
    let below = harm.changes(&bytes, position, stopped.mark);
    let store = match opened {
        Err(error) if below => {
            machine.disk.kill();
            assert_refused(Err(error), harm, &harmed, &machine, &what);
            return Seen::Noticed;
        }
        opened => opened.unwrap_or_else(|error| panic!("{what}: {error}")),
    };
    let found = read_all(&store);
    let expected = stopped.records_before(position);
    let seen = match harm {
        Harm::FlipBit(_) if is_served(&found, stopped, position) => Seen::Unnoticed,
        _ => {
            assert!(!below, "{what}: opened with {} records", found.len());
            assert!(found == expected, "{what}: {} records, not the valid prefix of {}", found.len(), expected.len());
            let end = expected.last().map_or(0, |(start, bytes)| start + bytes.len());
            assert_eq!(store.log.end().0 as usize, end, "{what}");
            assert!(data_files(&machine)[&segment()][end..].iter().all(|byte| *byte == 0), "{what}: zeros behind");
            Seen::Noticed
        }
    };
    let first = data_files(&machine);
    let again = machine.restart();
    let store = ClassicStore::open(config(), again.seams()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    assert_eq!(read_all(&store), found, "{what}, opened again");
    assert!(data_files(&again) == first, "{what}: a second recovery changed {}", difference(&machine, &again));
    again.disk.kill();
    seen
}

/// Whether the record of this byte is still there, whatever it says now. Those behind it may be gone: a queue that
/// seems to begin at another offset makes its next message the one that does not fit.
fn is_served(found: &[(usize, Bytes)], stopped: &Stopped, position: usize) -> bool {
    let places = |records: &[(usize, Bytes)]| records.iter().map(|(at, bytes)| (*at, bytes.len())).collect::<Vec<_>>();
    found.len() > stopped.records_before(position).len() && places(&stopped.records).starts_with(&places(found))
}

/// RocketMQ's name of the field that holds this byte of a record.
fn field(record: &[u8], at: usize) -> &'static str {
    const HEAD: [(&str, usize); 15] = [
        ("totalSize", 4),
        ("magic", 4),
        ("bodyCRC", 4),
        ("queueId", 4),
        ("flag", 4),
        ("queueOffset", 8),
        ("physicalOffset", 8),
        ("sysFlag", 4),
        ("bornTimestamp", 8),
        ("bornHost", 8),
        ("storeTimestamp", 8),
        ("storeHost", 8),
        ("reconsumeTimes", 4),
        ("preparedTransactionOffset", 8),
        ("bodyLength", 4),
    ];
    let message = message_codec::decode(record).unwrap();
    let tail = [
        ("body", message.body.len()),
        ("topicLength", 1),
        ("topic", message.topic.len()),
        ("propertiesLength", 2),
        ("properties", message.properties.len()),
    ];
    let mut end = 0;
    let mut fields = HEAD.into_iter().chain(tail);
    fields
        .find(|(_, length)| {
            end += length;
            at < end
        })
        .map(|(name, _)| name)
        .unwrap()
}

/// How many flips of each field were noticed and unnoticed.
type Counts = BTreeMap<&'static str, (usize, usize)>;

fn word(counts: &Counts, field: &str) -> &'static str {
    match counts.get(field) {
        Some((_, 0)) | None => "noticed",
        Some((0, _)) => "unnoticed",
        Some(_) => "some bits",
    }
}

/// The rows of the table in the docs: fields of which a flip may go unnoticed.
fn table(below: &Counts, behind: &Counts) -> Vec<String> {
    let fields: std::collections::BTreeSet<_> = below.keys().chain(behind.keys()).collect();
    let rows = fields.into_iter().map(|field| (field, word(below, field), word(behind, field)));
    let rows = rows.filter(|(_, below, behind)| (*below, *behind) != ("noticed", "noticed"));
    rows.map(|(field, below, behind)| format!("| `{field}` | {below} | {behind} |")).collect()
}

#[test]
fn every_flip_in_a_classic_log_is_noticed_or_listed_in_the_docs() {
    let stopped = stopped(0);
    let (below, behind) = (Mutex::new(Counts::new()), Mutex::new(Counts::new()));
    let positions: Vec<usize> = (0..stopped.end()).collect();
    for_each(&positions, |position| {
        let (start, record) = stopped.records.iter().rev().find(|(start, _)| *start <= position).unwrap();
        for bit in 0..8 {
            let seen = check(&stopped, Harm::FlipBit(bit), position);
            let counts = if position < stopped.mark { &below } else { &behind };
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(field(record, position - start)).or_default();
            match seen {
                Seen::Noticed => count.0 += 1,
                Seen::Unnoticed => count.1 += 1,
            }
        }
    });
    let found = table(&below.into_inner().unwrap(), &behind.into_inner().unwrap());
    let docs = include_str!("../../../docs/on-disk-format.md");
    let section = docs.split("## What classic mode does not protect").nth(1).expect("the section is in the docs");
    let section = section.split("\n## ").next().unwrap_or(section);
    let listed: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, found, "the docs list {listed:#?}, the suite finds {found:#?}");
    println!("classic: {} flips, unnoticed in {} fields", positions.len() * 8, found.len());
}

#[test]
fn a_torn_tail_of_a_classic_log_is_cut_and_damage_below_the_mark_is_not() {
    let stopped = stopped(0);
    let positions: Vec<usize> = (0..=stopped.end()).collect();
    for harm in [Harm::Zero, Harm::Cut] {
        for_each(&positions, |position| assert_eq!(check(&stopped, harm, position), Seen::Noticed));
    }
    println!("classic: {} torn tails, {} cut files", positions.len(), positions.len());
}

/// Fields that a format of this kind can protect, in the first of two segments and in the blank that closes it.
#[test]
fn damage_in_a_full_classic_segment_is_reported() {
    let stopped = stopped(10);
    let segment_bytes = config().segment_bytes as usize;
    assert!(stopped.mark > segment_bytes, "the mark lies in the second segment");
    let last = stopped.records.iter().rev().find(|(start, _)| *start < segment_bytes).unwrap();
    let blank = last.0 + last.1.len();
    let protected = [0, 5, 9, 22, 30, 86, 100];
    let mut positions: Vec<usize> = (blank..blank + 8).collect();
    let in_first = stopped.records.iter().filter(|(start, _)| *start < segment_bytes);
    positions.extend(in_first.step_by(7).flat_map(|(start, _)| protected.map(|at| start + at)));
    for_each(&positions, |position| {
        let machine = stopped.copy();
        machine.disk.flip_bit(&segment(), position, (position % 8) as u8);
        let harmed = machine.fork();
        let opened = ClassicStore::open(config(), machine.seams());
        machine.disk.kill();
        let what = format!("flip at {position} of the first segment, blank at {blank}");
        assert_refused(opened.map(drop), Harm::FlipBit(0), &harmed, &machine, &what);
    });
    println!("classic: {} flips in a full segment", positions.len());
}
