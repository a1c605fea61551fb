//! A small program's configuration from end to end: golden texts of errors, warnings and dumps.

use std::time::Duration;

use raftmq_config::{Kind, Reload, config, config_choice, field, parse, render_all, render_important};

config_choice! {
    pub enum FlushDiskType {
        AsyncFlush = "ASYNC_FLUSH",
        SyncFlush = "SYNC_FLUSH",
    }
}

config! {
    /// Keys of a program that only this test has.
    pub struct SampleConfig accepts [&["sendMessageThreadPoolNums", "timerRocksDB*"]] {
        /// Name of the group.
        "brokerName" => broker_name: String = "broker-a".to_owned(), [restart important];
        /// Port, 1 to 65535.
        "listenPort" => listen_port: u16 = 10911, [restart important] in 1..=65535;
        /// When an acknowledged message is on disk.
        "flushDiskType" => flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, [restart];
        /// Bytes of a commitlog file.
        "mappedFileSizeCommitLog" | "mapedFileSizeCommitLog" => segment_bytes: u64 = 1 << 30, [restart];
        /// Milliseconds between flushes.
        "flushIntervalCommitLog" => flush_interval: Duration = Duration::from_millis(500), [hot] in 1..=60_000;
        /// Whether pulls wait for messages.
        "longPollingEnable" => long_polling: bool = true, [hot];
    }
}

fn errors(text: &str) -> String {
    parse::<SampleConfig>("broker.conf", text.as_bytes()).expect_err("the text has errors").to_string()
}

#[test]
fn a_file_sets_fields_and_the_rest_keeps_its_default() {
    let text = "brokerName = b \nlistenPort: 30911\nflushDiskType=SYNC_FLUSH\nflushIntervalCommitLog=20\n";
    let loaded = parse::<SampleConfig>("broker.conf", text.as_bytes()).unwrap();
    assert_eq!(
        loaded.config,
        SampleConfig {
            broker_name: "b".to_owned(),
            listen_port: 30911,
            flush_disk_type: FlushDiskType::SyncFlush,
            flush_interval: Duration::from_millis(20),
            ..SampleConfig::default()
        }
    );
    assert!(loaded.is_given("flushDiskType") && !loaded.is_given("longPollingEnable"));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn every_error_of_a_file_is_told_with_its_place() {
    let text = "brokerNmae=b\n\n  flushDiskType=SYNC\nlistenPort=0\nlistenPort=70000\nflushIntervalCommitLog=1s\n\
                longPollingEnable=on\ncolour=red\n";
    assert_eq!(
        errors(text),
        "broker.conf:1:1: unknown key `brokerNmae`, nearest key is `brokerName`\n\
         broker.conf:3: flushDiskType: `SYNC` is none of ASYNC_FLUSH, SYNC_FLUSH\n\
         broker.conf:4: listenPort: `0` is outside 1..=65535\n\
         broker.conf:5: listenPort: `70000` is outside 0..=65535\n\
         broker.conf:6: flushIntervalCommitLog: `1s` is not a whole number\n\
         broker.conf:7: longPollingEnable: `on` is none of true, false\n\
         broker.conf:8:1: unknown key `colour`"
    );
    assert_eq!(errors("a=1\nb=\\u12"), "broker.conf:2:3: \\u needs four hexadecimal digits");
    let encoding = parse::<SampleConfig>("broker.conf", b"a=1\n\xff").unwrap_err();
    assert_eq!(encoding.to_string(), "broker.conf: byte 4 is not UTF-8");
}

#[test]
fn historic_spellings_set_the_field_and_foreign_keys_warn() {
    let text = "mapedFileSizeCommitLog=1048576\nsendMessageThreadPoolNums=16\nbrokerName=a\nbrokerName=b\n\
                timerRocksDBEnable=true\n";
    let loaded = parse::<SampleConfig>("broker.conf", text.as_bytes()).unwrap();
    assert_eq!(loaded.config.segment_bytes, 1 << 20);
    assert_eq!(loaded.config.broker_name, "b");
    assert_eq!(
        loaded.warnings,
        [
            "broker.conf:2: sendMessageThreadPoolNums is a key of RocketMQ without effect in RaftMQ",
            "broker.conf:4: brokerName is also in line 3, this one counts",
            "broker.conf:5: timerRocksDBEnable is a key of RocketMQ without effect in RaftMQ",
        ]
    );
}

#[test]
fn dumps_are_sorted_and_read_back() {
    let config = SampleConfig::default();
    assert_eq!(
        render_all(&config),
        "brokerName=broker-a\nflushDiskType=ASYNC_FLUSH\nflushIntervalCommitLog=500\nlistenPort=10911\n\
         longPollingEnable=true\nmappedFileSizeCommitLog=1073741824\n"
    );
    assert_eq!(render_important(&config), "brokerName=broker-a\nlistenPort=10911\n");
    let again = parse::<SampleConfig>("dump", render_all(&config).as_bytes()).unwrap();
    assert_eq!(again.config, config);
}

#[test]
fn fields_tell_kind_reload_and_doc() {
    let interval = field::<SampleConfig>("flushIntervalCommitLog").unwrap();
    assert_eq!((interval.kind, interval.reload, interval.important), (Kind::Millis, Reload::Hot, false));
    assert_eq!(interval.doc, " Milliseconds between flushes.\n");
    let flush = field::<SampleConfig>("flushDiskType").unwrap();
    assert_eq!(flush.kind, Kind::Choice(&["ASYNC_FLUSH", "SYNC_FLUSH"]));
}
