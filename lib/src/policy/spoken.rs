//! Whether an answer is surely in another language than it should be: told by its letters alone.

use super::prose::{has, is_of_wording, prose, words};
use crate::domain::script::{Script, most};
use crate::domain::tongue::Tongue;

/// Fewer letters of a request, or of an answer, tell nothing.
const ASKED: usize = 10;
const ASKED_DENSE: usize = 4;
const ANSWERED: usize = 40;
/// Fewer words in a row are no part of a sentence.
const CLAUSE: usize = 4;
/// So many letters that Ukrainian does not have are no accident.
const FOREIGN: usize = 4;

/// A request that names a language may ask for an answer in it.
const NAMED: &str = "engl* ingl* angl* англ* анґл* ukrain* україн* украин* german* deutsch* німец* немец* allemand* french* franç* \
    француз* spanish* españ* іспан* испан* polish* polsk* польськ* польск* russ* росій* русск* rosyjsk* ruso* italian* італій* \
    итальян* greek* griech* грец* греч* grec* bulgar* болгар* serb* сербськ* сербск* japan* японськ* японск* japon* chin* китайськ* \
    китайск* kore* корейськ* корейск* arab* арабськ* арабск* hebr* іврит* иврит* hindi* гінді* хинди* georg* грузинськ* грузинск* \
    latin* латин* cyrill* кирил* translit* транслі* language* мов* язык* sprache* langue* idioma* języ* lyric* song* poem* anthem* \
    пісн* вірш* гімн* оригінал* original*";

/// `wanted` is what the user always wants answers in; else it is the request's own language that counts.
pub fn is_in_another_language(request: &str, wanted: Option<Tongue>, answer: &str) -> bool {
    if is_of_wording(request) || has(&words(request), NAMED) {
        return false;
    }
    let Some((expected, ukrainian)) = expected(request, wanted) else {
        return false;
    };
    let said = prose(answer);
    let spoken = most(&spoken(&said)).filter(|(_, count, _)| *count >= ANSWERED);
    let Some((script, count, whole)) = spoken else {
        return false;
    };
    if script == expected {
        let is_of = |known: &str| {
            said.to_lowercase()
                .chars()
                .filter(|one| known.contains(*one))
                .count()
        };
        return ukrainian && is_of("ыэъё") >= FOREIGN && is_of("іїєґ") == 0;
    }
    let of_expected = said
        .chars()
        .filter(|one| Script::of(*one) == Some(expected))
        .count();
    count * 5 >= whole * 4 && of_expected * 10 <= whole
}

/// What is surely said in a language: of sentences the words in small letters. Names, addresses and lists of things are alike
/// in all languages.
fn spoken(text: &str) -> String {
    let mut kept = String::new();
    for clause in text.split([
        '\n', ',', ';', ':', '(', ')', '!', '?', '\u{2013}', '\u{2014}',
    ]) {
        let dense = clause
            .chars()
            .any(|one| Script::of(one).is_some_and(Script::is_dense));
        if dense || clause.split_whitespace().nth(CLAUSE - 1).is_some() {
            let plain = |word: &&str| {
                !word.starts_with(char::is_uppercase)
                    && !word.contains(['@', '/', '_'])
                    && !word.contains(char::is_numeric)
            };
            for word in clause.split_whitespace().filter(plain) {
                kept.push_str(word);
                kept.push(' ');
            }
        }
    }
    kept
}

/// Whether a person has written in several scripts: then nobody knows in which they want to be answered.
pub fn are_in_several_scripts<'a>(said: impl Iterator<Item = &'a str>) -> bool {
    let mut scripts = said.filter_map(|text| {
        let (script, count, _) = most(&prose(text))?;
        (count
            >= if script.is_dense() {
                ASKED_DENSE
            } else {
                ASKED
            })
        .then_some(script)
    });
    let first = scripts.next();
    scripts.any(|script| Some(script) != first)
}

