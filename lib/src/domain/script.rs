//! Scripts that languages are written in: told by letters, and so told surely.

use super::tongue::Tongue;

/// A script. Those of Chinese and Japanese share letters, and count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    Latin,
    Cyrillic,
    Greek,
    Hebrew,
    Arabic,
    Devanagari,
    Georgian,
    Hangul,
    Han,
}

const ALL: [Script; 9] = [
    Script::Latin,
    Script::Cyrillic,
    Script::Greek,
    Script::Hebrew,
    Script::Arabic,
    Script::Devanagari,
    Script::Georgian,
    Script::Hangul,
    Script::Han,
];

impl Script {
    /// The script of a letter; `None` for what is no letter, or none of these.
    pub fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' if letter.is_alphabetic() => Self::Latin,
            '\u{370}'..='\u{3ff}' if letter.is_alphabetic() => Self::Greek,
            '\u{400}'..='\u{52f}' => Self::Cyrillic,
            '\u{590}'..='\u{5ff}' => Self::Hebrew,
            '\u{600}'..='\u{6ff}' if letter.is_alphabetic() => Self::Arabic,
            '\u{900}'..='\u{97f}' => Self::Devanagari,
            '\u{10a0}'..='\u{10ff}' => Self::Georgian,
            '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7a3}' => Self::Hangul,
            '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' => {
                Self::Han
            }
            _ => return None,
        })
    }

    /// What a language is written in.
    pub fn of_tongue(tongue: Tongue) -> Self {
        match tongue.code() {
            "uk" | "bg" => Self::Cyrillic,
            "el" => Self::Greek,
            "ka" => Self::Georgian,
            "ja" | "zh" => Self::Han,
            "ko" => Self::Hangul,
            "ar" => Self::Arabic,
            "he" => Self::Hebrew,
            "hi" => Self::Devanagari,
            _ => Self::Latin,
        }
    }

    /// Letters of these say more than one sound each.
    pub fn is_dense(self) -> bool {
        matches!(self, Self::Han | Self::Hangul)
    }
}

/// The script that most letters of a text are of, how many are, and how many letters there are.
pub fn most(text: &str) -> Option<(Script, usize, usize)> {
    let count = |script: Script| {
        text.chars()
            .filter(|letter| Script::of(*letter) == Some(script))
            .count()
    };
    let counts = ALL.map(|script| (script, count(script)));
    let whole = counts.iter().map(|(_, count)| count).sum();
    let (script, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > 0).then_some((script, count, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_told_by_its_letters() {
        for (text, script) in [
            ("Hello, Müller!", Script::Latin),
            ("Привіт, Bob", Script::Cyrillic),
            ("Καλημέρα", Script::Greek),
            ("שלום", Script::Hebrew),
            ("مرحبا", Script::Arabic),
            ("नमस्ते", Script::Devanagari),
            ("გამარჯობა", Script::Georgian),
            ("안녕하세요", Script::Hangul),
            ("こんにちは世界", Script::Han),
        ] {
            assert_eq!(
                most(text).map(|(script, ..)| script),
                Some(script),
                "{text}"
            );
        }
        assert_eq!(most("Привіт Bob"), Some((Script::Cyrillic, 6, 9)));
        assert_eq!(most("12 + 3 = 15 \u{d7} 1"), None);
        let german = Tongue::named("de").unwrap();
        assert_eq!(Script::of_tongue(german), Script::Latin);
    }
}
