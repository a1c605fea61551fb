//! The JSON form of a header: a scanner over its bytes and a writer with Java's layout.

use std::borrow::Cow;

use bytes::Bytes;

use super::HeaderError;
use crate::command::RemotingCommand;
use crate::fields::{ExtFields, FieldValue};
use crate::language::Language;

/// Deepest nesting of values that are skipped; nothing that is read is deeper than two.
const MAX_DEPTH: usize = 16;

pub(crate) fn decode(header: Bytes) -> Result<RemotingCommand, HeaderError> {
    let Ok(text) = std::str::from_utf8(&header) else {
        // Java reads such bytes (C++ clients send properties in any encoding) as replacement characters.
        return decode(Bytes::from(String::from_utf8_lossy(&header).into_owned()));
    };
    let mut command = RemotingCommand::request(0);
    // Absent fields read as Java's primitives do.
    command.version = 0;
    let mut scanner = Scanner::new(text);
    let scanned = scanner.header(&mut command, &header);
    match scanned {
        Ok(()) => Ok(command),
        Err(Failed) => Err(scanner.failure),
    }
}

/// A string between its quotes, escapes not yet resolved.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    end: usize,
    escaped: bool,
}

/// The scanner stopped; [`Scanner::failure`] says why. Results stay small enough for registers this way.
struct Failed;

