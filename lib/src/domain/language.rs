//! The languages that fixed answers are written in, and which of them a text is in.

/// A language of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    Ukrainian,
    German,
    French,
    Spanish,
    Polish,
}

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
    /// Its code, as in ISO 639-1.
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

    /// The language of a text; English where nothing tells.
    pub fn of(text: &str) -> Self {
        let text = text.to_lowercase();
        if text.contains(['і', 'ї', 'є', 'ґ']) {
            return Self::Ukrainian;
        }
        let words: Vec<&str> = text
            .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
            .collect();
        let known = |list: &[&str]| words.iter().filter(|word| list.contains(word)).count();
        // Of several with as many words, the first.
        let mut best = (Self::English, 0);
        for (language, list) in WORDS {
            let count = known(list);
            if count > best.1 {
                best = (language, count);
            }
        }
        best.0
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
            ("Was kannst du?", Language::German),
            ("Que peux-tu faire ?", Language::French),
            ("¿Qué puedes hacer?", Language::Spanish),
            ("Co potrafisz?", Language::Polish),
            ("12345", Language::English),
        ] {
            assert_eq!(Language::of(text), language, "{text}");
        }
    }
}
