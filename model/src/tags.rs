//! Tag codes: Java's `String.hashCode` over UTF-16 units.

/// Java's `String.hashCode`: 31-polynomial over UTF-16 units with i32 wrap.
pub fn java_hash_code(text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(0, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    }
    text.encode_utf16().fold(0, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// What a consume queue unit stores for a message's TAGS property: the sign-extended hash, 0 without tags.
#[doc(alias = "tagsString2tagsCode")]
pub fn tags_code(tags: Option<&str>) -> i64 {
    match tags {
        None | Some("") => 0,
        Some(tags) => i64::from(java_hash_code(tags)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_are_javas() {
        assert_eq!(java_hash_code("TagA"), 2_598_919);
        assert_eq!(java_hash_code("%RETRY%"), 891_795_202);
        assert_eq!(java_hash_code("中"), 20013);
    }
}