/// The script that an answer is expected in, and whether it is to be Ukrainian.
fn expected(request: &str, wanted: Option<Tongue>) -> Option<(Script, bool)> {
    if let Some(tongue) = wanted {
        return Some((Script::of_tongue(tongue), tongue.code() == "uk"));
    }
    let asked = prose(request);
    let (script, count, whole) = most(&asked)?;
    let least = if script.is_dense() {
        ASKED_DENSE
    } else {
        ASKED
    };
    let ukrainian = asked.to_lowercase().contains(['і', 'ї', 'є', 'ґ']);
    (count >= least && count * 20 >= whole * 19).then_some((script, ukrainian))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str =
        "Paris is sunny today, and it stays so until the weekend. Take your sunglasses with you.";
    const UKRAINIAN: &str =
        "У Парижі сьогодні сонячно, і так буде до кінця тижня. Візьміть із собою сонячні окуляри.";
    const RUSSIAN: &str = "Сегодня в Париже солнечно, и так будет до выходных. Возьмите с собой очки, вы будете рады. Это всё.";

    #[test]
    fn another_script_is_another_language() {
        let check = |request: &str, wanted: Option<&str>, answer: &str, expected: bool| {
            let wanted = wanted.and_then(Tongue::named);
            let found = is_in_another_language(request, wanted, answer);
            assert_eq!(found, expected, "{request:?} {wanted:?} {answer:?}");
        };
        check("Яка сьогодні погода?", None, ENGLISH, true);
        check("Яка сьогодні погода?", None, UKRAINIAN, false);
        check("Яка сьогодні погода в місті?", None, RUSSIAN, true);
        check("What is the weather?", None, UKRAINIAN, true);
        check("What is the weather?", None, ENGLISH, false);
        check("パリの天気は", None, ENGLISH, true);
        check("What is the weather?", Some("uk"), ENGLISH, true);
        check("What is the weather?", Some("uk"), UKRAINIAN, false);
        check("Яка погода в Парижі?", Some("en"), UKRAINIAN, true);
    }

    #[test]
    fn who_writes_in_several_scripts_may_be_answered_in_either() {
        let several = |said: &[&str]| are_in_several_scripts(said.iter().copied());
        assert!(several(&[
            "Яка програма не працює?",
            "Microsoft Office 365"
        ]));
        assert!(!several(&[
            "Яка програма не працює?",
            "ok",
            "Програма для звітів"
        ]));
        assert!(!several(&[]));
    }

    #[test]
    fn what_cannot_be_told_surely_is_left() {
        let check = |request: &str, answer: &str| {
            assert!(
                !is_in_another_language(request, None, answer),
                "{request:?} {answer:?}"
            );
        };
        check("Переклади англійською: погода гарна, сонце сяє", ENGLISH);
        check("Скажи це мовою Шекспіра, будь ласка", ENGLISH);
        check("ok", UKRAINIAN);
        check("12 + 3?", UKRAINIAN);
        check("Яка сьогодні погода?", "Paris: sunny.");
        check(
            "Покажи код, що сортує список",
            &format!("```\n{ENGLISH}\n```"),
        );
        check(
            "Що написано на знаку?",
            &format!("Там написано: \u{ab}{ENGLISH}\u{bb}"),
        );
        check(
            "Покажи всіх користувачів",
            "| John Doe | john@example.com | active |\n| Ann Roe | ann@example.com | active |",
        );
        check(
            "Хто в команді проєкту?",
            "Команда: John Smith, Ann Johnson, Robert Brown, William Davis, Mary Miller і ще двоє людей.",
        );
        check("Show the users with Ukrainian names", UKRAINIAN);
        check("Хто такий John Ronald Reuel Tolkien?", ENGLISH);
        check(
            "Покажи всіх користувачів",
            "- John Doe (john.doe@example.com)\n- Ann Roe (ann.roe@example.com)\n- Bob Stone (bob.stone@example.com)",
        );
        check(
            "Які бібліотеки встановлено?",
            "numpy, pandas, matplotlib, requests, beautifulsoup, tensorflow, scikit-learn, pytest",
        );
        check(
            "Які альбоми найкращі?",
            "1. The Dark Side of the Moon\n2. Wish You Were Here\n3. Sgt. Pepper's Lonely Hearts Club Band\n4. Abbey Road",
        );
        check("Нагадай слова гімну", ENGLISH);
    }
}
