//! The properties format of `java.util.Properties.load`, with positions kept for messages and edits.
//!
//! Two differences to Java: the text is UTF-8 (Java reads Latin-1 here), and a malformed `\uXXXX` is an error with
//! its place instead of an exception without one.

use std::ops::Range;

/// One `key = value` of a file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// Line of the key, from 1.
    pub line: usize,
    /// Column of the key in characters, from 1.
    pub column: usize,
    /// Bytes of the value in the text, escapes and continued lines included, without the end of the line.
    pub value_range: Range<usize>,
}

/// Where and why a text is not a properties file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub struct SyntaxError {
    pub line: usize,
    pub column: usize,
    pub reason: String,
}

/// All entries of a text. A key that occurs twice is there twice; in RocketMQ the last one wins.
pub fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let mut source = Source { text, at: 0, line: 1, column: 1 };
    let mut entries = Vec::new();
    while let Some(first) = source.peek() {
        if is_blank(first) || first == '\n' {
            source.next();
        } else if first == '#' || first == '!' {
            while source.next().is_some_and(|char| char != '\n') {}
        } else {
            let line = source.logical_line()?;
            if let Some(entry) = split(&line) {
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}

/// The text with `key` set to `value`: replaced where it last occurs, appended if it does not. Comments and order stay.
pub fn with_value(text: &str, key: &str, value: &str) -> Result<String, SyntaxError> {
    let value = escape_value(value);
    let entries = parse(text)?;
    let mut changed = text.to_owned();
    match entries.iter().rev().find(|entry| entry.key == key) {
        // A key alone on its line has no separator that the value could follow.
        Some(entry) if entry.value_range.is_empty() && !text[..entry.value_range.start].ends_with(['=', ':', ' ']) => {
            changed.replace_range(entry.value_range.clone(), &format!("={value}"));
        }
        Some(entry) => changed.replace_range(entry.value_range.clone(), &value),
        None => {
            if !changed.is_empty() && !changed.ends_with('\n') {
                changed.push('\n');
            }
            changed.push_str(&format!("{key}={value}\n"));
        }
    }
    Ok(changed)
}

fn escape_value(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (index, char) in value.chars().enumerate() {
        match char {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            ' ' if index == 0 => escaped.push_str("\\ "),
            _ => escaped.push(char),
        }
    }
    escaped
}

/// White space that separates; line ends are not among it.
fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\u{c}')
}

/// A character of a logical line, unescaped, with its place.
struct Unit {
    char: char,
    escaped: bool,
    line: usize,
    column: usize,
    /// First byte and one past the last byte in the text.
    range: Range<usize>,
}

fn split(units: &[Unit]) -> Option<Entry> {
    let first = units.first()?;
    let bare = |unit: &Unit, what: fn(char) -> bool| !unit.escaped && what(unit.char);
    let is_separator: fn(char) -> bool = |char| matches!(char, '=' | ':');
    let key_end = units.iter().position(|unit| bare(unit, is_separator) || bare(unit, is_blank)).unwrap_or(units.len());
    let mut at = key_end;
    while units.get(at).is_some_and(|unit| bare(unit, is_blank)) {
        at += 1;
    }
    if units.get(at).is_some_and(|unit| bare(unit, is_separator)) {
        at += 1;
        while units.get(at).is_some_and(|unit| bare(unit, is_blank)) {
            at += 1;
        }
    }
    let line_end = units.last().map_or(first.range.end, |unit| unit.range.end);
    Some(Entry {
        key: units[..key_end].iter().map(|unit| unit.char).collect(),
        value: units[at..].iter().map(|unit| unit.char).collect(),
        line: first.line,
        column: first.column,
        value_range: units.get(at).map_or(line_end, |unit| unit.range.start)..line_end,
    })
}

/// The text as characters; `\r\n` and `\r` read as `\n`.
struct Source<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    column: usize,
}

