//! Cutting frames does not depend on how the bytes arrive, loses none, and holds no memory for what has not come.

use bytes::BytesMut;
use raftmq_remoting::{Codec, Frame, FrameDecoder, FrameError, RemotingCommand};

/// The first byte chooses how the rest is cut into reads.
pub fn run(input: &[u8]) {
    let Some((&step, stream)) = input.split_first() else { return };
    let (whole, whole_end) = cut(stream, stream.len().max(1));
    let (pieces, pieces_end) = cut(stream, usize::from(step).max(1));
    assert_eq!(whole, pieces);
    assert_eq!(whole_end, pieces_end);
    let framed: usize = whole.iter().map(|frame| 8 + frame.header.len() + frame.body.len()).sum();
    assert!(framed <= stream.len());
    if whole_end.is_ok() {
        assert_eq!(framed + whole_end.unwrap_or_default(), stream.len());
    }
    for frame in whole {
        check_command(frame);
    }
}

/// All frames, and how many bytes are left.
fn cut(stream: &[u8], step: usize) -> (Vec<Frame>, Result<usize, FrameError>) {
    let decoder = FrameDecoder::default();
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next_frame(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(buffer.capacity() <= 2 * stream.len() + 1024, "memory for bytes that have not come");
    }
    (frames, Ok(buffer.len()))
}

fn check_command(frame: Frame) {
    let body = frame.body.clone();
    if let Ok(command) = RemotingCommand::decode(frame) {
        assert_eq!(command.body, body);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut all = vec![7];
    for codec in [Codec::Json, Codec::RocketMq] {
        let request = RemotingCommand::request(310).with_codec(codec).with_field("a", "pg").with_body("hello");
        all.extend_from_slice(&request.to_bytes());
    }
    let mut lying = vec![3];
    lying.extend_from_slice(&[0x00, 0xff, 0xff, 0xfc, 0, 0, 0, 2, b'{', b'}']);
    vec![all, lying, vec![1, 0, 0, 0, 6, 0, 0, 0, 2, b'{', b'}']]
}
