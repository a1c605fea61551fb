use std::borrow::Cow;

use crate::codec::json::Raw;
use crate::fields::ExtFields;

/// Why the fields of a request are not its header. Answered with SYSTEM_ERROR and this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    #[error("the custom field <{name}> is not a number of {bits} bits: {value}")]
    NotANumber { name: &'static str, bits: u32, value: String },
}

/// Longest part of a wrong value that an error repeats, in characters.
const VALUE_CHARS: usize = 64;

/// What a header can consist of.
pub(crate) trait HeaderField<'a>: Sized {
    /// The value of a field that is there.
    fn read(name: &'static str, value: Raw<'a>) -> Result<Self, FieldError>;
    /// The value of a field that is not.
    fn absent(name: &'static str) -> Result<Self, FieldError>;
    /// Appends the field, unless it has no value.
    fn write(&self, name: &'static str, fields: &mut ExtFields);
}

impl<'a> HeaderField<'a> for Cow<'a, str> {
    #[inline]
    fn read(_: &'static str, value: Raw<'a>) -> Result<Self, FieldError> {
        Ok(value.text())
    }

    fn absent(name: &'static str) -> Result<Self, FieldError> {
        Err(FieldError::Missing(name))
    }

    fn write(&self, name: &'static str, fields: &mut ExtFields) {
        fields.push(name, self);
    }
}

/// An optional field. Empty counts as absent: the C++ client sends groups it does not have so.
impl<'a, T: HeaderField<'a>> HeaderField<'a> for Option<T> {
    #[inline]
    fn read(name: &'static str, value: Raw<'a>) -> Result<Self, FieldError> {
        if value.bytes.is_empty() { Ok(None) } else { T::read(name, value).map(Some) }
    }

    fn absent(_: &'static str) -> Result<Self, FieldError> {
        Ok(None)
    }

    fn write(&self, name: &'static str, fields: &mut ExtFields) {
        if let Some(value) = self {
            value.write(name, fields);
        }
    }
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl<'a> HeaderField<'a> for $kind {
            #[inline]
            fn read(name: &'static str, value: Raw<'a>) -> Result<Self, FieldError> {
                let number = integer(value.bytes).and_then(|number| <$kind>::try_from(number).ok());
                number.ok_or_else(|| not_a_number(name, <$kind>::BITS, value))
            }

            fn absent(name: &'static str) -> Result<Self, FieldError> {
                Err(FieldError::Missing(name))
            }

            fn write(&self, name: &'static str, fields: &mut ExtFields) {
                fields.push(name, self);
            }
        }
    )*};
}

numbers!(i32, i64);

#[cold]
fn not_a_number(name: &'static str, bits: u32, value: Raw<'_>) -> FieldError {
    FieldError::NotANumber { name, bits, value: value.text().chars().take(VALUE_CHARS).collect() }
}

/// Decimal digits with an optional sign, as Java's `Long.parseLong` takes them.
#[inline]
fn integer(text: &[u8]) -> Option<i64> {
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        [b'+', digits @ ..] => (digits, false),
        digits => (digits, false),
    };
    // 18 digits cannot overflow.
    if digits.is_empty() || digits.len() > 18 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let mut number = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number * 10 + i64::from(value);
    }
    Some(if negative { -number } else { number })
}

/// As Java parses: `true` in any case is true, everything else and nothing is false.
impl<'a> HeaderField<'a> for bool {
    #[inline]
    fn read(_: &'static str, value: Raw<'a>) -> Result<Self, FieldError> {
        Ok(value.bytes.eq_ignore_ascii_case(b"true"))
    }

    fn absent(_: &'static str) -> Result<Self, FieldError> {
        Ok(false)
    }

    fn write(&self, name: &'static str, fields: &mut ExtFields) {
        fields.push(name, self);
    }
}

/// The text of a name given as bytes. Names are matched as byte strings because those compile to one decision tree.
pub(crate) const fn name(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(name) => name,
        Err(_) => panic!("names are ASCII"),
    }
}

/// Reads fields into a struct by one pass over them: per field of the struct its type and its name on the wire.
///
/// Escapes in names are not resolved: no sender escapes a letter.
macro_rules! decode {
    ($fields:expr => $header:ident { $( $field:ident : $kind:ty = $wire:literal ),* $(,)? }) => {{
        use $crate::header::field::{HeaderField, name as text};
        $( let mut $field: Option<$kind> = None; )*
        for (name, value) in $fields.raw() {
            match name.bytes {
                $( $wire => $field = Some(HeaderField::read(text($wire), value)?), )*
                _ => {}
            }
        }
        Ok($header {
            $( $field: match $field {
                Some(value) => value,
                None => HeaderField::absent(text($wire))?,
            }, )*
        })
    }};
}
pub(crate) use decode;

