use std::path::Path;

use raftmq_model::offset::QueueOffset;
use raftmq_model::subscription::SubscriptionGroupConfig;
use raftmq_model::topic::TopicConfig;
use raftmq_sim::disk::{Faults, Lies, Moment};
use raftmq_sim::{SimDisk, SimMachine};
use raftmq_sys::{Open, RealDisk};

use super::*;
use crate::state_machine::{Command, ConsumerOffsetTable, OffsetCommit};

const TOPICS: &str = r#"{
	"dataVersion":{
		"counter":2,
		"timestamp":1700000000000
	},
	"topicConfigTable":{
		"T":{
			"order":false,
			"perm":6,
			"readQueueNums":8,
			"topicFilterType":"SINGLE_TAG",
			"topicName":"T",
			"topicSysFlag":0,
			"writeQueueNums":8
		},
		"U":{
			"order":true,
			"perm":6,
			"readQueueNums":1,
			"topicFilterType":"SINGLE_TAG",
			"topicName":"U",
			"topicSysFlag":0,
			"writeQueueNums":1
		}
	}
}"#;

const GROUPS: &str = r#"{
	"dataVersion":{
		"counter":1,
		"timestamp":1700000000000
	},
	"subscriptionGroupTable":{
		"cg":{
			"brokerId":0,
			"consumeBroadcastEnable":true,
			"consumeEnable":true,
			"consumeFromMinEnable":true,
			"groupName":"cg",
			"notifyConsumerIdsChangedEnable":true,
			"retryMaxTimes":16,
			"retryQueueNums":1,
			"whichBrokerWhenConsumeSlowly":1
		}
	}
}"#;

const OFFSETS: &str = "{\n\t\"offsetTable\":{\n\t\t\"%RETRY%cg@cg\":{0:1\n\t\t},\n\t\t\"T@cg\":{0:5,1:6\n\t\t}\n\t}\n}";

const AT: i64 = 1_700_000_000_000;

fn apply(tables: &Tables, commands: &[Command]) -> Changes {
    let mut changes = Changes::default();
    for command in commands {
        tables.apply(command, &mut changes);
    }
    changes
}

fn commit(topic: &str, queue_id: i32, offset: u64) -> OffsetCommit {
    OffsetCommit { group: "cg".to_owned(), topic: topic.to_owned(), queue_id, offset: QueueOffset(offset) }
}

fn example(tables: &Tables) -> Changes {
    let mut ordered = TopicConfig::new("U", 1, 6);
    ordered.order = true;
    let put = |config| Command::PutTopic { config, from_auto_create: false, at_unix_ms: AT };
    let group = SubscriptionGroupConfig::new("cg");
    let commits = vec![commit("T", 1, 6), commit("T", 0, 5), commit("%RETRY%cg", 0, 1)];
    apply(
        tables,
        &[
            put(TopicConfig::new("T", 8, 6)),
            put(ordered),
            Command::PutGroup { config: group, from_auto_create: false, at_unix_ms: AT },
            Command::CommitOffsets { commits },
        ],
    )
}

fn text(root: &Path, name: &str) -> Option<String> {
    RealDisk::new().read(&root.join("config").join(name)).ok().map(|bytes| String::from_utf8(bytes).unwrap())
}

fn put_file(root: &Path, name: &str, content: &str) {
    let disk = RealDisk::new();
    disk.create_dir_all(&root.join("config")).unwrap();
    disk.open(&root.join("config").join(name), Open::Truncate).unwrap().write_at(content.as_bytes(), 0).unwrap();
}

fn open(root: &Path) -> JsonConfig {
    JsonConfig::open(Arc::new(RealDisk::new()), root).unwrap()
}

