//! The languages that fixed answers are written in, and which of them a text is in.

/// A language of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    #[default]
    English,
    Ukrainian,
    German,
    French,
    Spanish,
    Polish,
}

/// How much of a text is listened to, in bytes.
const HEARD: usize = 2000;

/// Words that are frequent in one language and no words of the others.
const WORDS: [(Language, &[&str]); 6] = [
    (
        Language::English,
        &[
            "the", "you", "what", "is", "are", "can", "your", "how", "do", "which", "help", "me",
            "who",
        ],
    ),
    (
        Language::Ukrainian,
        &[
            "що",
            "ти",
            "ви",
            "як",
            "мені",
            "які",
            "можеш",
            "можете",
            "вмієш",
            "вмієте",
            "хто",
            "є",
            "твої",
            "ваші",
        ],
    ),
    (
        Language::German,
        &[
            "was", "du", "sie", "kannst", "können", "wie", "ist", "wer", "mir", "der", "und",
            "welche", "bist",
        ],
    ),
    (
        Language::French,
        &[
            "que", "peux", "tu", "vous", "pouvez", "qui", "quels", "est", "les", "faire", "êtes",
            "quoi", "avez",
        ],
    ),
    (
        Language::Spanish,
        &[
            "qué", "puedes", "eres", "quién", "cómo", "puede", "hacer", "tienes", "cuáles",
            "ayuda", "usted", "los",
        ],
    ),
    (
        Language::Polish,
        &[
            "co",
            "potrafisz",
            "nie",
            "na",
            "kto",
            "masz",
            "możesz",
            "kim",
            "jesteś",
            "jak",
            "pan",
            "umiesz",
            "jakie",
            "mi",
            "masz",
            "pomóc",
        ],
    ),
];

impl Language {
    pub const ALL: [Self; 6] = [
        Self::English,
        Self::Ukrainian,
        Self::German,
        Self::French,
        Self::Spanish,
        Self::Polish,
    ];

    /// Its name in protocols (ISO 639-1).
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Ukrainian => "uk",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Polish => "pl",
        }
    }

    /// The language of a tag such as `de` or `de-AT`; `None` for one that is not ours.
    pub fn tagged(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
        Self::ALL.into_iter().find(|known| known.code() == primary)
    }

    /// The language of a text; English where nothing tells.
    pub fn of(text: &str) -> Self {
        Self::heard(text).unwrap_or_default()
    }

    /// The language of a text, by its first words; `None` where nothing tells.
    pub fn heard(text: &str) -> Option<Self> {
        let text = text.get(..text.floor_char_boundary(HEARD)).unwrap_or(text);
        let text = text.to_lowercase();
        if text.contains(['і', 'ї', 'є', 'ґ']) {
            return Some(Self::Ukrainian);
        }
        let words: Vec<&str> = text
            .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
            .collect();
        let known = |list: &[&str]| words.iter().filter(|word| list.contains(word)).count();
        // Of several with as many words, the first.
        let mut best = (None, 0);
        for (language, list) in WORDS {
            let count = known(list);
            if count > best.1 {
                best = (Some(language), count);
            }
        }
        let cyrillic = |letter: char| ('\u{400}'..'\u{500}').contains(&letter);
        // Of our languages only one is written so; these letters are others'.
        let ukrainian = text.contains(cyrillic) && !text.contains(['ы', 'э', 'ъ', 'ё']);
        best.0.or(ukrainian.then_some(Self::Ukrainian))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_of_a_question_is_recognised() {
        for (text, language) in [
            ("What can you do?", Language::English),
            ("Що ти вмієш?", Language::Ukrainian),
            ("Хто ви?", Language::Ukrainian),
            ("Погода", Language::Ukrainian),
            ("Was kannst du?", Language::German),
            ("Que peux-tu faire ?", Language::French),
            ("¿Qué puedes hacer?", Language::Spanish),
            ("Co potrafisz?", Language::Polish),
            ("12345", Language::English),
        ] {
            assert_eq!(Language::of(text), language, "{text}");
        }
        assert_eq!(Language::heard("12345"), None);
        assert_eq!(Language::heard("Is it?"), Some(Language::English));
    }

    #[test]
    fn a_tag_names_a_language_of_ours_or_none() {
        for language in Language::ALL {
            assert_eq!(Language::tagged(language.code()), Some(language));
        }
        assert_eq!(Language::tagged("uk-UA"), Some(Language::Ukrainian));
        assert_eq!(Language::tagged("DE_at"), Some(Language::German));
        assert_eq!(Language::tagged("ja"), None);
        assert_eq!(Language::tagged(""), None);
    }
}