impl Source<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next().map(|char| if char == '\r' { '\n' } else { char })
    }

    fn next(&mut self) -> Option<char> {
        let char = self.text[self.at..].chars().next()?;
        self.at += char.len_utf8();
        if char == '\n' || char == '\r' {
            if char == '\r' && self.text[self.at..].starts_with('\n') {
                self.at += 1;
            }
            self.line += 1;
            self.column = 1;
            return Some('\n');
        }
        self.column += 1;
        Some(char)
    }

    /// Reads up to and with the end of the line, continued lines joined, escapes resolved.
    fn logical_line(&mut self) -> Result<Vec<Unit>, SyntaxError> {
        let mut units = Vec::new();
        loop {
            let (start, line, column) = (self.at, self.line, self.column);
            let (char, escaped) = match self.next() {
                None | Some('\n') => return Ok(units),
                Some('\\') => match self.next() {
                    None => return Ok(units),
                    Some('\n') => {
                        while self.peek().is_some_and(is_blank) {
                            self.next();
                        }
                        continue;
                    }
                    Some('u') => (self.unicode_escape(line, column)?, true),
                    Some('t') => ('\t', true),
                    Some('n') => ('\n', true),
                    Some('r') => ('\r', true),
                    Some('f') => ('\u{c}', true),
                    Some(other) => (other, true),
                },
                Some(char) => (char, false),
            };
            units.push(Unit { char, escaped, line, column, range: start..self.at });
        }
    }

    /// What follows `\u`: four hexadecimal digits, and for a high surrogate a second escape.
    fn unicode_escape(&mut self, line: usize, column: usize) -> Result<char, SyntaxError> {
        let malformed = |reason: &str| SyntaxError { line, column, reason: reason.to_owned() };
        let high = self.four_digits().ok_or_else(|| malformed("\\u needs four hexadecimal digits"))?;
        let mut pair = vec![high];
        if (0xD800..0xDC00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            self.next();
            self.next();
            pair.push(self.four_digits().ok_or_else(|| malformed("\\u needs four hexadecimal digits"))?);
        }
        let mut decoded = char::decode_utf16(pair);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(char)), None) => Ok(char),
            _ => Err(malformed("\\u escape is half of a surrogate pair")),
        }
    }

    fn four_digits(&mut self) -> Option<u16> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.peek()?.to_digit(16)?;
            self.next();
            number = number << 4 | digit;
        }
        u16::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_comments_and_white_space_follow_java() {
        let text = "# one\n  ! two\n\n a=1\nb : 2\r\nc 3\n\td\t=\t4 \ne\nf==5\ng= a b \n";
        assert_eq!(
            pairs(text),
            [
                pair("a", "1"),
                pair("b", "2"),
                pair("c", "3"),
                pair("d", "4 "),
                pair("e", ""),
                pair("f", "=5"),
                pair("g", "a b "),
            ]
        );
    }

    #[test]
    fn lines_continue_after_an_odd_number_of_backslashes() {
        assert_eq!(
            pairs("fruits = apple, \\\n    pear\nk\\\n   ey=v\nx=\\\\\ny=1\\"),
            [pair("fruits", "apple, pear"), pair("key", "v"), pair("x", "\\"), pair("y", "1"),]
        );
        assert_eq!(pairs("# comment \\\na=1"), [pair("a", "1")], "a comment is never continued");
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(pairs(r"a\=b\:c\ d=\t\n\q\u00e9\uD83D\uDE00"), [pair("a=b:c d", "\t\nq\u{e9}\u{1F600}")]);
    }

    #[test]
    fn a_malformed_escape_names_its_place() {
        let error = parse("a=1\nb=x\\u12g4").unwrap_err();
        assert_eq!(error.to_string(), "2:4: \\u needs four hexadecimal digits");
        assert_eq!(parse("b=\\uD800").unwrap_err().reason, "\\u escape is half of a surrogate pair");
    }

    #[test]
    fn positions_are_of_the_key() {
        let entries = parse("a=1\n\n   bé = 2").unwrap();
        assert_eq!((entries[1].line, entries[1].column), (3, 4));
    }

    #[test]
    fn an_edit_keeps_comments_and_order() {
        let text = "# top\na = 1\nb=2\\\n  3 # not a comment\nc\n";
        assert_eq!(with_value(text, "a", "x\\y").unwrap(), "# top\na = x\\\\y\nb=2\\\n  3 # not a comment\nc\n");
        assert_eq!(with_value(text, "b", "9").unwrap(), "# top\na = 1\nb=9\nc\n");
        assert_eq!(with_value(text, "c", "9").unwrap(), "# top\na = 1\nb=2\\\n  3 # not a comment\nc=9\n");
        assert_eq!(with_value("a=1", "d", " 9").unwrap(), "a=1\nd=\\ 9\n");
    }
}