#[test]
fn files_are_rocketmqs_byte_for_byte() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, tables) = (open(root.path()), Tables::default());
    config.load(&tables).unwrap();
    let changes = example(&tables);
    config.save(&tables, &changes).unwrap();
    assert_eq!(text(root.path(), "topics.json").unwrap(), TOPICS);
    assert_eq!(text(root.path(), "subscriptionGroup.json").unwrap(), GROUPS);
    assert_eq!(text(root.path(), "consumerOffset.json"), None, "offsets wait for their interval");
    config.flush_offsets(&tables).unwrap();
    assert_eq!(text(root.path(), "consumerOffset.json").unwrap(), OFFSETS);
    let again = Tables::default();
    config.load(&again).unwrap();
    assert_eq!(again.topics.all(), tables.topics.all());
    assert_eq!(again.groups.all(), tables.groups.all());
    assert_eq!(again.consumer_offsets.get("cg", "T", 1), Some(QueueOffset(6)));
}

#[test]
fn only_what_changed_is_written_and_the_old_file_becomes_the_backup() {
    let root = tempfile::tempdir().unwrap();
    let (mut config, tables) = (open(root.path()), Tables::default());
    config.save(&tables, &example(&tables)).unwrap();
    config.flush_offsets(&tables).unwrap();
    put_file(root.path(), "subscriptionGroup.json", "untouched");
    put_file(root.path(), "delayOffset.json", "untouched");
    let delete = Command::DeleteTopic { topic: "U".to_owned(), ends: Vec::new(), at_unix_ms: AT };
    let changes = apply(&tables, &[delete]);
    config.save(&tables, &changes).unwrap();
    config.flush_offsets(&tables).unwrap();
    assert_eq!(text(root.path(), "topics.json.bak").unwrap(), TOPICS);
    assert!(!text(root.path(), "topics.json").unwrap().contains("\"U\""));
    assert_eq!(text(root.path(), "topics.json.tmp"), None);
    assert_eq!(text(root.path(), "subscriptionGroup.json").unwrap(), "untouched");
    assert_eq!(text(root.path(), "delayOffset.json").unwrap(), "untouched");
    assert_eq!(text(root.path(), "consumerOffset.json.bak"), None, "no offset has changed");
}

#[test]
fn a_broken_file_is_replaced_by_its_backup() {
    for broken in ["", " \n", "{\"topicConfigTable\":{\"T\":"] {
        let root = tempfile::tempdir().unwrap();
        put_file(root.path(), "topics.json", broken);
        put_file(root.path(), "topics.json.bak", TOPICS);
        let tables = Tables::default();
        open(root.path()).load(&tables).unwrap();
        assert_eq!(tables.topics.len(), 2, "{broken:?}");
    }
}

#[test]
fn a_broken_file_without_backup_stops_the_start() {
    let root = tempfile::tempdir().unwrap();
    put_file(root.path(), "topics.json", "{\"topicConfigTable\":");
    let error = open(root.path()).load(&Tables::default()).unwrap_err();
    assert!(error.to_string().contains("topics.json"), "{error}");
}

#[test]
fn files_of_other_versions_are_read() {
    let root = tempfile::tempdir().unwrap();
    put_file(
        root.path(),
        "topics.json",
        r#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":9},"topicConfigTable":{"T":{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}"#,
    );
    put_file(
        root.path(),
        "subscriptionGroup.json",
        r#"{"dataVersion":{"counter":1,"timestamp":9},"forbiddenTable":{},"subscriptionGroupTable":{"cg":{"attributes":{},"brokerId":0,"consumeEnable":false,"groupName":"cg","groupRetryPolicy":{"type":"CUSTOMIZED"},"retryMaxTimes":2}}}"#,
    );
    put_file(
        root.path(),
        "consumerOffset.json",
        "{\"dataVersion\":{\"counter\":1},\"offsetTable\":{\"T@a@b\":{\"0\":5,1:-1},\"bare\":{0:1}}}",
    );
    let tables = Tables::default();
    open(root.path()).load(&tables).unwrap();
    assert_eq!(tables.topics.get("T").unwrap().read_queue_nums, 4);
    assert_eq!(tables.topics.data_version().counter, 3);
    let group = tables.groups.get("cg").unwrap();
    assert_eq!((group.consume_enable, group.retry_max_times, group.retry_queue_nums), (false, 2, 1));
    assert_eq!(tables.consumer_offsets.get("a@b", "T", 0), Some(QueueOffset(5)));
    assert_eq!(tables.consumer_offsets.get("a@b", "T", 1), None);
}

