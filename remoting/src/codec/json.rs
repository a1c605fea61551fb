//! The JSON form of a header: a scanner over its bytes and a writer with Java's layout.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

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
    scanner.expect(b'{', "{")?;
    if !scanner.take(b'}') {
        loop {
            let key = scanner.string()?;
            scanner.expect(b':', ":")?;
            match text.get(key.start..key.end).unwrap_or_default() {
                "code" => command.code = scanner.int("code")?,
                "flag" => command.flag = scanner.int("flag")?,
                "opaque" => command.opaque = scanner.int("opaque")?,
                "version" => command.version = scanner.int("version")?,
                "language" => command.language = scanner.language()?,
                "remark" => command.remark = scanner.text()?.map(Cow::into_owned),
                "extFields" => {
                    scanner.blank();
                    let start = scanner.at;
                    command.fields = if scanner.peek() == Some(b'{') {
                        scanner.fields()?;
                        ExtFields::from_json(header.slice(start..scanner.at))
                    } else {
                        scanner.word("null", "an object of fields")?;
                        ExtFields::new()
                    };
                }
                _ => scanner.skip_value(0)?,
            }
            if !scanner.more(b'}', ", or }")? {
                break;
            }
        }
    }
    scanner.blank();
    match scanner.peek() {
        None => Ok(command),
        Some(_) => Err(scanner.syntax("the end")),
    }
}

