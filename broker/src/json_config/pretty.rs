//! fastjson's pretty form: a tab per level, no blank after the colon.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

struct FastjsonFormatter(PrettyFormatter<'static>);

impl Formatter for FastjsonFormatter {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b":")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// The pretty text of objects, strings, numbers and booleans; fields in the order of the type.
pub(super) fn to_string(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = FastjsonFormatter(PrettyFormatter::with_indent(b"\t"));
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, formatter));
    // Maps here have string keys and the writer is memory, so there is nothing that could fail.
    debug_assert!(written.is_ok());
    String::from_utf8(text).unwrap_or_default()
}
