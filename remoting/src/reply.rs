//! Encoded answers on their way to one connection.

use std::mem;

use bytes::{Bytes, BytesMut};

use crate::codec::{self, Codec, FrameStart, binary, json};
use crate::command::RequestMeta;
use crate::fields::FieldValue;
use crate::frame::{FrameDecoder, MAX_FRAME_BYTES, MAX_HEADER_BYTES};
use crate::response_code;

/// Answers to requests of one connection, encoded one after the other: small ones in one buffer, large bodies as
/// segments that are written from where they lie.
#[derive(Default)]
pub struct ReplyBuffer {
    /// What is complete and cannot be appended to.
    segments: Vec<Bytes>,
    tail: Vec<u8>,
    answered: Vec<Answered>,
}

/// One request that has its answer here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) code: i32,
    pub(crate) received_us: u64,
}

/// Bodies below this are copied behind their header, which is cheaper than a segment of their own.
const COPY_BELOW_BYTES: usize = 1024;

impl ReplyBuffer {
    pub fn new() -> ReplyBuffer {
        ReplyBuffer::default()
    }

    /// Appends an answer in the request's form. Nothing happens for a one-way request.
    ///
    /// An answer too large for a frame is replaced by SYSTEM_ERROR with a remark that says so.
    pub fn push(
        &mut self,
        meta: RequestMeta,
        code: i32,
        remark: Option<&str>,
        fields: &[(&str, FieldValue<'_>)],
        body: &[u8],
    ) {
        if let Some(frame) = self.begin(meta, code, remark, fields, body.len()) {
            self.tail.extend_from_slice(body);
            codec::end_frame(&mut self.tail, frame, 0);
        }
    }

    /// Like [`ReplyBuffer::push`] with a body in pieces; large ones are not copied.
    pub fn push_segments(
        &mut self,
        meta: RequestMeta,
        code: i32,
        remark: Option<&str>,
        fields: &[(&str, FieldValue<'_>)],
        body: Vec<Bytes>,
    ) {
        let body_bytes = body.iter().map(Bytes::len).sum();
        let Some(frame) = self.begin(meta, code, remark, fields, body_bytes) else { return };
        if body_bytes < COPY_BELOW_BYTES {
            body.iter().for_each(|piece| self.tail.extend_from_slice(piece));
            codec::end_frame(&mut self.tail, frame, 0);
        } else {
            codec::end_frame(&mut self.tail, frame, body_bytes);
            self.segments.push(mem::take(&mut self.tail).into());
            self.segments.extend(body.into_iter().filter(|piece| !piece.is_empty()));
        }
    }

    /// Encodes the header. `None` if no body is to follow: the request was one-way or the answer is too large.
    fn begin(
        &mut self,
        meta: RequestMeta,
        code: i32,
        remark: Option<&str>,
        fields: &[(&str, FieldValue<'_>)],
        body_bytes: usize,
    ) -> Option<FrameStart> {
        if meta.oneway {
            return None;
        }
        self.answered.push(Answered { code: meta.code, received_us: meta.received_us });
        let start = codec::begin_frame(&mut self.tail);
        encode_header(&mut self.tail, meta, code, remark, fields);
        let header_bytes = codec::end_header(&mut self.tail, start, meta.codec);
        let frame_bytes = self.tail.len() - start.position() + body_bytes;
        if header_bytes <= MAX_HEADER_BYTES && frame_bytes <= MAX_FRAME_BYTES {
            return Some(start);
        }
        self.tail.truncate(start.position());
        let start = codec::begin_frame(&mut self.tail);
        let remark = format!("the answer of {frame_bytes} bytes exceeds the frame limit of {MAX_FRAME_BYTES} bytes");
        encode_header(&mut self.tail, meta, response_code::SYSTEM_ERROR, Some(&remark), &[]);
        codec::end_header(&mut self.tail, start, meta.codec);
        codec::end_frame(&mut self.tail, start, 0);
        None
    }

    /// Appends frames that are encoded already: the answers to `requests`, as another member made them.
    pub fn push_encoded(&mut self, frames: Bytes, requests: impl Iterator<Item = RequestMeta>) {
        let answered = requests.filter(|meta| !meta.oneway);
        self.answered.extend(answered.map(|meta| Answered { code: meta.code, received_us: meta.received_us }));
        if !self.tail.is_empty() {
            self.segments.push(mem::take(&mut self.tail).into());
        }
        if !frames.is_empty() {
            self.segments.push(frames);
        }
    }

    /// No answer in it.
    pub fn is_empty(&self) -> bool {
        self.answered.is_empty()
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.answered.len()
    }

    /// Size of all frames.
    pub fn size_bytes(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum::<usize>() + self.tail.len()
    }

    /// The frames, back to back; a frame may span segments.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.into_parts().0
    }

    pub(crate) fn into_parts(mut self) -> (Vec<Bytes>, Vec<Answered>) {
        if !self.tail.is_empty() {
            self.segments.push(self.tail.into());
        }
        (self.segments, self.answered)
    }

    /// The opaques of all answers, decoded again: for the rare moment when a handler panicked half way.
    pub(crate) fn opaques(&self) -> Vec<i32> {
        let mut all = BytesMut::with_capacity(self.size_bytes());
        self.segments.iter().for_each(|segment| all.extend_from_slice(segment));
        all.extend_from_slice(&self.tail);
        let mut opaques = Vec::new();
        while let Ok(Some(answer)) = FrameDecoder::default().decode(&mut all) {
            opaques.push(answer.opaque);
        }
        opaques
    }

    #[cfg(test)]
    fn commands(self) -> Vec<crate::command::RemotingCommand> {
        let mut all = BytesMut::from(self.into_segments().concat().as_slice());
        let mut commands = Vec::new();
        while let Some(command) = FrameDecoder::default().decode(&mut all).unwrap() {
            commands.push(command);
        }
        assert!(all.is_empty());
        commands
    }
}

fn encode_header(
    out: &mut Vec<u8>,
    meta: RequestMeta,
    code: i32,
    remark: Option<&str>,
    fields: &[(&str, FieldValue<'_>)],
) {
    match meta.codec {
        Codec::Json => json::encode_answer(out, code, meta.opaque, remark, fields),
        Codec::RocketMq => binary::encode_answer(out, code, meta.opaque, remark, fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::RemotingCommand;

    fn meta(codec: Codec, opaque: i32) -> RequestMeta {
        RemotingCommand { opaque, ..RemotingCommand::request(310).with_codec(codec) }.meta()
    }

    #[test]
    fn an_answer_looks_like_javas() {
        let mut replies = ReplyBuffer::new();
        let fields = [("msgId", FieldValue::Str("7F\"")), ("queueId", 3.into()), ("TRACE_ON", true.into())];
        replies.push(meta(Codec::Json, 5), 0, None, &fields, b"");
        replies.push(meta(Codec::Json, 6), 17, Some("no"), &[], b"xy");
        let text = String::from_utf8_lossy(&replies.into_segments().concat()).into_owned();
        assert!(text.contains(
            r#"{"code":0,"extFields":{"msgId":"7F\"","queueId":"3","TRACE_ON":"true"},"flag":1,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":409}"#
        ));
        assert!(text.ends_with(
            r#"{"code":17,"flag":1,"language":"JAVA","opaque":6,"remark":"no","serializeTypeCurrentRPC":"JSON","version":409}xy"#
        ));
    }

    #[test]
    fn both_forms_and_segments_decode_to_the_same_answers() {
        for codec in [Codec::Json, Codec::RocketMq] {
            let mut replies = ReplyBuffer::new();
            let large = Bytes::from(vec![7; 4000]);
            replies.push(meta(codec, 1), 0, None, &[("a", FieldValue::Int(-4))], b"small");
            replies.push_segments(meta(codec, 2), 0, None, &[], vec![large.clone(), Bytes::new(), large]);
            replies.push_segments(meta(codec, 3), 19, Some("none"), &[], Vec::new());
            assert_eq!(replies.len(), 3);
            assert_eq!(replies.opaques(), [1, 2, 3]);
            let answers = replies.commands();
            assert!(answers.iter().all(|answer| answer.is_response() && answer.codec == codec));
            assert_eq!(answers[0].fields.get("a").as_deref(), Some("-4"));
            assert_eq!(answers[0].body.as_ref(), b"small");
            assert_eq!(answers[1].body.len(), 8000);
            assert_eq!((answers[2].code, answers[2].remark.as_deref()), (19, Some("none")));
        }
    }

    #[test]
    fn one_way_requests_get_nothing() {
        let mut replies = ReplyBuffer::new();
        let oneway = RemotingCommand::request(15).with_oneway().meta();
        replies.push(oneway, 0, None, &[], b"x");
        replies.push_segments(oneway, 0, None, &[], vec![Bytes::from_static(b"x")]);
        assert!(replies.is_empty());
        assert_eq!(replies.size_bytes(), 0);
    }

    #[test]
    fn an_answer_too_large_for_a_frame_becomes_an_error() {
        let mut replies = ReplyBuffer::new();
        replies.push_segments(meta(Codec::Json, 1), 0, None, &[], vec![Bytes::from(vec![0; MAX_FRAME_BYTES])]);
        let remark = "x".repeat(MAX_HEADER_BYTES);
        replies.push(meta(Codec::Json, 2), 0, Some(&remark), &[], b"");
        for (opaque, answer) in (1..).zip(replies.commands()) {
            assert_eq!((answer.opaque, answer.code), (opaque, response_code::SYSTEM_ERROR));
            assert!(answer.remark.unwrap().contains("exceeds the frame limit of 16777216 bytes"));
        }
    }
}
