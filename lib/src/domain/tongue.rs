//! The languages that an answer may be asked for, by their codes and by the names that people use.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::language::Language;

/// Code (ISO 639-1), English name, Ukrainian adverb ("відповідай …"), Ukrainian name for sentences such as "мова: …".
type Row = (&'static str, &'static str, &'static str, &'static str);

const ROWS: [Row; 30] = [
    ("en", "English", "англійською", "англійська"),
    ("uk", "Ukrainian", "українською", "українська"),
    ("de", "German", "німецькою", "німецька"),
    ("fr", "French", "французькою", "французька"),
    ("es", "Spanish", "іспанською", "іспанська"),
    ("pl", "Polish", "польською", "польська"),
    ("it", "Italian", "італійською", "італійська"),
    ("pt", "Portuguese", "португальською", "португальська"),
    ("nl", "Dutch", "нідерландською", "нідерландська"),
    ("cs", "Czech", "чеською", "чеська"),
    ("sk", "Slovak", "словацькою", "словацька"),
    ("ro", "Romanian", "румунською", "румунська"),
    ("hu", "Hungarian", "угорською", "угорська"),
    ("sv", "Swedish", "шведською", "шведська"),
    ("da", "Danish", "данською", "данська"),
    ("no", "Norwegian", "норвезькою", "норвезька"),
    ("fi", "Finnish", "фінською", "фінська"),
    ("tr", "Turkish", "турецькою", "турецька"),
    ("el", "Greek", "грецькою", "грецька"),
    ("bg", "Bulgarian", "болгарською", "болгарська"),
    ("lt", "Lithuanian", "литовською", "литовська"),
    ("lv", "Latvian", "латиською", "латиська"),
    ("et", "Estonian", "естонською", "естонська"),
    ("ka", "Georgian", "грузинською", "грузинська"),
    ("ja", "Japanese", "японською", "японська"),
    ("zh", "Chinese", "китайською", "китайська"),
    ("ko", "Korean", "корейською", "корейська"),
    ("ar", "Arabic", "арабською", "арабська"),
    ("he", "Hebrew", "івритом", "іврит"),
    ("hi", "Hindi", "гінді", "гінді"),
];

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tongue(&'static Row);

impl Tongue {
    /// By its code, or by a name as people say it, in English or Ukrainian.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase();
        let fits = |row: &&'static Row| {
            let (code, english, adverb, ukrainian) = **row;
            [code, adverb, ukrainian].contains(&name.as_str())
                || english.eq_ignore_ascii_case(&name)
        };
        ROWS.iter().find(fits).map(Self)
    }

    pub fn codes() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|row| row.0)
    }

    pub fn code(self) -> &'static str {
        self.0.0
    }

    /// Its English name, as models are told.
    pub fn english(self) -> &'static str {
        self.0.1
    }

    /// Its name within a sentence of ours.
    pub fn called(self, language: Language) -> &'static str {
        match language {
            Language::Ukrainian => self.0.3,
            _ => self.0.1,
        }
    }

    /// The language of our own words where answers are in this one.
    pub fn ours(self) -> Language {
        Language::tagged(self.code()).unwrap_or_default()
    }
}

impl fmt::Debug for Tongue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Tongue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Tongue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let codes: Vec<_> = Self::codes().collect();
            D::Error::custom(format!("expected a language, one of {}", codes.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_its_code_and_its_names() {
        for name in ["de", "German", "GERMAN", "німецькою", "Німецька"] {
            assert_eq!(Tongue::named(name).map(Tongue::code), Some("de"), "{name}");
        }
        assert_eq!(Tongue::named("Klingon"), None);
        assert_eq!(
            Tongue::named("uk").map(Tongue::ours),
            Some(Language::Ukrainian)
        );
        assert_eq!(
            Tongue::named("ja").map(Tongue::ours),
            Some(Language::English)
        );
    }

    #[test]
    fn no_name_is_of_two_languages() {
        let mut names: Vec<String> = Vec::new();
        for (code, english, adverb, ukrainian) in ROWS {
            let mut own = vec![
                code.to_owned(),
                english.to_lowercase(),
                adverb.into(),
                ukrainian.into(),
            ];
            own.dedup();
            names.extend(own);
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