type Scanned<T> = Result<T, Failed>;

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    stops: Stops,
    failure: HeaderError,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        let failure = HeaderError::Syntax { expected: "a header", at: 0 };
        Scanner { text, bytes: text.as_bytes(), at: 0, stops: Stops::default(), failure }
    }

    fn header(&mut self, command: &mut RemotingCommand, header: &Bytes) -> Scanned<()> {
        self.expect(b'{', "{")?;
        if !self.take(b'}') {
            loop {
                let key = self.string()?;
                self.expect(b':', ":")?;
                match &self.bytes[key.start..key.end] {
                    b"code" => command.code = self.int("code")?,
                    b"flag" => command.flag = self.int("flag")?,
                    b"opaque" => command.opaque = self.int("opaque")?,
                    b"version" => command.version = self.int("version")?,
                    b"language" => command.language = self.language()?,
                    b"remark" => command.remark = self.text()?.map(Cow::into_owned),
                    b"extFields" => command.fields = self.ext_fields(header)?,
                    _ => self.skip_value(0)?,
                }
                if !self.more(b'}', ", or }")? {
                    break;
                }
            }
        }
        match self.token() {
            None => Ok(()),
            Some(_) => self.fail("the end"),
        }
    }

    /// The next byte that is no blank, not yet taken.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[cold]
    fn fail<T>(&mut self, expected: &'static str) -> Scanned<T> {
        self.failure = HeaderError::Syntax { expected, at: self.at };
        Err(Failed)
    }

    /// Takes `wanted` if it is next.
    #[inline]
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.token() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, wanted: u8, expected: &'static str) -> Scanned<()> {
        if self.take(wanted) { Ok(()) } else { self.fail(expected) }
    }

    /// After an element: `true` at a comma, `false` at the closing bracket.
    #[inline]
    fn more(&mut self, close: u8, expected: &'static str) -> Scanned<bool> {
        match self.token() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.fail(expected),
        }
    }

    #[inline]
    fn string(&mut self) -> Scanned<Quoted> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = self.stops.find(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Quoted { start, end, escaped });
                }
                Some(_) => {
                    escaped = true;
                    self.escape()?;
                }
                None => return self.fail("the end of a string"),
            }
        }
    }

    /// Checks one escape and moves past it.
    fn escape(&mut self) -> Scanned<()> {
        match escape_bytes(self.bytes, self.at) {
            Some(length) => {
                self.at += length;
                Ok(())
            }
            None => self.fail("an escape"),
        }
    }

    /// A number or a word such as `true`, as its text.
    fn bare(&mut self) -> Scanned<&'a str> {
        self.token();
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'+' | b'.') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            return self.fail("a value");
        }
        Ok(&self.text[start..self.at])
    }

    /// A 32-bit number, also as a string; `null` is 0.
    fn int(&mut self, field: &'static str) -> Scanned<i32> {
        let text = match self.token() {
            Some(b'"') => {
                let quoted = self.string()?;
                &self.text[quoted.start..quoted.end]
            }
            _ => match self.bare()? {
                "null" => return Ok(0),
                digits => digits,
            },
        };
        text.parse().map_err(|_| {
            self.failure = HeaderError::NotANumber { field };
            Failed
        })
    }

    /// A string, or the text of a bare value; `None` for `null`.
    fn text(&mut self) -> Scanned<Option<Cow<'a, str>>> {
        Ok(self.field_value()?.map(|value| unescape(self.text, value)))
    }

    /// Where the text of a value is; `None` for `null`.
    #[inline]
    fn field_value(&mut self) -> Scanned<Option<Quoted>> {
        if self.token() == Some(b'"') {
            return self.string().map(Some);
        }
        let start = self.at;
        self.skip_value(0)?;
        let end = self.at;
        Ok((&self.bytes[start..end] != b"null").then_some(Quoted { start, end, escaped: false }))
    }

    fn language(&mut self) -> Scanned<Language> {
        Ok(match self.field_value()? {
            None => Language::Java,
            Some(value) => match &self.text[value.start..value.end] {
                "JAVA" => Language::Java,
                text => match text.parse::<u8>() {
                    Ok(ordinal) => Language::from_code(ordinal),
                    Err(_) => Language::from_name(text),
                },
            },
        })
    }

    /// Checks the object of fields, and notes where they are.
    fn ext_fields(&mut self, header: &Bytes) -> Scanned<ExtFields> {
        if self.token() != Some(b'{') {
            return match self.bare()? {
                "null" => Ok(ExtFields::new()),
                _ => self.fail("an object of fields"),
            };
        }
        let start = self.at;
        let mut spans = Spans::default();
        self.at += 1;
        if !self.take(b'}') {
            loop {
                if let Some((name, value, next)) = self.compact_field() {
                    spans.note(start, name, value);
                    match next {
                        b',' => continue,
                        _ => break,
                    }
                }
                let name = self.string()?;
                self.expect(b':', ":")?;
                if let Some(value) = self.field_value()? {
                    spans.note(start, name, value);
                }
                if !self.more(b'}', ", or }")? {
                    break;
                }
            }
        }
        Ok(ExtFields::from_json(header.slice(start..self.at), spans))
    }

    /// A field as all clients but the C++ one write it, `"name":"value"` without blanks and escapes in the name, and
    /// the comma or brace behind it. `None`, and nothing taken, if it looks otherwise.
    #[inline]
    fn compact_field(&mut self) -> Option<(Quoted, Quoted, u8)> {
        let begin = self.at;
        if self.bytes.get(begin) != Some(&b'"') {
            return None;
        }
        let name = Quoted { start: begin + 1, end: self.stops.find(self.bytes, begin + 1), escaped: false };
        let start = name.end + 3;
        if self.bytes.get(name.end..start) != Some(b"\":\"") {
            return None;
        }
        let mut end = self.stops.find(self.bytes, start);
        let mut escaped = false;
        while self.bytes.get(end) == Some(&b'\\') {
            escaped = true;
            end = self.stops.find(self.bytes, end + escape_bytes(self.bytes, end)?);
        }
        let next = *self.bytes.get(end + 1)?;
        if !matches!(next, b',' | b'}') {
            return None;
        }
        self.at = end + 2;
        Some((name, Quoted { start, end, escaped }, next))
    }

    fn skip_value(&mut self, depth: usize) -> Scanned<()> {
        let next = self.token();
        if depth >= MAX_DEPTH {
            self.failure = HeaderError::TooDeep { limit: MAX_DEPTH, at: self.at };
            return Err(Failed);
        }
        match next {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => {
                self.at += 1;
                if self.take(b'}') {
                    return Ok(());
                }
                loop {
                    self.string()?;
                    self.expect(b':', ":")?;
                    self.skip_value(depth + 1)?;
                    if !self.more(b'}', ", or }")? {
                        return Ok(());
                    }
                }
            }
            Some(b'[') => {
                self.at += 1;
                if self.take(b']') {
                    return Ok(());
                }
                loop {
                    self.skip_value(depth + 1)?;
                    if !self.more(b']', ", or ]")? {
                        return Ok(());
                    }
                }
            }
            _ => self.bare().map(drop),
        }
    }
}

