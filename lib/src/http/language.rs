//! The language in which a caller is told things: that of the words, or else the one that the client asks for.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;

use crate::domain::language::Language;
use crate::domain::message::{Message, Role};

/// A short reply may tell nothing: so many of the user's messages are looked at.
const LOOKED_AT: usize = 5;

/// What people write in; where that does not tell, what their client asks for; else English.
pub fn of_turn(messages: &[Message], headers: &HeaderMap) -> Language {
    let own = messages.iter().rev().filter(|one| one.role == Role::User);
    own.take(LOOKED_AT)
        .find_map(|message| Language::heard(&message.text))
        .or_else(|| asked_for(headers))
        .unwrap_or_default()
}

/// The language of ours that `Accept-Language` prefers.
pub fn asked_for(headers: &HeaderMap) -> Option<Language> {
    let asked = headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(f32, Language)> = None;
    for one in asked.split(',') {
        let (tag, weight) = one.split_once(';').unwrap_or((one, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        let weight: f32 = weight.trim().parse().unwrap_or(0.0);
        // Of several with the same weight, the first.
        if let Some(language) = Language::tagged(tag)
            && weight > best.map_or(0.0, |(known, _)| known)
        {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_of_ours_is_taken_by_its_weight() {
        let check = |asked: &str, expected: Option<Language>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, asked.parse().unwrap());
            assert_eq!(asked_for(&headers), expected, "{asked}");
        };
        check("uk-UA,uk;q=0.9,en;q=0.8", Some(Language::Ukrainian));
        check("ja, en;q=0.2, de;q=0.7", Some(Language::German));
        check("de;q=0, pl;q=x", None);
        check("*", None);
        assert_eq!(asked_for(&HeaderMap::new()), None);
    }

    #[test]
    fn words_tell_more_than_the_client() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_LANGUAGE, "de".parse().unwrap());
        let says = |texts: &[&str]| {
            let messages: Vec<_> = texts.iter().map(|text| Message::user(text)).collect();
            of_turn(&messages, &headers)
        };
        assert_eq!(says(&["What is this?"]), Language::English);
        assert_eq!(says(&["Що це?", "12345"]), Language::Ukrainian);
        assert_eq!(says(&["12345"]), Language::German);
    }
}
