//! Whether an answer is surely in another language than it should be: told by its letters alone.

use super::prose::{has, is_of_wording, prose, words};
use crate::domain::script::{Script, most};
use crate::domain::tongue::Tongue;

/// Fewer letters of a request, or of an answer, tell nothing.
const ASKED: usize = 10;
const ASKED_DENSE: usize = 4;
const ANSWERED: usize = 60;
/// So many letters that Ukrainian does not have are no accident.
const FOREIGN: usize = 4;

/// A request that names a language may ask for an answer in it.
const NAMED: &str = "engl* ingl* angl* англ* анґл* ukrain* україн* украин* german* deutsch* німец* немец* allemand* french* franç* \
    француз* spanish* españ* іспан* испан* polish* polsk* польськ* польск* russ* росій* русск* rosyjsk* ruso* italian* італій* \
    итальян* greek* griech* грец* греч* grec* bulgar* болгар* serb* сербськ* сербск* japan* японськ* японск* japon* chin* китайськ* \
    китайск* kore* корейськ* корейск* arab* арабськ* арабск* hebr* іврит* иврит* hindi* гінді* хинди* georg* грузинськ* грузинск* \
    latin* латин* cyrill* кирил* translit* транслі* language* мов* язык* sprache* langue* idioma* języ*";

/// `wanted` is what the user always wants answers in; else it is the request's own language that counts.
pub fn is_in_another_language(request: &str, wanted: Option<Tongue>, answer: &str) -> bool {
    if is_of_wording(request) || has(&words(request), NAMED) {
        return false;
    }
    let Some((expected, ukrainian)) = expected(request, wanted) else {
        return false;
    };
    let said = prose(answer);
    let Some((script, count, whole)) = most(&said).filter(|(_, count, _)| *count >= ANSWERED)
    else {
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
    }
}