/// Fields that [`Spans`] has room for; no client sends more on the hot requests.
const MAX_SPANS: usize = 20;

/// Where the fields of an object are, so that reading them does not scan again.
#[derive(Clone)]
pub(crate) struct Spans {
    /// Starts and ends of name and value, from the start of the object.
    places: [[u16; 4]; MAX_SPANS],
    count: u8,
    /// A field had no room: the object is to be scanned again.
    overflow: bool,
    /// Bit per field.
    escaped_names: u32,
    escaped_values: u32,
}

impl Default for Spans {
    fn default() -> Self {
        Spans { places: [[0; 4]; MAX_SPANS], count: 0, overflow: false, escaped_names: 0, escaped_values: 0 }
    }
}

impl Spans {
    #[inline]
    fn note(&mut self, start: usize, name: Quoted, value: Quoted) {
        let index = usize::from(self.count);
        // The value ends last.
        match self.places.get_mut(index) {
            Some(place) if value.end - start <= usize::from(u16::MAX) => {
                *place = [name.start, name.end, value.start, value.end].map(|at| (at - start) as u16);
                self.escaped_names |= u32::from(name.escaped) << index;
                self.escaped_values |= u32::from(value.escaped) << index;
                self.count += 1;
            }
            _ => self.overflow = true,
        }
    }
}

/// The fields of a checked object; those whose value is `null` are left out.
pub(crate) struct Entries<'a> {
    object: &'a str,
    spans: &'a Spans,
    next: usize,
    /// For objects whose fields have no room in `spans`.
    scanner: Option<Scanner<'a>>,
}

impl<'a> Entries<'a> {
    #[inline]
    pub(crate) fn new(object: &'a [u8], spans: &'a Spans) -> Entries<'a> {
        // Checked when the header was decoded; once for all is cheaper than for each text.
        let object = std::str::from_utf8(object).unwrap_or_default();
        let scanner = if spans.overflow { Scanner::of_object(object) } else { None };
        Entries { object, spans, next: 0, scanner }
    }

    #[inline]
    fn raw(&self, start: u16, end: u16, escaped: bool) -> Raw<'a> {
        Raw::within(self.object, usize::from(start), usize::from(end), escaped)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(scanner) = &mut self.scanner {
            return scanner.next_field();
        }
        let index = self.next;
        if index >= usize::from(self.spans.count) {
            return None;
        }
        self.next += 1;
        let [name_start, name_end, start, end] = *self.spans.places.get(index)?;
        let name = self.raw(name_start, name_end, self.spans.escaped_names >> index & 1 != 0);
        let value = self.raw(start, end, self.spans.escaped_values >> index & 1 != 0);
        Some((name, value))
    }
}

impl<'a> Scanner<'a> {
    #[cold]
    fn of_object(object: &'a str) -> Option<Scanner<'a>> {
        let mut scanner = Scanner::new(object);
        scanner.take(b'{').then_some(scanner)
    }

    /// The next field of a checked object.
    fn next_field(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        loop {
            let name = self.string().ok()?;
            self.expect(b':', ":").ok()?;
            let value = self.field_value().ok()?;
            self.take(b',');
            if let Some(value) = value {
                let raw = |quoted: Quoted| Raw::within(self.text, quoted.start, quoted.end, quoted.escaped);
                return Some((raw(name), raw(value)));
            }
        }
    }
}

/// A name or value as it stands in the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) bytes: &'a [u8],
    /// What `bytes` is a part of, if that is known to be text.
    whole: Option<&'a str>,
    /// Where in `whole`.
    start: usize,
    /// JSON escapes are in it.
    escaped: bool,
}

