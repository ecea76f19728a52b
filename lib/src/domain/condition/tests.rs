use proptest::prelude::*;

use super::*;
use crate::domain::access::Role;
use crate::domain::ids::Timestamp;
use crate::domain::message::Attachment;
use crate::domain::situation::{Asked, Files};

fn holds(condition: &str, asked: Asked<'_>) -> Result<bool, String> {
    let parsed =
        Condition::parse(condition).unwrap_or_else(|mistake| panic!("{condition}: {mistake:?}"));
    parsed.holds(&Situation::new(asked))
}

fn says(text: &str) -> Asked<'_> {
    Asked {
        text,
        ..Asked::default()
    }
}

#[test]
fn conditions_hold_as_they_read() {
    let check = |condition: &str, query: &str, expected: bool| {
        let found = holds(condition, says(query));
        assert_eq!(found, Ok(expected), "{condition} of {query:?}");
    };
    check(r#"contains(query, "user")"#, "Show all USERS", true);
    check(r#"contains(query, "USER")"#, "Show all users", true);
    check(r#"contains(query, "user")"#, "Weather?", false);
    check("!contains(query,'user')", "Weather?", true);
    let both =
        r#"contains(query, "user") && contains(query, "list") || startsWith(query, "who is")"#;
    check(both, "list the users", true);
    check(both, "list", false);
    check(both, "Who is Bob?", true);
    check(r#"endsWith(query, "\"now\"")"#, "do it \"now\"", true);
    check(
        r#"contains(query, "користувач")"#,
        "Покажи КОРИСТУВАЧІВ",
        true,
    );
    // The language's own form cares for capitals, as the language has it.
    check(r#"query.contains("user")"#, "Show all users", true);
    check(r#"query.contains("user")"#, "Show all USERS", false);
    check("words < 3", "two words", true);
    check("words == 3", "these are four words", false);
    check(r#"contains("a" + query, "AB")"#, "bc", true);
    check(
        r#"["payslip", "vacation"].exists(word, contains(query, word))"#,
        "My Vacation",
        true,
    );
}

#[test]
fn a_condition_sees_who_asks_what_and_when() {
    let files = [
        Attachment {
            media_type: Some("text/csv".into()),
            title: Some("a.csv".into()),
            data: Some("x,y".into()),
            ..Attachment::default()
        },
        Attachment {
            media_type: Some("image/png".into()),
            url: Some("files/b/cat.png".into()),
            ..Attachment::default()
        },
    ];
    let asked = || Asked {
        text: "Покажи, що в файлі",
        files: Files::Sent(&files),
        tenant: "acme",
        roles: &[Role::User, Role::Admin],
        previous: Some("UMS"),
        depth: 1,
        // Friday, the 20th of November 2026, 20:15.
        at: Timestamp(1_795_205_700),
        language: None,
    };
    for condition in [
        "language == 'uk'",
        "size(attachments) == 2 && attachments[0].size == 3",
        "attachments.exists(a, a.type == 'text/csv' && a.name.endsWith('.csv'))",
        "attachments.exists(a, a.type.startsWith('image/') && a.name == 'cat.png' && a.size == 0)",
        "tenant == 'acme' && role == 'admin' && 'user' in roles && !('auditor' in roles)",
        "previous == 'UMS' && depth > 0",
        "now.hour == 20 && now.minute == 15 && now.weekday == 'friday' && now.date == '2026-11-20'",
        "now.timestamp == 1795205700",
    ] {
        assert_eq!(holds(condition, asked()), Ok(true), "{condition}");
    }
    assert_eq!(
        holds("previous == '' && role == 'user'", says("x")),
        Ok(true)
    );
}

#[test]
fn what_is_no_condition_says_where_and_what_is_expected() {
    let check = |condition: &str, at: (usize, usize), expected: &str| {
        let mistake = Condition::parse(condition).unwrap_err();
        assert_eq!(
            (mistake.line, mistake.column),
            at,
            "{condition}: {mistake:?}"
        );
        assert!(
            mistake.problem.contains(expected),
            "{condition}: {mistake:?}"
        );
    };
    check("", (1, 1), "expected an expression, found the end");
    check(
        r#"contains(query, "a") and x"#,
        (1, 22),
        "expected an operator such as && or ||",
    );
    check(
        r#"contains(text, "a")"#,
        (1, 10),
        "there is no text, expected one of query, words",
    );
    check(r#"contains(query, "a"#, (1, 17), "unterminated string");
    check(r#"contains(query, "")"#, (1, 1), "an empty text");
    check("contains(query)", (1, 1), "expected two texts");
    check("contains(query, 7)", (1, 1), "look into a text, found int");
    check("contains(roles, 'admin')", (1, 1), "`\"x\" in roles`");
    check("words > 'x'", (1, 1), "cannot be used on int and string");
    check("words", (1, 1), "neither true nor false");
    check(
        "words > 3 &&\n  exit()",
        (2, 3),
        "there is no function exit",
    );
    check(
        "query.matches('a+')",
        (1, 7),
        "there is no function matches",
    );
    check("'їжа' == languag", (1, 10), "there is no languag");
    check(
        "attachments.exists(a, a.kind == 'x')",
        (1, 1),
        "there is no field kind",
    );
    check(
        "words > 1 || ",
        (1, 13),
        "expected an expression, found the end",
    );
    check(
        &format!("query == '{}'", "x".repeat(LONGEST)),
        (1, 1),
        "longer than",
    );
}

#[test]
fn no_condition_can_use_the_stack_up() {
    let repeated = |one: &str, last: &str, times: usize| format!("{}{last}", one.repeat(times));
    for deep in [
        repeated("1+", "1 > 0", 900),
        repeated("query.", "x", 300),
        repeated("!(", "true", 600) + &")".repeat(600),
        format!("roles{} == 'x'", "[0]".repeat(600)),
        repeated("true?true:", "true", 190),
        repeated("size([", "1", 200) + &"])".repeat(200),
    ] {
        let mistake = Condition::parse(&deep).unwrap_err();
        let refused =
            mistake.problem.contains("nested deeper") || mistake.problem.contains("recursion");
        assert!(refused, "{deep}: {mistake:?}");
    }
    let wide = repeated("query == 'a' || ", "true", 100);
    assert_eq!(holds(&wide, says("x")), Ok(true));
}

#[test]
fn no_condition_can_take_long() {
    let nested =
        "attachments.exists(a, attachments.exists(b, attachments.exists(c, a == b && b == c)))";
    let mistake = Condition::parse(nested).unwrap_err();
    assert!(mistake.problem.contains("looks at too much"), "{mistake:?}");
    let list = format!("[{}].all(x, x.size() > 0)", vec!["'a'"; 900].join(","));
    assert!(Condition::parse(&list).is_err());
    assert!(
        Condition::parse("attachments.exists(a, attachments.exists(b, a.name == b.name))").is_ok()
    );
}

#[test]
fn what_cannot_be_said_of_a_request_is_a_reason_without_its_words() {
    let why = holds("attachments[3].name == 'secret'", says("secret")).unwrap_err();
    assert_eq!(why, "the list has no element there");
    let why = holds("int(query) > 5", says("secret")).unwrap_err();
    assert!(!why.contains("secret"), "{why}");
    assert_eq!(holds("int(query) > 5", says("7")), Ok(true));
}

proptest! {
    #[test]
    fn no_text_and_no_condition_brings_it_down(text in ".{0,80}", condition in "[a-z(). '&|!<>=+0-9\\[\\],]{0,60}") {
        let _ = Condition::parse(&condition);
        let asked = Asked { text: &text, ..Asked::default() };
        let known = "contains(query, 'a') || query.startsWith(query) && words > 1 || language in ['en', 'uk']";
        prop_assert!(holds(known, asked).is_ok());
    }
}
