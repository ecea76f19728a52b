//! The plain words of an answer: without what is quoted, without code and tables, in sentences, and patterns over them.

/// Only so much of an answer is looked at, in bytes: what it says of itself stands at its beginning.
const LOOKED_AT: usize = 8 * 1024;
/// What `..` in a pattern stands for at most, in words.
const BETWEEN: usize = 4;

/// Requests for a text that others will read, or for other words: what the answer says is not said by the agent itself.
const WORDING: &str = "translat* переклад* перевед* перевод* übersetz* tradu* tłumacz* przetłumacz* quot* цитат* rephras* \
    paraphras* rewrit* proofread* перефраз* say dialog* story script sketch role*";
/// The same, and letters, in which others say what they attach.
const LETTERS: &str = "mail* email* letter* draft* message* reply write* лист листа листи листу листом напиши* напишіть повідомлен* \
    письмо schreib* brief* anschreiben formulier* nachricht* écri* rédig* lettre* courriel* escrib* redact* carta* correo* \
    napisz* napisa* list listu mail* wiadomoś*";

/// The words of an answer that its agent says itself. JSON has none.
pub fn prose(text: &str) -> String {
    let text = text
        .get(..text.floor_char_boundary(LOOKED_AT))
        .unwrap_or(text);
    if text.trim_start().starts_with(['{', '[']) {
        return String::new();
    }
    let mut fenced = false;
    let mut lines = String::new();
    for line in text.lines() {
        let begins = line.trim_start();
        if begins.starts_with("```") || begins.starts_with("~~~") {
            fenced = !fenced;
        } else if !fenced && !begins.starts_with(['|', '>']) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    unquoted(&lines)
}

/// Links, code, tables and lists are worth something, whatever stands before them.
pub fn has_substance(answer: &str) -> bool {
    let listed = |line: &str| {
        let line = line.trim_start();
        line.starts_with(['|', '>', '-', '#', '\u{2022}', '\u{2013}'])
            || line.starts_with("* ")
            || line.split_once(['.', ')']).is_some_and(|(number, _)| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    };
    answer.contains("```") || answer.contains("](") || answer.lines().any(listed)
}

/// Each quotation and piece of code, and each web address, becomes a mark that is no word.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut until: Option<&[char]> = None;
    for letter in text.chars() {
        match until {
            Some(ends) if ends.contains(&letter) || letter == '\n' => {
                until = None;
                out.push(if letter == '\n' { '\n' } else { '\u{fffc}' });
            }
            Some(_) => {}
            None => {
                until = match letter {
                    '`' => Some(&['`']),
                    '"' => Some(&['"']),
                    '\u{201c}' => Some(&['\u{201d}']),
                    '\u{201e}' => Some(&['\u{201c}', '\u{201d}']),
                    '\u{ab}' => Some(&['\u{bb}']),
                    _ => None,
                };
                if until.is_none() {
                    out.push(letter);
                }
            }
        }
    }
    let words = out.split(' ').map(|word| {
        if word.contains("://") {
            "\u{fffc}"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The sentences of a text, each in its small words.
pub fn sentences(text: &str) -> Vec<Vec<String>> {
    text.split(['.', '!', '?', '\u{2026}', '\n', ';', '\u{3002}'])
        .map(words)
        .filter(|words| !words.is_empty())
        .collect()
}

/// Small words; apostrophes within them are alike. What stood for a quotation is a word that no pattern has.
pub fn words(text: &str) -> Vec<String> {
    let apart = |letter: char| {
        !(letter.is_alphanumeric() || matches!(letter, '\'' | '\u{2019}' | '\u{2bc}' | '\u{fffc}'))
    };
    text.split(apart)
        .map(|word| word.trim_matches(['\'', '\u{2019}']))
        .filter(|word| !word.is_empty())
        .map(|word| word.to_lowercase().replace(['\u{2019}', '\u{2bc}'], "'"))
        .collect()
}

/// Whether words begin as a pattern says: words with blanks between them, of which `a|b` is one or the other, `a*` begins
/// with a, `a?` may be missing, `..` is up to four words, `$` is the end.
pub fn begins(pattern: &str, words: &[String]) -> bool {
    length(pattern, words).is_some()
}

/// How many words a pattern takes at the beginning.
pub fn length(pattern: &str, words: &[String]) -> Option<usize> {
    let pattern = pattern.trim_start();
    if pattern.is_empty() {
        return Some(0);
    }
    let (part, rest) = pattern.split_once(' ').unwrap_or((pattern, ""));
    if part == "$" {
        return words.is_empty().then_some(0);
    }
    if part == ".." {
        return (0..=BETWEEN.min(words.len()))
            .find_map(|skipped| Some(skipped + length(rest, words.get(skipped..)?)?));
    }
    let (part, optional) = match part.strip_suffix('?') {
        Some(part) => (part, true),
        None => (part, false),
    };
    let taken = words
        .split_first()
        .filter(|(word, _)| part.split('|').any(|one| is(one, word)));
    let taken = taken.and_then(|(_, after)| Some(1 + length(rest, after)?));
    taken.or_else(|| optional.then(|| length(rest, words)).flatten())
}

/// Whether this is the word, or how it begins.
fn is(known: &str, word: &str) -> bool {
    match known.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => word == known,
    }
}

/// Whether there is one of these words, with blanks between them.
pub fn has(words: &[String], known: &str) -> bool {
    let mut known = known.split_whitespace();
    known.any(|one| words.iter().any(|word| is(one, word)))
}

/// Whether a request asks for other words of something, so that the answer's are somebody else's.
pub fn is_of_wording(request: &str) -> bool {
    has(&words(request), WORDING)
}

/// Whether a request asks for a text that somebody else will send.
pub fn is_of_letters(request: &str) -> bool {
    has(&words(request), LETTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_nobodys_word() {
        let of = |text: &str| sentences(&prose(text));
        let said = of(
            "He said \u{ab}I cannot\u{bb} and left. See `x y`\n> not me\n| a | b |\n```\ncode\n```\nI\u{2019}m here",
        );
        let said: Vec<String> = said.iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            said,
            ["he said \u{fffc} and left", "see \u{fffc}", "i'm here"]
        );
        assert_eq!(of("{\"a\": \"I cannot help\"}"), Vec::<Vec<String>>::new());
        assert_eq!(of("See https://a.b/c now")[0].len(), 3);
        // A mark that is never closed hides its line alone.
        assert_eq!(of("5\" wide\nI am")[1], ["i", "am"]);
    }

    #[test]
    fn patterns_fit_the_beginning_of_words() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(
                begins(pattern, &words(text)),
                expected,
                "{pattern:?} {text:?}"
            );
        };
        check("i can|could help", "I could help you", true);
        check("i can help", "You can help", false);
        check("i .. help", "I a b c d help", true);
        check("i .. help", "I a b c d e help", false);
        check("i help* you? now", "I helped now", true);
        check("i help* you? now", "I help you now", true);
        check("i help", "I", false);
        check("i help you? $", "I help", true);
        check("i help you? $", "I help Bob", false);
    }
}
