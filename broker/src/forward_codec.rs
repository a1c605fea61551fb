//! Client requests on their way from a member to the leader, and the answers on their way back.
//!
//! Request: `u8 version 2, u8 language, i32 client version, u16 n, peer address, u16 n, client id, u32 age in milliseconds,
//! u32 count`, then `count` remoting frames as they are on the wire. Answer: `u8 0` and frames, or `u8 1`: not the leader.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raftmq_remoting::{ClientIdentity, FrameDecoder, Language, RemotingCommand};

const VERSION: u8 = 2;
const ANSWER_REPLIES: u8 = 0;
const ANSWER_NOT_LEADER: u8 = 1;

/// What the leader gets.
pub(crate) struct ForwardedRequests {
    pub(crate) peer: SocketAddr,
    pub(crate) client: ClientIdentity,
    /// How long ago the oldest of them came to the member that has passed them on.
    pub(crate) age: Duration,
    pub(crate) requests: Vec<RemotingCommand>,
}

/// What comes back.
pub(crate) enum Answer {
    /// Frames for the client, as they are.
    Replies(Bytes),
    NotLeader,
}

/// Bytes that the fields of a request may have to be passed on. The largest that RocketMQ's clients send is the 32 KiB of
/// a message's properties; encoded anew, control characters take six bytes each.
const MAX_FIELD_BYTES: usize = 96 << 10;
/// What a request takes beside its fields and body, about.
const FIXED_BYTES: usize = 512;

/// Bytes of the fields of a request.
fn field_bytes(request: &RemotingCommand) -> usize {
    request.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// What a request takes on its way.
pub(crate) fn request_bytes(request: &RemotingCommand) -> usize {
    request.body.len() + field_bytes(request) + FIXED_BYTES
}

/// Why a request cannot be passed on, if it cannot: one that is over the link's limit would take the link away from all
/// other clients of this member.
pub(crate) fn check_size(request: &RemotingCommand, max_body_bytes: usize) -> Result<(), String> {
    let fields = field_bytes(request);
    if fields > MAX_FIELD_BYTES {
        return Err(format!("header fields of {fields} bytes exceed {MAX_FIELD_BYTES}"));
    }
    let body = request.body.len();
    if body > max_body_bytes {
        return Err(format!("body of {body} bytes exceeds {max_body_bytes} (maxMessageSize + 64 KiB)"));
    }
    Ok(())
}

pub(crate) fn encode_request(
    peer: SocketAddr,
    client: &ClientIdentity,
    age: Duration,
    requests: &[RemotingCommand],
) -> Bytes {
    let peer = peer.to_string();
    let mut out = BytesMut::with_capacity(64 + requests.iter().map(request_bytes).sum::<usize>());
    out.put_u8(VERSION);
    out.put_u8(client.language.code());
    out.put_i32(client.version);
    put_text(&mut out, &peer);
    put_text(&mut out, &client.client_id);
    out.put_u32(u32::try_from(age.as_millis()).unwrap_or(u32::MAX));
    out.put_u32(requests.len() as u32);
    for request in requests {
        request.encode(&mut out);
    }
    out.freeze()
}

/// Addresses and client ids are short; what does not fit is cut at a character.
fn put_text(out: &mut BytesMut, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.put_u16(end as u16);
    out.put_slice(&text.as_bytes()[..end]);
}

fn take_text(bytes: &mut Bytes) -> Option<String> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    if bytes.len() < length {
        return None;
    }
    String::from_utf8(bytes.split_to(length).to_vec()).ok()
}

/// `None`: another version of this codec, or not one of ours.
pub(crate) fn decode_request(mut bytes: Bytes) -> Option<ForwardedRequests> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let language = Language::from_code(bytes.try_get_u8().ok()?);
    let version = bytes.try_get_i32().ok()?;
    let peer = take_text(&mut bytes)?.parse().ok()?;
    let client_id = take_text(&mut bytes)?;
    let age = Duration::from_millis(u64::from(bytes.try_get_u32().ok()?));
    let count = bytes.try_get_u32().ok()? as usize;
    let frames = FrameDecoder::default();
    let mut input = BytesMut::from(bytes);
    let mut requests = Vec::new();
    while let Some(request) = frames.decode(&mut input).ok()? {
        requests.push(request);
    }
    if requests.len() != count || !input.is_empty() {
        return None;
    }
    Some(ForwardedRequests { peer, client: ClientIdentity { language, version, client_id }, age, requests })
}

pub(crate) fn encode_replies(frames: &[Bytes]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + frames.iter().map(Bytes::len).sum::<usize>());
    out.put_u8(ANSWER_REPLIES);
    for frame in frames {
        out.put_slice(frame);
    }
    out.freeze()
}

pub(crate) fn encode_not_leader() -> Bytes {
    Bytes::from_static(&[ANSWER_NOT_LEADER])
}

pub(crate) fn decode_answer(mut bytes: Bytes) -> Option<Answer> {
    match bytes.try_get_u8().ok()? {
        ANSWER_REPLIES => Some(Answer::Replies(bytes)),
        ANSWER_NOT_LEADER => Some(Answer::NotLeader),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body_bytes: usize) -> RemotingCommand {
        RemotingCommand::request(10).with_field("topic", "T").with_body(vec![7; body_bytes])
    }

    #[test]
    fn requests_come_out_as_they_went_in() {
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let client = ClientIdentity { language: Language::Go, version: 317, client_id: "c@1".to_owned() };
        let age = Duration::from_millis(730);
        let sent = [request(3), request(0).with_oneway()];
        let received = decode_request(encode_request(peer, &client, age, &sent)).unwrap();
        assert_eq!((received.peer, received.client, received.age), (peer, client, age));
        assert_eq!(received.requests.len(), 2);
        for (sent, received) in sent.iter().zip(&received.requests) {
            assert_eq!((sent.opaque, &sent.fields, &sent.body), (received.opaque, &received.fields, &received.body));
            assert_eq!(sent.is_oneway(), received.is_oneway());
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let whole = encode_request(peer, &ClientIdentity::default(), Duration::ZERO, &[request(3)]);
        for length in 0..whole.len() {
            assert!(decode_request(whole.slice(..length)).is_none(), "{length}");
        }
    }

    #[test]
    fn what_would_not_fit_the_link_is_told() {
        assert_eq!(check_size(&request(100), 100), Ok(()));
        assert_eq!(
            check_size(&request(101), 100),
            Err("body of 101 bytes exceeds 100 (maxMessageSize + 64 KiB)".to_owned())
        );
        let wide = request(0).with_field("p", "\u{1}".repeat(100_000));
        assert_eq!(check_size(&wide, 100), Err("header fields of 100007 bytes exceed 98304".to_owned()));
    }
}
