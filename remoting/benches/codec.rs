//! Nanoseconds of CPU per header: `cargo bench -p raftmq-remoting --bench codec` (Linux: the scheduler's own count, so
//! that busy neighbours disturb less).

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use raftmq_remoting::header::{PullMessageRequestHeader, SendMessageRequestHeader};
use raftmq_remoting::{Codec, FrameDecoder, RemotingCommand, ReplyBuffer, request_code};

/// Requests in one read, as a busy connection has them.
const BATCH: usize = 32;
const ROUNDS: usize = 20;
const BATCHES: usize = 2_000;

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for codec in [Codec::Json, Codec::RocketMq] {
        let read = send_requests(codec);
        best(&format!("{codec:?}: cut and decode"), || drop(black_box(decode(&read))));
        best(&format!("{codec:?}: cut, decode, typed send header"), || {
            for request in &decode(&read) {
                let _ = black_box(SendMessageRequestHeader::decode(request));
            }
        });
        best(&format!("{codec:?}: the same and answer"), || {
            let mut replies = ReplyBuffer::new();
            for request in &decode(&read) {
                let _ = black_box(SendMessageRequestHeader::decode(request));
                let fields = [
                    ("MSG_REGION", "DefaultRegion".into()),
                    ("TRACE_ON", true.into()),
                    ("msgId", "7F00000100002A9F0000000000001234".into()),
                    ("queueId", 3.into()),
                    ("queueOffset", 123_456i64.into()),
                ];
                replies.push(request.meta(), 0, None, &fields, b"");
            }
            drop(black_box(replies.into_segments()));
        });
    }
    let read = pull_requests();
    best("Json: cut, decode, typed pull header", || {
        for request in &decode(&read) {
            let _ = black_box(PullMessageRequestHeader::decode(&request.fields));
        }
    });
}

fn best(what: &str, mut batch: impl FnMut()) {
    let round = |batch: &mut dyn FnMut()| {
        let start = cpu_ns();
        for _ in 0..BATCHES {
            batch();
        }
        (cpu_ns() - start) as f64 / (BATCHES * BATCH) as f64
    };
    let fastest = (0..ROUNDS).map(|_| round(&mut batch)).fold(f64::INFINITY, f64::min);
    println!("{what}: {fastest:.0} ns per request");
}

/// Time that this thread has run.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

fn decode(read: &Bytes) -> Vec<RemotingCommand> {
    let mut input = BytesMut::from(read.as_ref());
    let mut requests = Vec::with_capacity(BATCH);
    while let Ok(Some(request)) = FrameDecoder::default().decode(&mut input) {
        requests.push(request);
    }
    assert_eq!(requests.len(), BATCH);
    requests
}

/// Small bodies: copying them is not what is measured here.
fn send_requests(codec: Codec) -> Bytes {
    let mut out = BytesMut::new();
    for opaque in 0..BATCH {
        let request = RemotingCommand {
            opaque: opaque as i32,
            ..RemotingCommand::request(request_code::SEND_MESSAGE_V2)
        }
        .with_codec(codec)
        .with_field("a", "ProducerGroupName")
        .with_field("b", "TopicTest")
        .with_field("c", "TBW102")
        .with_field("d", 4)
        .with_field("e", 1)
        .with_field("f", 0)
        .with_field("g", 1_700_000_000_000i64)
        .with_field("h", 0)
        .with_field(
            "i",
            "KEYS\u{1}OrderID188\u{2}UNIQ_KEY\u{1}7F00000100002A9F18B4AAC2000003E8\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA",
        )
        .with_field("j", 0)
        .with_field("k", false)
        .with_field("m", false)
        .with_field("n", "broker-a")
        .with_body("Hello world");
        request.encode(&mut out);
    }
    out.freeze()
}

fn pull_requests() -> Bytes {
    let header = PullMessageRequestHeader {
        consumer_group: "ConsumerGroupName".into(),
        topic: "TopicTest".into(),
        queue_id: 3,
        queue_offset: 1_234_567,
        max_msg_nums: 32,
        sys_flag: 3,
        commit_offset: 1_234_000,
        suspend_timeout_millis: 15_000,
        subscription: None,
        sub_version: 1_700_000_000_000,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
    };
    let mut out = BytesMut::new();
    for opaque in 0..BATCH {
        let request = RemotingCommand::request(request_code::PULL_MESSAGE).with_fields(header.to_fields());
        RemotingCommand { opaque: opaque as i32, ..request }.encode(&mut out);
    }
    out.freeze()
}
