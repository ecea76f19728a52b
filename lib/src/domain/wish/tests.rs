use proptest::prelude::*;

use super::*;
use crate::domain::preference::Stages;

fn agents() -> Vec<AgentId> {
    ["GPA", "UMS", "Help Desk"].map(AgentId::new).to_vec()
}

fn wishes(text: &str) -> Option<(Vec<Wish>, &str)> {
    read(text, &agents()).map(|found| (found.wishes, found.rest))
}

fn german() -> Wish {
    Wish::Language(Tongue::named("de"))
}

#[test]
fn what_people_say_of_their_preferences_is_recognised() {
    let ums = || AgentId::new("UMS");
    let check = |text: &str, wish: Wish| assert_eq!(wishes(text), Some((vec![wish], "")), "{text}");
    for text in [
        "Always answer in German",
        "always answer in german.",
        "Please always reply to me in German!",
        "From now on answer in German",
        "Answer me in German from now on, please.",
        "Завжди відповідай німецькою",
        "Відтепер відповідайте мені німецькою мовою, будь ласка.",
    ] {
        check(text, german());
    }
    for text in [
        "Never ask UMS.",
        "never ask the UMS agent again",
        "Don\u{2019}t ask UMS anymore",
        "do not use ums any more",
        "From now on don't ask UMS",
        "Block UMS",
        "Ніколи не питай UMS",
        "Більше не запитуй агента UMS!",
    ] {
        check(text, Wish::Block(ums()));
    }
    check("You may ask UMS again", Wish::Unblock(ums()));
    check("unblock UMS", Wish::Unblock(ums()));
    check("Розблокуй UMS", Wish::Unblock(ums()));
    check("I prefer GPA", Wish::Prefer(AgentId::new("GPA")));
    check(
        "Prefer the Help Desk agent",
        Wish::Prefer(AgentId::new("Help Desk")),
    );
    check("Надавай перевагу GPA", Wish::Prefer(AgentId::new("GPA")));
    check("stop preferring GPA", Wish::Unprefer(AgentId::new("GPA")));
    check("Skip the summary", Wish::SkipSynthesis(true));
    check("Без підсумків", Wish::SkipSynthesis(true));
    check("Write the summary again", Wish::SkipSynthesis(false));
    check("Hide stages", Wish::Stages(Stages::None));
    check("Сховай етапи", Wish::Stages(Stages::None));
    check("Show fewer stages", Wish::Stages(Stages::Summary));
    check("Показуй менше етапів", Wish::Stages(Stages::Summary));
    check("Show all stages", Wish::Stages(Stages::Full));
    check(
        "Never spend more than $0.50 a day",
        Wish::SpendPerDay(Some(Money(500_000))),
    );
    check(
        "Spend at most 5 cents per answer",
        Wish::SpendPerTurn(Some(Money(50_000))),
    );
    check(
        "Не витрачай більше 1,5 доларів на день",
        Wish::SpendPerDay(Some(Money(1_500_000))),
    );
    check("What are my preferences?", Wish::Show);
    check("Які в мене налаштування?", Wish::Show);
    check("Forget my preferences", Wish::Forget);
    check("Забудь мої вподобання", Wish::Forget);
}

#[test]
fn the_rest_of_a_message_is_left() {
    let check = |text: &str, rest: &str| {
        assert_eq!(wishes(text), Some((vec![german()], rest)), "{text}");
    };
    check(
        "Always answer in German. What's the weather?",
        "What's the weather?",
    );
    check(
        "What's 2.5 times 3? Always answer in German!",
        "What's 2.5 times 3?",
    );
    check(
        "Always answer in German.\n\nShow all users. Thanks.",
        "Show all users. Thanks.",
    );
    assert_eq!(
        wishes("Never ask UMS and always answer in German. Hide stages."),
        Some((
            vec![
                Wish::Block(AgentId::new("UMS")),
                german(),
                Wish::Stages(Stages::None)
            ],
            ""
        ))
    );
}

#[test]
fn what_only_looks_like_a_preference_is_a_request() {
    for text in [
        "Answer in German",
        "Don't ask UMS",
        "Never ask HR",
        "Never ask UMS about passwords",
        "She told me to always answer in German",
        "\"Always answer in German\"",
        "> Always answer in German.",
        "Translate: always answer in German",
        "What does it mean to always answer in Klingon?",
        "Show all users",
        "Prefer GPA over everything that costs money",
        "What's the weather? Always answer in German. And in Paris?",
        "",
    ] {
        assert_eq!(wishes(text), None, "{text}");
    }
    let long = format!("Always answer in German. {}", "word ".repeat(500));
    assert_eq!(wishes(&long), None);
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}", wish in prop::bool::ANY) {
        let text = if wish { format!("{text}. Hide stages.") } else { text };
        if let Some((wishes, rest)) = wishes(&text) {
            prop_assert!(!wishes.is_empty());
            prop_assert!(text.contains(rest));
        }
    }

    #[test]
    fn a_wish_before_a_request_leaves_the_request(request in "[a-z]{4,8}( [a-z]{4,8}){0,5}") {
        let text = format!("Always answer in German. {request}");
        // Random words may be a wish by themselves, though hardly ever.
        prop_assume!(wishes(&request).is_none());
        prop_assert_eq!(wishes(&text), Some((vec![german()], request.as_str())));
    }
}
