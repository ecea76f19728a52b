//! The trick `weather_search`: made-up weather, the same for a city every time.

use serde_json::json;

use super::tool::Tool;
use crate::text::{bare, capitalised, hash, is_capitalised};

/// What the user wants to know the weather of.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    City(String),
    Unknown,
}

const SKIES: &[&str] = &[
    "sunny",
    "cloudy",
    "rainy",
    "windy",
    "partly cloudy",
    "foggy",
];

/// Words that no city begins with, or that come after one.
const NOT_A_CITY: &[&str] = &[
    "a",
    "an",
    "and",
    "any",
    "be",
    "celsius",
    "check",
    "current",
    "degrees",
    "draw",
    "fahrenheit",
    "find",
    "for",
    "generate",
    "get",
    "give",
    "how",
    "i",
    "is",
    "it",
    "like",
    "me",
    "my",
    "next",
    "no",
    "now",
    "of",
    "on",
    "or",
    "our",
    "please",
    "right",
    "show",
    "tell",
    "thanks",
    "that",
    "the",
    "then",
    "this",
    "today",
    "tomorrow",
    "tonight",
    "we",
    "what",
    "which",
    "will",
    "with",
    "yes",
    "your",
];

/// More words than this after "Which location?" are no answer to it.
const REPLY_WORDS: usize = 5;

/// Reads a wish for weather, also as a reply to what the agent said before.
pub(super) fn wish(text: &str, before: Option<&str>) -> Option<Wish> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let about = |word: &&str| {
        let word = bare(word).to_lowercase();
        ["weather", "forecast", "temperature"].contains(&word.as_str())
    };
    if let Some(at) = words.iter().position(about) {
        let city = city_after(&words, &["in", "for", "at", "of"]);
        let city = city.or_else(|| city_before(words.get(..at)?));
        return Some(city.map_or(Wish::Unknown, Wish::City));
    }
    let before = before.filter(|_| words.len() <= REPLY_WORDS)?;
    let city = city_after(&words, &["in", "for", "at", "about"]);
    let city = if before.contains("Which location") {
        city.or_else(|| name(&words))
    } else {
        city.filter(|_| before.contains(" weather is "))
    };
    city.map(Wish::City)
}

/// "18°C, sunny".
pub(super) fn of(city: &str) -> String {
    match city {
        "Paris" => "18°C, sunny".to_owned(),
        "Kyiv" => "15°C, cloudy".to_owned(),
        _ => {
            let hash = hash(&city.to_lowercase());
            let place = usize::try_from(hash >> 32).unwrap_or_default();
            let sky = SKIES.get(place % SKIES.len());
            format!("{}°C, {}", hash % 30, sky.unwrap_or(&"sunny"))
        }
    }
}

pub(super) fn search(city: &str) -> (Tool, String) {
    let weather = of(city);
    let source = format!(
        "https://weather.example/{}",
        city.to_lowercase().replace(' ', "-")
    );
    let result = json!({"location": city, "weather": weather, "source": source});
    let tool = Tool::new("weather_search", json!({"location": city}), &result);
    let said = format!("{city} weather is {weather}. [Source: made-up weather]({source})");
    (tool, said)
}

fn city_after(words: &[&str], prepositions: &[&str]) -> Option<String> {
    words.iter().enumerate().find_map(|(at, word)| {
        let found = prepositions.contains(&word.to_lowercase().as_str());
        found.then(|| name(words.get(at + 1..)?)).flatten()
    })
}

/// "the New York weather": capitalised words right before.
fn city_before(words: &[&str]) -> Option<String> {
    let is_part = |word: &&&str| is_capitalised(word) && !is_no_city(word);
    let parts = words.iter().rev().take_while(is_part).count();
    name(words.get(words.len() - parts..)?)
}

/// Up to three words that may name a city, up to the first punctuation.
fn name(words: &[&str]) -> Option<String> {
    let mut parts = Vec::new();
    for word in words.iter().take(3) {
        if is_no_city(word) || !word.starts_with(char::is_alphabetic) {
            break;
        }
        parts.push(capitalised(bare(word)));
        if !word.ends_with(char::is_alphabetic) {
            break;
        }
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn is_no_city(word: &str) -> bool {
    NOT_A_CITY.contains(&bare(word).to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, before: Option<&str>, expected: Option<&str>) {
        let wish = wish(text, before).map(|wish| match wish {
            Wish::City(city) => city,
            Wish::Unknown => "?".to_owned(),
        });
        assert_eq!(wish.as_deref(), expected, "{text}");
    }

    #[test]
    fn cities_are_found() {
        check(
            "What's the weather in kyiv and generate a picture",
            None,
            Some("Kyiv"),
        );
        check(
            "weather for today in New York, please",
            None,
            Some("New York"),
        );
        check("Show Paris weather", None, Some("Paris"));
        check("the weather in Paris?", None, Some("Paris"));
        check("What is the weather like?", None, Some("?"));
        check("What weather do we have in the morning", None, Some("?"));
        check("Draw a cat", None, None);
    }

    #[test]
    fn a_city_may_come_as_a_reply() {
        check("In Paris", Some("Which location?"), Some("Paris"));
        check("london, please", Some("Which location?"), Some("London"));
        check("In Paris", Some("Hello!"), None);
        check(
            "and in Rome?",
            Some("Paris weather is 18°C, sunny."),
            Some("Rome"),
        );
        check("thanks", Some("Which location?"), None);
    }

    #[test]
    fn weather_stays_the_same() {
        assert_eq!(of("Paris"), "18°C, sunny");
        assert_eq!(of("Rome"), of("rome"));
    }
}
