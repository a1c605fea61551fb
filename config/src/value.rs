use std::time::Duration;

/// What a value looks like in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number of 32 bits or less; the field's doc names the unit.
    Int,
    /// A whole number of 64 bits; the field's doc names the unit.
    Long,
    /// `true` or `false`.
    Bool,
    Text,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// Milliseconds.
    Millis,
}

/// A type that a config field can have.
pub trait ConfigValue: Sized {
    const KIND: Kind;

    /// The value of a text without surrounding white space; the error says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String>;

    /// The text that [`parse`](ConfigValue::parse) reads back.
    fn render(&self) -> String;

    /// The number that a field's range is about.
    fn number(&self) -> Option<i128> {
        None
    }
}

macro_rules! whole_number {
    ($($kind:ident: $($type:ty)+;)+) => {$($(
        impl ConfigValue for $type {
            const KIND: Kind = Kind::$kind;

            fn parse(text: &str) -> Result<Self, String> {
                let number: i128 = text.parse().map_err(|_| format!("`{text}` is not a whole number"))?;
                number
                    .try_into()
                    .map_err(|_| format!("`{text}` is outside {}..={}", <$type>::MIN, <$type>::MAX))
            }

            fn render(&self) -> String {
                self.to_string()
            }

            fn number(&self) -> Option<i128> {
                i128::try_from(*self).ok()
            }
        }
    )+)+};
}

whole_number! {
    Int: u16 i32 u32;
    Long: i64 u64 usize;
}

impl ConfigValue for bool {
    const KIND: Kind = Kind::Bool;

    /// Java takes everything but "true" for false; a typo in a switch is an error here.
    fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(format!("`{text}` is none of true, false"))
        }
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for String {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn render(&self) -> String {
        self.clone()
    }
}

impl ConfigValue for Duration {
    const KIND: Kind = Kind::Millis;

    fn parse(text: &str) -> Result<Self, String> {
        u64::parse(text).map(Duration::from_millis)
    }

    fn render(&self) -> String {
        self.as_millis().to_string()
    }

    fn number(&self) -> Option<i128> {
        i128::try_from(self.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_say_why() {
        assert_eq!(u16::parse("x1"), Err("`x1` is not a whole number".to_owned()));
        assert_eq!(u16::parse("70000"), Err("`70000` is outside 0..=65535".to_owned()));
        assert_eq!(u64::parse("-1"), Err("`-1` is outside 0..=18446744073709551615".to_owned()));
        assert_eq!(bool::parse("yes"), Err("`yes` is none of true, false".to_owned()));
        assert_eq!(bool::parse("TRUE"), Ok(true));
        assert_eq!(Duration::parse("1500"), Ok(Duration::from_millis(1500)));
    }
}
