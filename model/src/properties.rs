//! The properties text of a message: `name \u{1} value \u{2} name \u{1} value …`.

pub const NAME_VALUE_SEPARATOR: u8 = 1;
pub const PROPERTY_SEPARATOR: u8 = 2;
/// The stored length field is a signed 16-bit number.
pub const MAX_LENGTH_BYTES: usize = i16::MAX as usize;

pub const KEYS: &str = "KEYS";
pub const TAGS: &str = "TAGS";
pub const WAIT: &str = "WAIT";
/// Level of a 4.x delay, 0 for none.
pub const DELAY: &str = "DELAY";
/// Times of 5.x delays.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
pub const REAL_TOPIC: &str = "REAL_TOPIC";
pub const REAL_QID: &str = "REAL_QID";
pub const TRAN_MSG: &str = "TRAN_MSG";
pub const PGROUP: &str = "PGROUP";
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
pub const UNIQ_KEY: &str = "UNIQ_KEY";
pub const CLUSTER: &str = "CLUSTER";

/// Name-value pairs in the order they are written. Segments without a separator, with an empty name or an empty
/// value are skipped, as RocketMQ's `MessageDecoder.string2messageProperties` does.
pub fn iter(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == PROPERTY_SEPARATOR).filter_map(|segment| {
        let middle = segment.iter().position(|byte| *byte == NAME_VALUE_SEPARATOR)?;
        let (name, value) = (&segment[..middle], &segment[middle + 1..]);
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// The value of a property; the last one wins, as it does when Java puts them into a map.
pub fn get<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    iter(text).filter(|(candidate, _)| *candidate == name.as_bytes()).last().map(|(_, value)| value)
}

/// The value of a property as text, `None` if it is missing or not UTF-8.
pub fn get_str<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    get(text, name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Whether a message asks to be delivered later.
pub fn is_delayed(text: &[u8]) -> bool {
    let has_level = get_str(text, DELAY).and_then(|level| level.parse::<i32>().ok()).is_some_and(|level| level > 0);
    has_level || [TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS].iter().any(|name| get(text, name).is_some())
}

/// Appends `name value` to a properties text.
pub fn push(text: &mut Vec<u8>, name: &str, value: &str) {
    if !text.is_empty() && text.last() != Some(&PROPERTY_SEPARATOR) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.extend_from_slice(name.as_bytes());
    text.push(NAME_VALUE_SEPARATOR);
    text.extend_from_slice(value.as_bytes());
}

/// Appends every property of `text` but those named to `out`.
pub fn push_without(out: &mut Vec<u8>, text: &[u8], left_out: &[&str]) {
    for (name, value) in iter(text) {
        if left_out.iter().any(|left_out| left_out.as_bytes() == name) {
            continue;
        }
        if !out.is_empty() && out.last() != Some(&PROPERTY_SEPARATOR) {
            out.push(PROPERTY_SEPARATOR);
        }
        out.extend_from_slice(name);
        out.push(NAME_VALUE_SEPARATOR);
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_old_and_new_writers() {
        for text in ["TAGS\u{1}a\u{2}KEYS\u{1}k", "TAGS\u{1}a\u{2}KEYS\u{1}k\u{2}"] {
            assert_eq!(get_str(text.as_bytes(), TAGS), Some("a"));
            assert_eq!(get_str(text.as_bytes(), KEYS), Some("k"));
        }
        assert_eq!(iter(b"\x01v\x02n\x01\x02nosep").count(), 0);
    }

    #[test]
    fn delays_of_both_generations_are_seen() {
        for text in
            ["DELAY\u{1}3", "K\u{1}v\u{2}TIMER_DELAY_SEC\u{1}5", "TIMER_DELAY_MS\u{1}5", "TIMER_DELIVER_MS\u{1}5"]
        {
            assert!(is_delayed(text.as_bytes()), "{text}");
        }
        for text in ["", "DELAY\u{1}0", "DELAY\u{1}x", "TAGS\u{1}DELAY"] {
            assert!(!is_delayed(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_last_value_wins_and_removal_keeps_the_rest() {
        let text = b"A\x011\x02WAIT\x01true\x02A\x012";
        assert_eq!(get_str(text, "A"), Some("2"));
        let mut out = Vec::new();
        push_without(&mut out, text, &[WAIT]);
        push(&mut out, CLUSTER, "c");
        assert_eq!(out, b"A\x011\x02A\x012\x02CLUSTER\x01c");
    }
}
