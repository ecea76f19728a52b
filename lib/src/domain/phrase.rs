//! A sentence for people that is not yet in any language: it is told in the reader's when it is written.

use super::ids::AgentId;
use super::language::Language;

/// One sentence in every language it is written in. A language without a field of its own reads English.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    pub en: &'static str,
    pub uk: &'static str,
}

impl Words {
    fn of(&self, language: Language) -> &'static str {
        match language {
            Language::Ukrainian => self.uk,
            Language::English
            | Language::German
            | Language::French
            | Language::Spanish
            | Language::Polish => self.en,
        }
    }
}

/// What is to be told. A text that has no translations is told as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phrase {
    Plain(String),
    /// The values of the `{placeholders}` are phrases, too.
    Sentence(&'static Words, Vec<(&'static str, Phrase)>),
}

impl Phrase {
    /// The text in a language. What stands in a value is never taken for a placeholder.
    pub fn told(&self, language: Language) -> String {
        let (words, values) = match self {
            Self::Plain(text) => return text.clone(),
            Self::Sentence(words, values) => (words, values),
        };
        let mut told = String::new();
        for piece in pieces(words.of(language)) {
            match piece {
                Piece::Text(text) => told.push_str(text),
                Piece::Name(name) => {
                    let value = values.iter().find(|(known, _)| *known == name);
                    told.push_str(
                        &value.map_or_else(String::new, |(_, value)| value.told(language)),
                    );
                }
            }
        }
        told
    }
}

impl Default for Phrase {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl From<String> for Phrase {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

impl From<&str> for Phrase {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

impl From<&String> for Phrase {
    fn from(text: &String) -> Self {
        Self::Plain(text.clone())
    }
}

impl From<&AgentId> for Phrase {
    fn from(agent: &AgentId) -> Self {
        Self::Plain(agent.to_string())
    }
}

impl From<usize> for Phrase {
    fn from(number: usize) -> Self {
        Self::Plain(number.to_string())
    }
}

/// A part of a written sentence.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// A written sentence, cut at its `{placeholders}`.
fn pieces(mut written: &str) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        if written.is_empty() {
            return None;
        }
        if let Some((name, rest)) = written
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
        {
            written = rest;
            return Some(Piece::Name(name));
        }
        let at = written
            .char_indices()
            .skip(1)
            .find(|(_, letter)| *letter == '{');
        let (text, rest) = written.split_at(at.map_or(written.len(), |(at, _)| at));
        written = rest;
        Some(Piece::Text(text))
    })
}

/// A catalogue: a function for each sentence, with what it is told of, and the sentence in each language.
///
/// A language that is missing does not compile; the test of each catalogue compares the placeholders.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident($($value:ident),*) { en: $en:literal, uk: $uk:literal $(,)? })*) => {
        $(
            $(#[$doc])*
            pub fn $name($($value: impl Into<$crate::domain::phrase::Phrase>),*) -> $crate::domain::phrase::Phrase {
                static WORDS: $crate::domain::phrase::Words = $crate::domain::phrase::Words { en: $en, uk: $uk };
                $crate::domain::phrase::Phrase::Sentence(&WORDS, vec![$((stringify!($value), $value.into())),*])
            }
        )*

        #[cfg(test)]
        mod tests {
            #[test]
            fn every_sentence_tells_the_same_in_every_language() {
                $(
                    $crate::domain::phrase::check(stringify!($name), &[$(stringify!($value)),*], [$en, $uk]);
                )*
            }
        }
    };
}
pub(crate) use sentences;

/// A sentence names each of its values in each language, and nothing else; its ends are alike, since they are glued.
#[cfg(test)]
pub(crate) fn check(sentence: &str, values: &[&str], languages: [&str; 2]) {
    let [english, _] = languages;
    for written in languages {
        let mut named: Vec<_> = pieces(written)
            .filter_map(|piece| match piece {
                Piece::Name(name) => Some(name),
                Piece::Text(_) => None,
            })
            .collect();
        named.sort_unstable();
        named.dedup();
        let mut values = values.to_vec();
        values.sort_unstable();
        assert_eq!(named, values, "{sentence}: {written}");
        let ends = |text: &str| {
            let begins = text.len() - text.trim_start().len();
            (
                text.get(..begins).map(str::to_owned),
                text.len() - text.trim_end().len(),
            )
        };
        assert_eq!(ends(written), ends(english), "{sentence}: {written}");
        assert!(!written.trim().is_empty(), "{sentence}");
    }
    assert_ne!(languages[0], languages[1], "{sentence} is not translated");
}

#[cfg(test)]
mod tests {
    use super::*;

    static WORDS: Words = Words {
        en: "{agent} says {said}.",
        uk: "Каже {agent}: {said}",
    };

    #[test]
    fn a_sentence_is_told_in_the_readers_language() {
        let phrase = Phrase::Sentence(
            &WORDS,
            vec![("agent", "{said}".into()), ("said", "{agent} hi".into())],
        );
        assert_eq!(phrase.told(Language::English), "{said} says {agent} hi.");
        assert_eq!(phrase.told(Language::Ukrainian), "Каже {said}: {agent} hi");
        assert_eq!(phrase.told(Language::Polish), "{said} says {agent} hi.");
        assert_eq!(Phrase::from("x {y").told(Language::Ukrainian), "x {y");
    }

    #[test]
    fn a_brace_that_is_not_closed_is_text() {
        let cut: Vec<_> = pieces("{a}{b").collect();
        assert_eq!(cut, [Piece::Name("a"), Piece::Text("{b")]);
    }
}