#[test]
fn empty_tables_are_written_as_fastjson_does() {
    assert_eq!(consumer_offsets::write(&ConsumerOffsetTable::default()), "{\n\t\"offsetTable\":{}\n}");
    let tables = Tables::default();
    assert!(topics::write(&tables.topics).ends_with("\"topicConfigTable\":{}\n}"));
}

#[test]
fn a_broken_file_never_replaces_a_good_backup() {
    let root = tempfile::tempdir().unwrap();
    put_file(root.path(), "topics.json", "{\"topicConfigTable\":");
    put_file(root.path(), "topics.json.bak", TOPICS);
    let (mut config, tables) = (open(root.path()), Tables::default());
    config.load(&tables).unwrap();
    let put =
        |name| Command::PutTopic { config: TopicConfig::new(name, 1, 6), from_auto_create: false, at_unix_ms: AT };
    config.save(&tables, &apply(&tables, &[put("V")])).unwrap();
    assert_eq!(text(root.path(), "topics.json.bak").unwrap(), TOPICS);
    config.save(&tables, &apply(&tables, &[put("W")])).unwrap();
    let backup = text(root.path(), "topics.json.bak").unwrap();
    assert!(backup.contains("\"V\"") && !backup.contains("\"W\""));
}

const ROOT: &str = "/store";

/// Saves a topic with 1, 2, 3 queues; the number of saves that returned.
fn three_saves(disk: &Arc<SimDisk>) -> usize {
    let put = |queues| Command::PutTopic {
        config: TopicConfig::new("T", queues, 6),
        from_auto_create: false,
        at_unix_ms: AT,
    };
    let tables = Tables::default();
    let Ok(mut config) = JsonConfig::open(disk.clone(), Path::new(ROOT)) else { return 0 };
    let saved = (1..=3).take_while(|queues| {
        config.load(&tables).is_ok() && config.save(&tables, &apply(&tables, &[put(*queues)])).is_ok()
    });
    saved.count()
}

/// Kills the process at every call of the disk and then cuts the power: how many starts found something else than the
/// last save that had returned, or the one after it.
fn losses(faults: &Faults) -> usize {
    let fresh = || {
        let machine = SimMachine::new(1);
        machine.make_directory(Path::new(ROOT)).unwrap();
        machine.disk.clone()
    };
    let whole = fresh();
    assert_eq!(three_saves(&whole), 3);
    let mut losses = 0;
    for call in 0..whole.calls().len() as u64 {
        for seed in 0..8 {
            let moment = if seed % 2 == 0 { Moment::Before } else { Moment::After };
            let disk = fresh();
            disk.set_faults(Faults { kill: Some((call, moment)), ..faults.clone() });
            let returned = three_saves(&disk);
            disk.power_cut(seed);
            let (tables, disk) = (Tables::default(), Arc::new(disk.reboot()));
            let loaded = JsonConfig::open(disk, Path::new(ROOT)).unwrap().load(&tables);
            let found = tables.topics.get("T").map_or(0, |topic| topic.write_queue_nums as usize);
            losses += usize::from(loaded.is_err() || found < returned || found > returned + 1);
        }
    }
    losses
}

#[test]
fn a_crash_at_any_point_keeps_what_was_saved() {
    assert_eq!(losses(&Faults::default()), 0);
}

#[test]
fn the_crash_test_notices_a_sync_that_is_left_out() {
    assert_ne!(losses(&Faults { sync_data_lies: Lies::Everybody, ..Faults::default() }), 0);
    assert_ne!(losses(&Faults { sync_dir_lies: true, ..Faults::default() }), 0);
}
