//! A request or answer: header, fields and body (RocketMQ `RemotingCommand`).

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::codec::{self, Codec, HeaderError};
use crate::fields::ExtFields;
use crate::frame::Frame;
use crate::language::Language;

/// What RaftMQ says it is: the ordinal of V4_9_8 in RocketMQ's `MQVersion`. A 5.x number would make 5.x tools expect
/// 5.x features.
pub const VERSION: i32 = 409;

pub(crate) const FLAG_RESPONSE: i32 = 1;
pub(crate) const FLAG_ONEWAY: i32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotingCommand {
    /// Request code, or response code if [`RemotingCommand::is_response`].
    pub code: i32,
    pub language: Language,
    /// Ordinal of RocketMQ's `MQVersion`.
    pub version: i32,
    /// Chosen by who asks, copied into the answer; unique per direction of one connection only.
    pub opaque: i32,
    /// Bit 0: answer. Bit 1: one-way.
    pub flag: i32,
    pub remark: Option<String>,
    pub fields: ExtFields,
    pub body: Bytes,
    /// The header form it came in or is to be sent in.
    pub codec: Codec,
    /// When the connection read it, in microseconds of the server's clock; 0 for commands that came another way.
    pub received_us: u64,
}

/// What an answer needs to know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    pub code: i32,
    pub opaque: i32,
    pub codec: Codec,
    pub oneway: bool,
    pub language: Language,
    pub version: i32,
    pub received_us: u64,
}

impl RemotingCommand {
    /// A request in JSON form; its opaque is set by the connection that sends it.
    pub fn request(code: i32) -> RemotingCommand {
        RemotingCommand {
            code,
            language: Language::Java,
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: ExtFields::new(),
            body: Bytes::new(),
            codec: Codec::Json,
            received_us: 0,
        }
    }

    /// An answer to a request, in the request's form.
    pub fn response(to: RequestMeta, code: i32) -> RemotingCommand {
        RemotingCommand { opaque: to.opaque, codec: to.codec, flag: FLAG_RESPONSE, ..RemotingCommand::request(code) }
    }

    /// Appends a field.
    pub fn with_field(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> RemotingCommand {
        self.fields.push(name, value);
        self
    }

    pub fn with_fields(mut self, fields: ExtFields) -> RemotingCommand {
        self.fields = fields;
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> RemotingCommand {
        self.body = body.into();
        self
    }

    pub fn with_remark(mut self, remark: impl Into<String>) -> RemotingCommand {
        self.remark = Some(remark.into());
        self
    }

    pub fn with_codec(mut self, codec: Codec) -> RemotingCommand {
        self.codec = codec;
        self
    }

    /// Marks a request that nobody answers.
    pub fn with_oneway(mut self) -> RemotingCommand {
        self.flag |= FLAG_ONEWAY;
        self
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    pub fn meta(&self) -> RequestMeta {
        RequestMeta {
            code: self.code,
            opaque: self.opaque,
            codec: self.codec,
            oneway: self.is_oneway(),
            language: self.language,
            version: self.version,
            received_us: self.received_us,
        }
    }

    /// Decodes the header of a frame; the body is not looked at.
    pub fn decode(frame: Frame) -> Result<RemotingCommand, HeaderError> {
        codec::decode(frame)
    }

    /// Appends the whole frame, whatever its size; the other side refuses frames over
    /// [`MAX_FRAME_BYTES`](crate::frame::MAX_FRAME_BYTES).
    pub fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.to_bytes());
    }

    /// The whole frame.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(512 + self.body.len());
        let frame = codec::begin_frame(&mut out);
        codec::encode_header(self, &mut out);
        codec::end_header(&mut out, frame, self.codec);
        out.extend_from_slice(&self.body);
        codec::end_frame(&mut out, frame, 0);
        Bytes::from(out)
    }
}