impl<'a> Raw<'a> {
    pub(crate) fn plain(bytes: &'a [u8]) -> Raw<'a> {
        Raw { bytes, whole: None, start: 0, escaped: false }
    }

    #[inline]
    fn within(whole: &'a str, start: usize, end: usize, escaped: bool) -> Raw<'a> {
        Raw { bytes: whole.as_bytes().get(start..end).unwrap_or_default(), whole: Some(whole), start, escaped }
    }

    #[inline]
    pub(crate) fn text(self) -> Cow<'a, str> {
        // Headers are made UTF-8 when they are decoded.
        let text = match self.whole {
            Some(whole) => whole.get(self.start..self.start + self.bytes.len()),
            None => std::str::from_utf8(self.bytes).ok(),
        };
        let text = text.unwrap_or_default();
        if self.escaped { Cow::Owned(unescape_slow(text)) } else { Cow::Borrowed(text) }
    }
}

/// Finds the end of strings. Where a block has `"` and `\` is found out at once for all its bytes, because most strings
/// are so short that a search per string costs more in its start and its end than in its bytes.
struct Stops {
    /// Start of the block that `bits` is of; `usize::MAX` for none.
    block: usize,
    /// Bit per byte: is it `"` or `\`?
    bits: u64,
}

const BLOCK_BYTES: usize = 64;

impl Default for Stops {
    fn default() -> Self {
        Stops { block: usize::MAX, bits: 0 }
    }
}

impl Stops {
    /// Position of the first `"` or `\` from `at` on, or the length.
    #[inline]
    fn find(&mut self, bytes: &[u8], at: usize) -> usize {
        let mut block = at & !(BLOCK_BYTES - 1);
        // Bits before `at` do not count.
        let mut counted = u64::MAX << (at & (BLOCK_BYTES - 1));
        while block < bytes.len() {
            if block != self.block {
                self.load(bytes, block);
            }
            let hits = self.bits & counted;
            if hits != 0 {
                return block + hits.trailing_zeros() as usize;
            }
            block += BLOCK_BYTES;
            counted = u64::MAX;
        }
        bytes.len()
    }

    fn load(&mut self, bytes: &[u8], block: usize) {
        self.block = block;
        let rest = &bytes[block..];
        self.bits = match rest.first_chunk() {
            Some(whole) => stop_bits(whole),
            None => {
                let mut padded = [0; BLOCK_BYTES];
                padded[..rest.len()].copy_from_slice(rest);
                stop_bits(&padded)
            }
        };
    }
}

/// Bit per byte of a block: is it `"` or `\`?
#[inline]
fn stop_bits(block: &[u8; BLOCK_BYTES]) -> u64 {
    /// Brings the lowest bit of each byte together in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    // A loop without branches becomes a few vector instructions.
    let mut is_stop = [0; BLOCK_BYTES];
    for (stop, byte) in is_stop.iter_mut().zip(block) {
        *stop = u8::from(*byte == b'"') | u8::from(*byte == b'\\');
    }
    let (words, _) = is_stop.as_chunks::<8>();
    words.iter().rev().fold(0, |bits, word| bits << 8 | u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56)
}

/// Length of the escape at a backslash; `None` if it is none.
#[inline]
fn escape_bytes(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => hex4(bytes, at + 2).map(|_| 6),
        _ => None,
    }
}

const NOT_HEX: u8 = 0xFF;

