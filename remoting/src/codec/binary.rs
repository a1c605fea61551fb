//! The binary form of a header (RocketMQ `RocketMQSerializable`): `code i16 | language u8 | version i16 | opaque i32 |
//! flag i32 | remark length i32 | remark | entries length i32 | entries`, an entry being `name length i16 | name |
//! value length i32 | value`.

use bytes::{BufMut, Bytes};

use super::json::Raw;
use super::{Codec, HeaderError};
use crate::command::{FLAG_RESPONSE, RemotingCommand, VERSION};
use crate::fields::{ExtFields, FieldValue};
use crate::language::Language;

pub(crate) fn decode(header: Bytes) -> Result<RemotingCommand, HeaderError> {
    let mut cursor = Cursor { bytes: &header, at: 0 };
    let code = i16::from_be_bytes(cursor.array("code")?);
    let [language] = cursor.array("language")?;
    let version = i16::from_be_bytes(cursor.array("version")?);
    let opaque = i32::from_be_bytes(cursor.array("opaque")?);
    let flag = i32::from_be_bytes(cursor.array("flag")?);
    let remark_length = i32::from_be_bytes(cursor.array("remark length")?);
    let remark = cursor.take("remark", i64::from(remark_length))?;
    let remark = (!remark.is_empty()).then(|| String::from_utf8_lossy(remark).into_owned());
    let entries_length = i32::from_be_bytes(cursor.array("fields length")?);
    let start = cursor.at;
    let entries = cursor.take("fields", i64::from(entries_length))?;
    let mut texts_are_utf8 = true;
    let mut inner = Cursor { bytes: entries, at: 0 };
    while inner.at < entries.len() {
        let (name, value) = inner.entry()?;
        texts_are_utf8 &= std::str::from_utf8(name).is_ok() && std::str::from_utf8(value).is_ok();
    }
    let fields = match (entries.is_empty(), texts_are_utf8) {
        (true, _) => ExtFields::new(),
        (false, true) => ExtFields::from_binary(header.slice(start..start + entries.len())),
        // As Java reads them.
        (false, false) => lossy_entries(entries)?,
    };
    Ok(RemotingCommand {
        code: i32::from(code),
        language: Language::from_code(language),
        version: i32::from(version),
        opaque,
        flag,
        remark,
        fields,
        codec: Codec::RocketMq,
        ..RemotingCommand::request(0)
    })
}

fn lossy_entries(entries: &[u8]) -> Result<ExtFields, HeaderError> {
    let mut cursor = Cursor { bytes: entries, at: 0 };
    let mut pairs = Vec::new();
    while cursor.at < entries.len() {
        let (name, value) = cursor.entry()?;
        if !value.is_empty() {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            pairs.push((text(name), text(value)));
        }
    }
    Ok(pairs.into_iter().collect())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, what: &'static str, length: i64) -> Result<&'a [u8], HeaderError> {
        let past_end = HeaderError::PastEnd { what, length, at: self.at, header_bytes: self.bytes.len() };
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)).ok_or(past_end)?;
        let taken = self.bytes.get(self.at..end).ok_or(past_end)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], HeaderError> {
        let past_end = HeaderError::PastEnd { what, length: N as i64, at: self.at, header_bytes: self.bytes.len() };
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(past_end)?;
        self.at += N;
        Ok(*taken)
    }

    fn entry(&mut self) -> Result<(&'a [u8], &'a [u8]), HeaderError> {
        let name_length = i16::from_be_bytes(self.array("name length")?);
        let name = self.take("name", i64::from(name_length))?;
        let value_length = i32::from_be_bytes(self.array("value length")?);
        let value = self.take("value", i64::from(value_length))?;
        Ok((name, value))
    }
}

/// Entries that [`decode`] accepted; those with an empty value are absent, as in Java since 4.9.4.
pub(crate) struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(entries: &'a [u8]) -> Entries<'a> {
        Entries { cursor: Cursor { bytes: entries, at: 0 } }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (name, value) = self.cursor.entry().ok()?;
            if !value.is_empty() {
                return Some((Raw::plain(name), Raw::plain(value)));
            }
        }
    }
}

