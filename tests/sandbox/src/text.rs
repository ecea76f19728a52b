//! Small things the stand-ins do with text.

use serde_json::Value;

/// The text of a message's content: a string, or the text parts of a list.
pub(crate) fn of_content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    }
}

/// The user's own words: a line that begins with `---` starts the coordinator's note to the agent.
pub(crate) fn without_note(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            break;
        }
        end += line.len();
    }
    text.get(..end).unwrap_or(text).trim()
}

/// Words in lower case, without the punctuation around them and without a possessive ending.
pub(crate) fn lower_words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .flat_map(|word| word.split(['/', ',', '—', '…']))
        .map(|word| bare(word).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// A word without punctuation around it and without a possessive ending.
pub(crate) fn bare(word: &str) -> &str {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.strip_suffix("'s")
        .or_else(|| word.strip_suffix("’s"))
        .unwrap_or(word)
}

/// Whether these words follow each other somewhere.
pub(crate) fn has_phrase(words: &[String], phrase: &str) -> bool {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    words.windows(phrase.len()).any(|window| window == phrase)
}

pub(crate) fn has_any(words: &[String], any: &[&str]) -> bool {
    words.iter().any(|word| any.contains(&word.as_str()))
}

pub(crate) fn is_capitalised(word: &str) -> bool {
    word.chars().next().is_some_and(char::is_uppercase)
}

pub(crate) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Word-sized pieces which, put together, are the text again.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    text.split_inclusive(char::is_whitespace)
        .map(str::to_owned)
        .collect()
}

/// Words count as tokens here: simple, and the same everywhere.
pub(crate) fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// FNV-1a: the same on every machine and in every release, so that the same question always gets the same answer.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_text() {
        let text = "Hello,\n\n![image](files/a b.png) — світ ";
        assert_eq!(pieces(text).concat(), text);
    }

    #[test]
    fn the_coordinators_note_is_not_the_users_words() {
        assert_eq!(without_note("In Paris\n\n--- note\nBe brief"), "In Paris");
        assert_eq!(
            without_note("  a --- b\nsecond line "),
            "a --- b\nsecond line"
        );
        assert_eq!(without_note("---\nonly a note"), "");
    }

    #[test]
    fn words_lose_case_and_punctuation() {
        assert_eq!(
            lower_words("Do we have John's (user-friendly) file?"),
            ["do", "we", "have", "john", "user-friendly", "file"]
        );
    }
}