/// A string between its quotes, escapes not yet resolved.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    end: usize,
    escaped: bool,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, bytes: text.as_bytes(), at: 0 }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn syntax(&self, expected: &'static str) -> HeaderError {
        HeaderError::Syntax { expected, at: self.at }
    }

    /// Takes `wanted` after blanks if it is next.
    #[inline]
    fn take(&mut self, wanted: u8) -> bool {
        self.blank();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, wanted: u8, expected: &'static str) -> Result<(), HeaderError> {
        if self.take(wanted) { Ok(()) } else { Err(self.syntax(expected)) }
    }

    /// After an element: `true` at a comma, `false` at the closing bracket.
    #[inline]
    fn more(&mut self, close: u8, expected: &'static str) -> Result<bool, HeaderError> {
        if self.take(b',') {
            Ok(true)
        } else if self.take(close) {
            Ok(false)
        } else {
            Err(self.syntax(expected))
        }
    }

    #[inline]
    fn string(&mut self) -> Result<Quoted, HeaderError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = find_quote_or_backslash(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Quoted { start, end, escaped });
                }
                Some(_) => {
                    escaped = true;
                    self.escape()?;
                }
                None => return Err(self.syntax("the end of a string")),
            }
        }
    }

    /// Checks one escape and moves past it.
    fn escape(&mut self) -> Result<(), HeaderError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if hex4(self.bytes, self.at + 2).is_some() => self.at += 6,
            _ => return Err(self.syntax("an escape")),
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str, expected: &'static str) -> Result<(), HeaderError> {
        self.blank();
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax(expected));
        }
        self.at += word.len();
        Ok(())
    }

    /// A number or a word such as `true`, as its text.
    fn bare(&mut self) -> Result<&'a str, HeaderError> {
        self.blank();
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'+' | b'.') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.syntax("a value"));
        }
        Ok(&self.text[start..self.at])
    }

    /// A 32-bit number, also as a string; `null` is 0.
    fn int(&mut self, field: &'static str) -> Result<i32, HeaderError> {
        self.blank();
        let text = match self.peek() {
            Some(b'"') => {
                let quoted = self.string()?;
                &self.text[quoted.start..quoted.end]
            }
            _ => match self.bare()? {
                "null" => return Ok(0),
                digits => digits,
            },
        };
        text.parse().map_err(|_| HeaderError::NotANumber { field })
    }

    /// A string, or the text of a bare value; `None` for `null`.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, HeaderError> {
        self.blank();
        if self.peek() == Some(b'"') {
            let quoted = self.string()?;
            return Ok(Some(unescape(self.text, quoted)));
        }
        let start = self.at;
        self.skip_value(0)?;
        Ok(match &self.text[start..self.at] {
            "null" => None,
            text => Some(Cow::Borrowed(text)),
        })
    }

    fn language(&mut self) -> Result<Language, HeaderError> {
        Ok(match self.text()? {
            None => Language::Java,
            Some(text) => match text.parse::<u8>() {
                Ok(ordinal) => Language::from_code(ordinal),
                Err(_) => Language::from_name(&text),
            },
        })
    }

    /// Checks an object of fields.
    fn fields(&mut self) -> Result<(), HeaderError> {
        self.expect(b'{', "{")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.string()?;
            self.expect(b':', ":")?;
            self.blank();
            if self.peek() == Some(b'"') {
                self.string()?;
            } else {
                self.skip_value(0)?;
            }
            if !self.more(b'}', ", or }")? {
                return Ok(());
            }
        }
    }

    fn skip_value(&mut self, depth: usize) -> Result<(), HeaderError> {
        self.blank();
        if depth >= MAX_DEPTH {
            return Err(HeaderError::TooDeep { limit: MAX_DEPTH, at: self.at });
        }
        match self.peek() {
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

/// The fields of an object that [`Scanner::fields`] accepted; entries whose value is `null` are left out.
pub(crate) struct Entries<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(object: &'a [u8]) -> Entries<'a> {
        let mut scanner = Scanner::new(std::str::from_utf8(object).unwrap_or_default());
        scanner.take(b'{');
        Entries { scanner }
    }

    fn entry(&mut self) -> Option<(Cow<'a, str>, Option<Cow<'a, str>>)> {
        let scanner = &mut self.scanner;
        let name = scanner.string().ok()?;
        scanner.expect(b':', ":").ok()?;
        let value = scanner.text().ok()?;
        scanner.take(b',');
        Some((unescape(scanner.text, name), value))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (name, Some(value)) = self.entry()? {
                return Some((name, value));
            }
        }
    }
}

/// Position of the first `"` or `\` from `at` on, or the length; eight bytes at a time.
#[inline]
fn find_quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let hits = zero_bytes(word ^ (ONES * b'"' as u64)) | zero_bytes(word ^ (ONES * b'\\' as u64));
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\') {
            break;
        }
        at += 1;
    }
    at
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
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
    let mut at = 0;
    while at < bytes.len() {
        let stop = find_quote_or_backslash(bytes, at);
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

pub(crate) fn encode(command: &RemotingCommand, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    put_int(out, i64::from(command.code));
    let mut names = 0;
    for (name, value) in &command.fields {
        put_field(out, &mut names, &name, FieldValue::Str(&value));
    }
    if names > 0 {
        out.put_u8(b'}');
    }
    put_tail(out, command.flag, command.language, command.opaque, command.remark.as_deref(), command.version);
}

/// A header without a [`RemotingCommand`] around it.
pub(crate) fn encode_parts(
    out: &mut BytesMut,
    code: i32,
    flag: i32,
    opaque: i32,
    remark: Option<&str>,
    fields: &[(&str, FieldValue<'_>)],
) {
    out.put_slice(b"{\"code\":");
    put_int(out, i64::from(code));
    let mut names = 0;
    for (name, value) in fields {
        put_field(out, &mut names, name, *value);
    }
    if names > 0 {
        out.put_u8(b'}');
    }
    put_tail(out, flag, Language::Java, opaque, remark, crate::command::VERSION);
}

fn put_field(out: &mut BytesMut, names: &mut usize, name: &str, value: FieldValue<'_>) {
    out.put_slice(if *names == 0 { b",\"extFields\":{" } else { b"," });
    *names += 1;
    put_string(out, name);
    out.put_u8(b':');
    // Every value is a string: C++ and Go clients fail on numbers.
    match value {
        FieldValue::Str(text) => put_string(out, text),
        FieldValue::Int(number) => {
            out.put_u8(b'"');
            put_int(out, number);
            out.put_u8(b'"');
        }
        FieldValue::Bool(true) => out.put_slice(b"\"true\""),
        FieldValue::Bool(false) => out.put_slice(b"\"false\""),
    }
}

fn put_tail(out: &mut BytesMut, flag: i32, language: Language, opaque: i32, remark: Option<&str>, version: i32) {
    out.put_slice(b",\"flag\":");
    put_int(out, i64::from(flag));
    out.put_slice(b",\"language\":\"");
    out.put_slice(language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    put_int(out, i64::from(opaque));
    if let Some(remark) = remark {
        out.put_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_int(out, i64::from(version));
    out.put_u8(b'}');
}

/// A string with fastjson's escapes; `/` and non-ASCII stay as they are.
pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            0..=31 | 127 => b'u',
            _ => continue,
        };
        out.put_slice(&text.as_bytes()[plain..at]);
        plain = at + 1;
        out.put_slice(&[b'\\', short]);
        if short == b'u' {
            const HEX: [u8; 16] = *b"0123456789ABCDEF";
            out.put_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out.put_slice(&text.as_bytes()[plain..]);
    out.put_u8(b'"');
}

/// Decimal digits without an allocation.
pub(crate) fn put_int(out: &mut BytesMut, value: i64) {
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
    out.put_slice(&digits[start..]);
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
        let mut out = BytesMut::new();
        encode(command, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
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
    fn the_quote_finder_agrees_with_a_plain_search() {
        let text = "abcdefghijklmnop\u{a2}\"qrs\\tuv\u{dc}w";
        for at in 0..=text.len() {
            let plain =
                text.bytes().skip(at).position(|byte| matches!(byte, b'"' | b'\\')).map_or(text.len(), |i| at + i);
            assert_eq!(find_quote_or_backslash(text.as_bytes(), at), plain);
        }
    }

    #[test]
    fn integers_are_written_in_full() {
        for value in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            put_int(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
        assert_eq!(read("{}").unwrap().codec, Codec::Json);
    }
}
