//! JSON as fastjson reads it: besides the standard, keys without quotes (integers, identifiers), keys that are
//! objects, single quotes, trailing commas and comments.
//!
//! An object used as a key becomes its own text as a string, which fastjson accepts in its place.

use serde_json::{Map, Number, Value};

/// Deepest nesting.
pub const MAX_DEPTH: usize = 32;
/// Most values and keys in one text: a value costs far more memory than its two bytes of text.
pub const MAX_NODES: usize = 1_000_000;

/// Why a text is not JSON even leniently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("expected {expected} at byte {at}")]
    Syntax { expected: &'static str, at: usize },
    #[error("more than {limit} levels of nesting at byte {at}")]
    TooDeep { limit: usize, at: usize },
    #[error("more than {limit} values")]
    TooMany { limit: usize },
    #[error("not UTF-8 at byte {at}")]
    NotText { at: usize },
}

/// Reads one value; blanks and comments may follow it. An empty text is `null`.
pub fn parse(text: &[u8]) -> Result<Value, ParseError> {
    let text = std::str::from_utf8(text).map_err(|error| ParseError::NotText { at: error.valid_up_to() })?;
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, nodes: 0 };
    parser.blank()?;
    if parser.peek().is_none() {
        return Ok(Value::Null);
    }
    let value = parser.value(0)?;
    parser.blank()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.expected("the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        ParseError::Syntax { expected, at: self.at }
    }

    /// Skips blanks and comments.
    fn blank(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0c) => self.at += 1,
                Some(b'/') => self.comment()?,
                // A byte order mark.
                Some(0xef) if self.bytes[self.at..].starts_with(b"\xef\xbb\xbf") => self.at += 3,
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), ParseError> {
        let (from, end, needed) = match self.bytes.get(self.at + 1) {
            Some(b'/') => (self.at + 2, "\n", false),
            Some(b'*') => (self.at + 2, "*/", true),
            _ => return Err(self.expected("a comment")),
        };
        match self.text[from..].find(end) {
            Some(length) => self.at = from + length + end.len(),
            None if needed => return Err(self.expected("the end of a comment")),
            None => self.at = self.bytes.len(),
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES { Err(ParseError::TooMany { limit: MAX_NODES }) } else { Ok(()) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.count()?;
        if depth >= MAX_DEPTH {
            return Err(ParseError::TooDeep { limit: MAX_DEPTH, at: self.at });
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Value::String),
            Some(_) => self.bare(),
            None => Err(self.expected("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut values = Vec::new();
        loop {
            self.commas()?;
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Value::Array(values));
            }
            values.push(self.value(depth + 1)?);
            self.blank()?;
            if !matches!(self.peek(), Some(b',' | b']')) {
                return Err(self.expected(", or ]"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut entries = Map::new();
        loop {
            self.commas()?;
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Value::Object(entries));
            }
            let key = self.key(depth)?;
            self.blank()?;
            if self.peek() != Some(b':') {
                return Err(self.expected(":"));
            }
            self.at += 1;
            self.blank()?;
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            self.blank()?;
            if !matches!(self.peek(), Some(b',' | b'}')) {
                return Err(self.expected(", or }"));
            }
        }
    }

    /// Blanks and any number of commas.
    fn commas(&mut self) -> Result<(), ParseError> {
        self.blank()?;
        while self.peek() == Some(b',') {
            self.at += 1;
            self.blank()?;
        }
        Ok(())
    }

    fn key(&mut self, depth: usize) -> Result<String, ParseError> {
        self.count()?;
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            Some(b'{' | b'[') => {
                let start = self.at;
                self.value(depth + 1)?;
                Ok(self.text[start..self.at].to_owned())
            }
            _ => self.word().map(str::to_owned),
        }
    }

    /// A number, a name or a literal.
    fn word(&mut self) -> Result<&str, ParseError> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'+' | b'.') || byte >= 0x80) {
                break;
            }
            self.at += 1;
        }
        if self.at == start { Err(self.expected("a value")) } else { Ok(&self.text[start..self.at]) }
    }

    fn bare(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        let word = self.word()?;
        Ok(match word {
            "null" | "undefined" | "NaN" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => match number(word) {
                Some(number) => Value::Number(number),
                // An identifier that stands for a string, as fastjson takes enum names.
                None if word.as_bytes()[0].is_ascii_alphabetic() => Value::String(word.to_owned()),
                None => return Err(ParseError::Syntax { expected: "a number", at: start }),
            },
        })
    }

    fn string(&mut self, quote: u8) -> Result<String, ParseError> {
        self.at += 1;
        let mut text = String::new();
        let mut plain = self.at;
        loop {
            match self.peek() {
                None => return Err(self.expected("the end of a string")),
                Some(byte) if byte == quote => {
                    text.push_str(&self.text[plain..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    text.push_str(&self.text[plain..self.at]);
                    text.push(self.escape()?);
                    plain = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let escaped = match self.bytes.get(self.at + 1) {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'v') => '\u{b}',
            Some(b'u') => return self.unicode_escape(),
            Some(byte @ (b'"' | b'\'' | b'\\' | b'/')) => *byte as char,
            _ => return Err(self.expected("an escape")),
        };
        self.at += 2;
        Ok(escaped)
    }

    fn unicode_escape(&mut self) -> Result<char, ParseError> {
        let high = self.unit(self.at).ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 6;
        if !(0xD800..0xDC00).contains(&high) {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        match self.unit(self.at) {
            Some(low @ 0xDC00..0xE000) => {
                self.at += 6;
                let point = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                Ok(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Ok(char::REPLACEMENT_CHARACTER),
        }
    }

    /// The number of `\uXXXX` at a position.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
    }
}

/// Integers of 64 bits exactly, with Java's suffix too; all else as a double.
fn number(word: &str) -> Option<Number> {
    let digits = word.strip_suffix(['L', 'l']).unwrap_or(word);
    if let Ok(integer) = digits.parse::<i64>() {
        return Some(integer.into());
    }
    if let Ok(integer) = digits.parse::<u64>() {
        return Some(integer.into());
    }
    // Keeps words such as `inf` and `nan` names.
    word.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.'))
        .then(|| word.parse().ok().and_then(Number::from_f64))
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn fastjsons_dialect_is_read() {
        assert_eq!(read("{0:'a',\"1\":\"b\", x_y : CLUSTERING,}"), json!({"0": "a", "1": "b", "x_y": "CLUSTERING"}));
        assert_eq!(read("[1,,2,]//end"), json!([1, 2]));
        assert_eq!(read("/* a */{\"a\"/**/:-1.5,'b':[true,null]} \n"), json!({"a": -1.5, "b": [true, null]}));
        assert_eq!(read("[9223372036854775807,1L,18446744073709551615,1e3]"), json!([i64::MAX, 1, u64::MAX, 1000.0]));
        assert_eq!(read(""), Value::Null);
    }

    #[test]
    fn objects_as_keys_keep_their_text() {
        let text = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"maxOffset":10},[1]:2}}"#;
        let table = &read(text)["offsetTable"];
        assert_eq!(table[r#"{"brokerName":"b","queueId":0,"topic":"T"}"#]["maxOffset"], 10);
        assert_eq!(table["[1]"], 2);
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(read(r#""\u4e2d\/\t\"\'\\\ud83d\ude00\ud83d""#), json!("中/\t\"'\\😀\u{FFFD}"));
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in ["{", "[1", "{\"a\"}", "{\"a\":}", "\"a", "[1 2]", "{}}", "/*", "\"\\x\"", "-", "\"\\u12\"", "[/1]"]
        {
            assert!(matches!(parse(text.as_bytes()), Err(ParseError::Syntax { .. })), "{text}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(ParseError::NotText { at: 1 }));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        assert!(matches!(parse("[".repeat(1 << 20).as_bytes()), Err(ParseError::TooDeep { .. })));
        assert!(matches!(parse("{".repeat(1 << 20).as_bytes()), Err(ParseError::TooDeep { .. })));
        let many = format!("[{}]", "0,".repeat(MAX_NODES + 1));
        assert_eq!(parse(many.as_bytes()), Err(ParseError::TooMany { limit: MAX_NODES }));
    }
}