/// The value of a hexadecimal digit.
const HEX_DIGITS: [u8; 256] = {
    let mut digits = [NOT_HEX; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

#[inline]
fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..)?.first_chunk::<4>()?.map(|digit| HEX_DIGITS[usize::from(digit)]);
    let [a, b, c, d] = digits.map(u32::from);
    // A value over 15 is NOT_HEX.
    ((a | b | c | d) < 16).then_some(a << 12 | b << 8 | c << 4 | d)
}

/// The text of a checked string. Lone surrogates become the replacement character.
#[inline]
fn unescape(text: &str, quoted: Quoted) -> Cow<'_, str> {
    let raw = text.get(quoted.start..quoted.end).unwrap_or_default();
    if quoted.escaped { Cow::Owned(unescape_slow(raw)) } else { Cow::Borrowed(raw) }
}

fn unescape_slow(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut text = String::with_capacity(raw.len());
    let mut stops = Stops::default();
    let mut at = 0;
    while at < bytes.len() {
        let stop = stops.find(bytes, at);
        text.push_str(&raw[at..stop]);
        at = stop + 2;
        match bytes.get(stop + 1) {
            Some(b'b') => text.push('\u{8}'),
            Some(b'f') => text.push('\u{c}'),
            Some(b'n') => text.push('\n'),
            Some(b'r') => text.push('\r'),
            Some(b't') => text.push('\t'),
            Some(b'u') => {
                let (unit, after) = (hex4(bytes, at).unwrap_or(0xFFFD), at + 4);
                at = after;
                let low = match (unit, bytes.get(after..after + 2)) {
                    (0xD800..0xDC00, Some(b"\\u")) => {
                        hex4(bytes, after + 2).filter(|low| (0xDC00..0xE000).contains(low))
                    }
                    _ => None,
                };
                let point = match low {
                    Some(low) => {
                        at = after + 6;
                        0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
                    }
                    None => unit,
                };
                text.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => text.push(*other as char),
            None => {}
        }
    }
    text
}

pub(crate) fn encode(command: &RemotingCommand, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    put_int(out, i64::from(command.code));
    let mut separator: &[u8] = FIRST_FIELD;
    for (name, value) in &command.fields {
        put_field(out, &mut separator, &name, FieldValue::Str(&value));
    }
    put_end_of_fields(out, separator);
    out.extend_from_slice(b",\"flag\":");
    put_int(out, i64::from(command.flag));
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(command.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    put_int(out, i64::from(command.opaque));
    put_remark(out, command.remark.as_deref());
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_int(out, i64::from(command.version));
    out.push(b'}');
}

/// The header of an answer.
pub(crate) fn encode_answer(
    out: &mut Vec<u8>,
    code: i32,
    opaque: i32,
    remark: Option<&str>,
    fields: &[(&str, FieldValue<'_>)],
) {
    out.extend_from_slice(b"{\"code\":");
    put_int(out, i64::from(code));
    let mut separator: &[u8] = FIRST_FIELD;
    for (name, value) in fields {
        put_field(out, &mut separator, name, *value);
    }
    put_end_of_fields(out, separator);
    // The constants are those of `FLAG_RESPONSE`, `Language::Java` and `VERSION`; a test compares.
    out.extend_from_slice(b",\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    put_int(out, i64::from(opaque));
    put_remark(out, remark);
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":409}");
}

/// Before the name of the first field, and of the others.
const FIRST_FIELD: &[u8] = b",\"extFields\":{\"";
const NEXT_FIELD: &[u8] = b",\"";

#[inline]
fn put_field(out: &mut Vec<u8>, separator: &mut &'static [u8], name: &str, value: FieldValue<'_>) {
    out.extend_from_slice(separator);
    *separator = NEXT_FIELD;
    put_escaped(out, name);
    out.extend_from_slice(b"\":\"");
    // Every value is a string: C++ and Go clients fail on numbers.
    match value {
        FieldValue::Str(text) => put_escaped(out, text),
        FieldValue::Int(number) => put_int(out, number),
        FieldValue::Bool(true) => out.extend_from_slice(b"true"),
        FieldValue::Bool(false) => out.extend_from_slice(b"false"),
    }
    out.push(b'"');
}

fn put_end_of_fields(out: &mut Vec<u8>, separator: &[u8]) {
    if separator == NEXT_FIELD {
        out.push(b'}');
    }
}

fn put_remark(out: &mut Vec<u8>, remark: Option<&str>) {
    if let Some(remark) = remark {
        out.extend_from_slice(b",\"remark\":\"");
        put_escaped(out, remark);
        out.push(b'"');
    }
}

/// The letter after the backslash for bytes that need one, 0 for all others.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 32 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[127] = b'u';
    escapes[8] = b'b';
    escapes[9] = b't';
    escapes[10] = b'n';
    escapes[12] = b'f';
    escapes[13] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// A text with fastjson's escapes; `/` and non-ASCII stay as they are.
#[inline]
fn put_escaped(out: &mut Vec<u8>, text: &str) {
    match text.bytes().position(|byte| ESCAPES[usize::from(byte)] != 0) {
        None => out.extend_from_slice(text.as_bytes()),
        Some(first) => put_escaped_slow(out, text.as_bytes(), first),
    }
}

fn put_escaped_slow(out: &mut Vec<u8>, text: &[u8], first: usize) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    out.extend_from_slice(&text[..first]);
    for &byte in &text[first..] {
        match ESCAPES[usize::from(byte)] {
            0 => out.push(byte),
            b'u' => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
            short => out.extend_from_slice(&[b'\\', short]),
        }
    }
}

/// Decimal digits without an allocation.
pub(crate) fn put_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        start -= 1;
        digits[start] = b'-';
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    const SEND_V2: &str = r#"{"code":310,"extFields":{"a":"pg","b":"T","c":"TBW102","d":"4","e":"1","f":"0","g":"1700000000000","h":"0","i":"KEYS\u0001k1\u0002UNIQ_KEY\u0001ABC","j":"0","k":"false","m":"false"},"flag":0,"language":"JAVA","opaque":5,"serializeTypeCurrentRPC":"JSON","version":401}"#;

    fn read(text: &str) -> Result<RemotingCommand, HeaderError> {
        decode(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn written(command: &RemotingCommand) -> String {
        let mut out = Vec::new();
        encode(command, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_golden_send_header_reads_and_writes() {
        let command = read(SEND_V2).unwrap();
        assert_eq!((command.code, command.opaque, command.flag, command.version), (310, 5, 0, 401));
        assert_eq!(command.fields.get("i").as_deref(), Some("KEYS\u{1}k1\u{2}UNIQ_KEY\u{1}ABC"));
        assert_eq!(written(&command), SEND_V2);
    }

    #[test]
    fn the_golden_answer_with_a_remark() {
        let command = RemotingCommand {
            flag: 1,
            opaque: 5,
            version: 0,
            remark: Some("No \"x\"/\n中\u{1}".to_owned()),
            ..RemotingCommand::request(17)
        };
        let golden = r#"{"code":17,"flag":1,"language":"JAVA","opaque":5,"remark":"No \"x\"/\n中\u0001","serializeTypeCurrentRPC":"JSON","version":0}"#;
        assert_eq!(written(&command), golden);
        assert_eq!(read(golden).unwrap(), command);
    }

    #[test]
    fn what_other_clients_write_is_read() {
        let text = "{ \"version\" : 275 ,\"opaque\":-7,\"language\":0,\"flag\":2,\"extFields\":{\"queueId\":3,\"ok\":true,\
                    \"none\":null,\"list\":[1,{\"x\":\"]\"}],\"f\":1.5},\"unknown\":{\"a\":[{}]},\"code\":\"11\"}\n";
        let command = read(text).unwrap();
        assert_eq!((command.code, command.opaque, command.flag, command.version), (11, -7, 2, 275));
        let pairs: Vec<_> = command.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["queueId=3", "ok=true", "list=[1,{\"x\":\"]\"}]", "f=1.5"]);
    }

    #[test]
    fn everything_may_be_missing() {
        let command = read("{}").unwrap();
        assert_eq!((command.code, command.version, command.language), (0, 0, Language::Java));
        assert!(command.fields.is_empty());
        assert_eq!(
            read("{\"extFields\":null,\"remark\":null,\"language\":\"COBOL\"}").unwrap().language,
            Language::Other
        );
        assert_eq!(read("{\"language\":9}").unwrap().language, Language::Go);
    }

    #[test]
    fn escapes_are_resolved_in_names_and_values() {
        let command =
            read(r#"{"extFields":{"\u0061\"":"\u4e2d\/\b\f\n\r\t\\ \ud83d\ude00 \ud83d!"},"code":1}"#).unwrap();
        assert_eq!(command.fields.get("a\"").as_deref(), Some("中/\u{8}\u{c}\n\r\t\\ 😀 \u{FFFD}!"));
    }

    #[test]
    fn broken_headers_are_errors_that_say_where() {
        for text in [
            "",
            "{",
            "[]",
            "{\"code\":1",
            "{\"code\":1}x",
            "{\"code\"}",
            "{\"code\":}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"",
            "{\"a\":\"\\u12g4\"}",
            "{\"extFields\":3}",
            "{\"extFields\":{\"a\"}}",
            "{\"code\":1,}",
        ] {
            assert!(matches!(read(text), Err(HeaderError::Syntax { .. })), "{text}: {:?}", read(text));
        }
        assert_eq!(read("{\"code\":1.5}"), Err(HeaderError::NotANumber { field: "code" }));
        assert_eq!(read("{\"opaque\":2147483648}"), Err(HeaderError::NotANumber { field: "opaque" }));
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(matches!(read(&deep), Err(HeaderError::TooDeep { .. })));
    }

    #[test]
    fn bytes_that_are_not_text_become_replacement_characters() {
        let command = decode(Bytes::from_static(b"{\"code\":1,\"extFields\":{\"a\":\"\xd6\xd0\"}}")).unwrap();
        assert_eq!(command.fields.get("a").as_deref(), Some("\u{FFFD}\u{FFFD}"));
    }

    #[test]
    fn the_stop_finder_agrees_with_a_plain_search() {
        let text = "abcdefghijklmnop\u{a2}\"qrs\\tuv\u{dc}w!#[]\u{5c22}".repeat(9);
        let mut stops = Stops::default();
        for at in (0..=text.len()).chain((0..text.len()).rev()) {
            let plain = text.bytes().skip(at).position(|byte| matches!(byte, b'"' | b'\\'));
            assert_eq!(stops.find(text.as_bytes(), at), plain.map_or(text.len(), |after| at + after), "{at}");
        }
    }

    #[test]
    fn fields_without_room_for_their_places_are_scanned_again() {
        let many: Vec<_> = (0..30).map(|number| format!("\"k{number}\":\"v\\u0041{number}\"")).collect();
        let long = format!("\"long\":\"{}\",\"none\":null,\"after\":7", "x".repeat(70_000));
        for (fields, last) in [(many.join(","), ("k29", "vA29")), (long, ("after", "7"))] {
            let command = read(&format!("{{\"extFields\":{{{fields}}}}}")).unwrap();
            assert_eq!(command.fields.get(last.0).as_deref(), Some(last.1));
            assert_eq!(command.fields.get("none"), None);
        }
    }

    #[test]
    fn the_constants_in_answers_are_ours() {
        let mut answer = Vec::new();
        encode_answer(&mut answer, 7, -5, Some("r"), &[("a", 1.into())]);
        let command = RemotingCommand { opaque: -5, flag: 1, ..RemotingCommand::request(7) };
        assert_eq!(written(&command.with_remark("r").with_field("a", 1)).as_bytes(), answer);
    }

    #[test]
    fn integers_are_written_in_full() {
        for value in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
        assert_eq!(read("{}").unwrap().codec, Codec::Json);
    }
}
