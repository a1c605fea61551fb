//! Client requests on their way from a member to the leader, and the answers on their way back.
//!
//! Request: `u8 version 1, u8 language, i32 client version, u16 n, peer address, u16 n, client id, u32 count`, then
//! `count` remoting frames as they are on the wire. Answer: `u8 0` and frames, or `u8 1`: not the leader.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raftmq_remoting::{ClientIdentity, FrameDecoder, Language, RemotingCommand};

const VERSION: u8 = 1;
const ANSWER_REPLIES: u8 = 0;
const ANSWER_NOT_LEADER: u8 = 1;

/// What the leader gets.
pub(crate) struct ForwardedRequests {
    pub(crate) peer: SocketAddr,
    pub(crate) client: ClientIdentity,
    pub(crate) requests: Vec<RemotingCommand>,
}

/// What comes back.
pub(crate) enum Answer {
    /// Frames for the client, as they are.
    Replies(Bytes),
    NotLeader,
}

pub(crate) fn encode_request(peer: SocketAddr, client: &ClientIdentity, requests: &[RemotingCommand]) -> Bytes {
    let peer = peer.to_string();
    let mut out = BytesMut::with_capacity(64 + requests.iter().map(|request| request.body.len() + 512).sum::<usize>());
    out.put_u8(VERSION);
    out.put_u8(client.language.code());
    out.put_i32(client.version);
    put_text(&mut out, &peer);
    put_text(&mut out, &client.client_id);
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
    Some(ForwardedRequests { peer, client: ClientIdentity { language, version, client_id }, requests })
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