/// Makes fields of a struct; the mirror of [`decode!`].
macro_rules! encode {
    ($header:expr => { $( $field:ident = $wire:literal ),* $(,)? }) => {{
        use $crate::header::field::{HeaderField, name as text};
        let mut fields = $crate::ExtFields::new();
        $( HeaderField::write(&$header.$field, text($wire), &mut fields); )*
        fields
    }};
}
pub(crate) use encode;

/// Defines a header whose texts are borrowed from the request: per field its name here, its type and its name on the
/// wire.
macro_rules! header {
    (
        $(#[$about:meta])*
        $header:ident<$life:lifetime> {
            $( $(#[$field_about:meta])* $field:ident : $kind:ty = $wire:literal ),* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $header<$life> {
            $( $(#[$field_about])* pub $field: $kind, )*
        }

        impl<$life> $header<$life> {
            /// Reads the header out of the fields of a request or answer.
            pub fn decode(fields: &$life $crate::ExtFields) -> Result<Self, $crate::header::FieldError> {
                $crate::header::field::decode!(fields => $header { $( $field: $kind = $wire ),* })
            }

            /// The fields as they go on the wire.
            pub fn to_fields(&self) -> $crate::ExtFields {
                $crate::header::field::encode!(self => { $( $field = $wire ),* })
            }
        }
    };
}
pub(crate) use header;

/// Like [`header!`] for headers without text, which borrow nothing.
macro_rules! plain_header {
    (
        $(#[$about:meta])*
        $header:ident {
            $( $(#[$field_about:meta])* $field:ident : $kind:ty = $wire:literal ),* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $header {
            $( $(#[$field_about])* pub $field: $kind, )*
        }

        impl $header {
            /// Reads the header out of the fields of a request or answer.
            pub fn decode(fields: &$crate::ExtFields) -> Result<Self, $crate::header::FieldError> {
                $crate::header::field::decode!(fields => $header { $( $field: $kind = $wire ),* })
            }

            /// The fields as they go on the wire.
            pub fn to_fields(&self) -> $crate::ExtFields {
                $crate::header::field::encode!(self => { $( $field = $wire ),* })
            }
        }
    };
}
pub(crate) use plain_header;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{CreateTopicRequestHeader, SearchOffsetRequestHeader};

    fn fields(pairs: &[(&'static str, &str)]) -> ExtFields {
        let mut fields = ExtFields::new();
        pairs.iter().for_each(|(name, value)| fields.push(*name, value));
        fields
    }

    #[test]
    fn fields_are_read_by_their_types() {
        let given = fields(&[
            ("x", "?"),
            ("topic", "a"),
            ("readQueueNums", "-3"),
            ("writeQueueNums", "+4"),
            ("perm", "6"),
            ("order", "TRUE"),
            ("defaultTopic", ""),
            ("topicSysFlag", ""),
            ("topic", "b"),
        ]);
        let header = CreateTopicRequestHeader::decode(&given).unwrap();
        let expected = CreateTopicRequestHeader {
            topic: "b".into(),
            default_topic: None,
            read_queue_nums: -3,
            write_queue_nums: 4,
            perm: 6,
            topic_filter_type: None,
            topic_sys_flag: None,
            order: true,
            attributes: None,
        };
        assert_eq!(header, expected);
        assert_eq!(CreateTopicRequestHeader::decode(&header.to_fields()).unwrap(), expected);
    }

    #[test]
    fn errors_name_the_field() {
        let missing = SearchOffsetRequestHeader::decode(&ExtFields::new()).unwrap_err();
        assert_eq!(missing.to_string(), "the custom field <topic> is null");
        let given = fields(&[("topic", ""), ("queueId", "3x")]);
        let wrong = SearchOffsetRequestHeader::decode(&given).unwrap_err();
        assert_eq!(wrong.to_string(), "the custom field <queueId> is not a number of 32 bits: 3x");
        let given = fields(&[("topic", ""), ("queueId", "3"), ("timestamp", "9223372036854775808")]);
        let wrong = SearchOffsetRequestHeader::decode(&given);
        assert!(matches!(wrong, Err(FieldError::NotANumber { name: "timestamp", bits: 64, .. })));
    }
}