pub(crate) fn encode(command: &RemotingCommand, out: &mut Vec<u8>) {
    let remark = command.remark.as_deref();
    let start = put_head(out, command.code, command.language, command.version, command.opaque, command.flag, remark);
    for (name, value) in &command.fields {
        put_entry(out, &name, FieldValue::Str(&value));
    }
    end_entries(out, start);
}

/// The header of an answer.
pub(crate) fn encode_answer(
    out: &mut Vec<u8>,
    code: i32,
    opaque: i32,
    remark: Option<&str>,
    fields: &[(&str, FieldValue<'_>)],
) {
    let start = put_head(out, code, Language::Java, VERSION, opaque, FLAG_RESPONSE, remark);
    for (name, value) in fields {
        put_entry(out, name, *value);
    }
    end_entries(out, start);
}

/// All up to the entries; returns where their length is.
fn put_head(
    out: &mut Vec<u8>,
    code: i32,
    language: Language,
    version: i32,
    opaque: i32,
    flag: i32,
    remark: Option<&str>,
) -> usize {
    // The form has 16 bits for both.
    out.put_i16(code as i16);
    out.put_u8(language.code());
    out.put_i16(version as i16);
    out.put_i32(opaque);
    out.put_i32(flag);
    let remark = remark.unwrap_or_default();
    out.put_i32(remark.len() as i32);
    out.put_slice(remark.as_bytes());
    let start = out.len();
    out.put_i32(0);
    start
}

fn put_entry(out: &mut Vec<u8>, name: &str, value: FieldValue<'_>) {
    // An empty value would be read as absent, and a name has 15 bits for its length.
    let (Ok(name_length), false) = (i16::try_from(name.len()), value == FieldValue::Str("")) else { return };
    out.put_i16(name_length);
    out.put_slice(name.as_bytes());
    let length_at = out.len();
    out.put_i32(0);
    match value {
        FieldValue::Str(text) => out.put_slice(text.as_bytes()),
        FieldValue::Int(number) => super::json::put_int(out, number),
        FieldValue::Bool(true) => out.put_slice(b"true"),
        FieldValue::Bool(false) => out.put_slice(b"false"),
    }
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn end_entries(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::frame::FrameDecoder;

    const GOLDEN: [u8; 39] = [
        0, 0, 0, 0x23, 1, 0, 0, 0x1e, 0, 0x0b, 0, 1, 0x91, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0x72, 0, 0, 0, 8, 0, 1,
        0x6b, 0, 0, 0, 1, 0x76, 0xaa,
    ];

    #[test]
    fn the_golden_frame_reads_and_writes() {
        let command = FrameDecoder::default().decode(&mut BytesMut::from(&GOLDEN[..])).unwrap().unwrap();
        assert_eq!((command.code, command.version, command.opaque, command.flag), (11, 401, 5, 0));
        assert_eq!(command.remark.as_deref(), Some("r"));
        assert_eq!(command.fields.get("k").as_deref(), Some("v"));
        assert_eq!(command.body.as_ref(), [0xaa]);
        assert_eq!(command.to_bytes().as_ref(), GOLDEN);
    }

    #[test]
    fn every_cut_of_the_header_is_an_error() {
        let header = &GOLDEN[8..38];
        for length in 0..header.len() {
            let cut = decode(Bytes::copy_from_slice(&header[..length]));
            assert!(matches!(cut, Err(HeaderError::PastEnd { .. })), "{length}: {cut:?}");
        }
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        for (at, value) in [(13, 0xff), (18, 0x7f), (22, 0xff), (25, 0x80)] {
            let mut header = GOLDEN[8..38].to_vec();
            header[at] = value;
            assert!(matches!(decode(Bytes::from(header)), Err(HeaderError::PastEnd { .. })), "{at}");
        }
    }

    #[test]
    fn an_empty_value_is_absent() {
        let command =
            RemotingCommand::request(1).with_codec(Codec::RocketMq).with_field("a", "").with_field("b", false);
        let read = FrameDecoder::default().decode(&mut BytesMut::from(command.to_bytes())).unwrap().unwrap();
        assert_eq!(read.fields.get("a"), None);
        assert_eq!(read.fields.get("b").as_deref(), Some("false"));
    }
}
