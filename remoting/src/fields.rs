//! The extension fields of a header: names and texts in the sender's order.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::codec::binary;
use crate::codec::json::{self, Raw};

/// Extension fields, either still in the bytes of the header they came in or owned pairs of a command we make.
///
/// The wire form is checked when the header is decoded and read again by whoever wants the fields: no map, and no
/// allocation except for texts with escapes. Order is kept because signatures may cover it.
#[derive(Clone, Default)]
pub struct ExtFields(Form);

#[derive(Clone, Default)]
enum Form {
    #[default]
    Empty,
    /// A JSON object, braces included, that the scanner accepted, and where its fields are.
    Json(Bytes, json::Spans),
    /// The entries of a binary header that the codec accepted.
    Binary(Bytes),
    Owned(Vec<(Cow<'static, str>, String)>),
}

/// A field's value before it becomes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    Str(&'a str),
    Int(i64),
    Bool(bool),
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(value: &'a str) -> Self {
        FieldValue::Str(value)
    }
}

impl<'a> From<&'a String> for FieldValue<'a> {
    fn from(value: &'a String) -> Self {
        FieldValue::Str(value)
    }
}

impl<'a> From<&'a Cow<'_, str>> for FieldValue<'a> {
    fn from(value: &'a Cow<'_, str>) -> Self {
        FieldValue::Str(value)
    }
}

macro_rules! from_integer {
    ($($kind:ty),*) => {$(
        impl From<$kind> for FieldValue<'_> {
            fn from(value: $kind) -> Self {
                FieldValue::Int(i64::from(value))
            }
        }
    )*};
}

from_integer!(i32, i64, u8, u16, u32);

impl From<bool> for FieldValue<'_> {
    fn from(value: bool) -> Self {
        FieldValue::Bool(value)
    }
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Str(text) => formatter.write_str(text),
            FieldValue::Int(number) => number.fmt(formatter),
            FieldValue::Bool(truth) => truth.fmt(formatter),
        }
    }
}

impl ExtFields {
    pub const fn new() -> ExtFields {
        ExtFields(Form::Empty)
    }

    /// A scanned JSON object.
    pub(crate) fn from_json(object: Bytes, spans: json::Spans) -> ExtFields {
        ExtFields(Form::Json(object, spans))
    }

    /// Checked entries of a binary header.
    pub(crate) fn from_binary(entries: Bytes) -> ExtFields {
        ExtFields(Form::Binary(entries))
    }

    /// The same fields in memory of their own: those of a request share the memory of the whole read that brought it,
    /// and whoever keeps one for long would keep that.
    pub fn detached(self) -> ExtFields {
        ExtFields(match self.0 {
            Form::Json(object, spans) => Form::Json(Bytes::copy_from_slice(&object), spans),
            Form::Binary(entries) => Form::Binary(Bytes::copy_from_slice(&entries)),
            form @ (Form::Empty | Form::Owned(_)) => form,
        })
    }

    /// Appends a field, also if the name is there already: the last one counts.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) {
        if !matches!(self.0, Form::Owned(_)) {
            let owned = self.iter().map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned())).collect();
            self.0 = Form::Owned(owned);
        }
        if let Form::Owned(pairs) = &mut self.0 {
            pairs.push((name.into(), value.to_string()));
        }
    }

    /// The fields in the sender's order; a name may occur more than once.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.raw())
    }

    /// The fields without making text of them.
    #[inline]
    pub(crate) fn raw(&self) -> RawIter<'_> {
        match &self.0 {
            Form::Empty => RawIter::Empty,
            Form::Json(object, spans) => RawIter::Json(json::Entries::new(object, spans)),
            Form::Binary(entries) => RawIter::Binary(binary::Entries::new(entries)),
            Form::Owned(pairs) => RawIter::Owned(pairs.iter()),
        }
    }

    /// The value of a field; the last one if there are several, as in Java's map.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().filter(|(known, _)| known == name).last().map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromIterator<(String, String)> for ExtFields {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        ExtFields(Form::Owned(pairs.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect()))
    }
}

/// Equal fields in equal order, in whatever form they are held.
impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ExtFields {}

impl fmt::Debug for ExtFields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a ExtFields {
    type Item = (Cow<'a, str>, Cow<'a, str>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// See [`ExtFields::iter`].
pub struct Iter<'a>(RawIter<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.text(), value.text()))
    }
}

pub(crate) enum RawIter<'a> {
    Empty,
    Json(json::Entries<'a>),
    Binary(binary::Entries<'a>),
    Owned(std::slice::Iter<'a, (Cow<'static, str>, String)>),
}

impl<'a> Iterator for RawIter<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            RawIter::Empty => None,
            RawIter::Json(entries) => entries.next(),
            RawIter::Binary(entries) => entries.next(),
            RawIter::Owned(pairs) => {
                pairs.next().map(|(name, value)| (Raw::plain(name.as_bytes()), Raw::plain(value.as_bytes())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushed_fields_keep_their_order_and_the_last_counts() {
        let mut fields = ExtFields::new();
        fields.push("b", 1);
        fields.push("a", true);
        fields.push("b", "x");
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["b=1", "a=true", "b=x"]);
        assert_eq!(fields.get("b").as_deref(), Some("x"));
        assert_eq!(fields.get("c"), None);
    }

    #[test]
    fn pushing_to_received_fields_keeps_them() {
        let header = Bytes::from_static(b"{\"extFields\":{\"a\":1}}");
        let mut fields = json::decode(header).unwrap().fields;
        fields.push("b", "2");
        assert_eq!(fields.get("a").as_deref(), Some("1"));
        assert_eq!(fields.get("b").as_deref(), Some("2"));
    }
}
