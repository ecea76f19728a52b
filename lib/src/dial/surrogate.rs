//! Halves of characters in JSON text: `\\ud83d` without its other half, as clients send that cut emoji.

use std::borrow::Cow;

/// The text with every lone surrogate escape replaced by `\\ufffd`; the text itself when there is none.
pub fn mended(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(offset) = text.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + offset;
        at = start
            + match (unit(text, start), unit(text, start + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
                (Some(0xd800..=0xdfff), _) => {
                    out.push_str(text.get(copied..start).unwrap_or_default());
                    out.push_str("\\ufffd");
                    copied = start + 6;
                    6
                }
                // Whatever is escaped, a backslash and what follows it belong together.
                _ => 2,
            };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// The code unit of a `\\uXXXX` escape that begins at this place.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_halves_are_replaced() {
        for (text, expected) in [
            ("plain", "plain"),
            (r"a\ud83d\ude00b", r"a\ud83d\ude00b"),
            (r"a\ud83d", r"a\ufffd"),
            (r"\ude00 b", r"\ufffd b"),
            (r"\ud83dx\ude00", r"\ufffdx\ufffd"),
            (r"\ud83d\ud83d\ude00", r"\ufffd\ud83d\ude00"),
            (r"\\ud83d", r"\\ud83d"),
            (r"\u00e4\n\", r"\u00e4\n\"),
            (r"\ud8", r"\ud8"),
            ("\\\u{2600}\u{2600}\u{2600}", "\\\u{2600}\u{2600}\u{2600}"),
        ] {
            assert_eq!(mended(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_mended_can_be_read(text in r"(\\\\|\\u[dD][89a-fA-F][0-9]{2}|\\n|[a-z\x{2600}]){0,12}") {
            let json = format!("\"{}\"", mended(&text));
            proptest::prop_assert!(serde_json::from_str::<String>(&json).is_ok(), "{}", json);
        }
    }
}
