//! Counts the objects of a JSON text before it is read: `{}` takes two bytes, what is made of it a hundred.

/// More objects than these are refused.
pub const MOST: usize = 50_000;
/// Shorter texts need no counting: what they can grow to is no harm.
const SMALL: usize = 256 * 1024;

pub fn are_too_many(json: &str) -> bool {
    json.len() > SMALL && count(json) > MOST
}

/// A brace within a string does not count.
fn count(json: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_within_strings_do_not_count() {
        assert_eq!(count(r#"{"a{":[{},"\"{",{"b":"\\"}]}"#), 3);
    }
}
