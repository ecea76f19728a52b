//! What a person is told of their preferences: what is set, and the words that undo it.

use crate::domain::ids::AgentId;
use crate::domain::language::Language;
use crate::domain::phrase::{Phrase, sentences};
use crate::domain::preference::{Preferences, Stages};

sentences! {
    /// The name of the stage that tells of a change beside a request.
    preferences_stage() {
        en: "Your preferences",
        uk: "Ваші налаштування",
    }
    now_set(lines) {
        en: "Your preferences:\n{lines}\n\n`forget my preferences` forgets all of them.",
        uk: "Ваші налаштування:\n{lines}\n\n`забудь мої налаштування` скидає їх усі.",
    }
    nothing_set(agent) {
        en: "You have no preferences set. You can say, for example, `always answer in German`, `prefer {agent}`, \
             `skip the summary` or `show fewer stages`.",
        uk: "У вас немає налаштувань. Можна сказати, наприклад, `завжди відповідай німецькою`, \
             `надавай перевагу {agent}`, `пропускай підсумок` або `показуй менше етапів`.",
    }
    undo(wish, words) {
        en: "\n- {wish} _Undo: `{words}`_",
        uk: "\n- {wish} _Скасувати: `{words}`_",
    }
    answers_in(language) {
        en: "Answers are in {language}.",
        uk: "Мова відповідей: {language}.",
    }
    never_asked(agent) {
        en: "{agent} is never asked.",
        uk: "{agent} ніколи не отримує запитів.",
    }
    is_preferred(agent) {
        en: "{agent} is preferred where it fits.",
        uk: "{agent} має перевагу там, де підходить.",
    }
    no_summary() {
        en: "The agent's own text is the answer, without a summary.",
        uk: "Відповідь дає сам агент, без підсумку.",
    }
    no_stages() {
        en: "No stages of agents are shown.",
        uk: "Етапи агентів не показуються.",
    }
    fewer_stages() {
        en: "Of agents' stages only names and outcomes are shown.",
        uk: "З етапів агентів показуються лише назви та результати.",
    }
    at_most_a_day(money) {
        en: "At most {money} are spent a day.",
        uk: "На день витрачається не більше {money}.",
    }
    at_most_a_turn(money) {
        en: "At most {money} are spent on an answer.",
        uk: "На відповідь витрачається не більше {money}.",
    }
    no_prices() {
        en: "\n\nNo prices are known here, so that money cannot be counted.",
        uk: "\n\nЦіни тут невідомі, тож гроші порахувати неможливо.",
    }
    undo_language() {
        en: "answer in any language",
        uk: "відповідай будь-якою мовою",
    }
    undo_block(agent) {
        en: "you may ask {agent} again",
        uk: "можна знову питати {agent}",
    }
    undo_prefer(agent) {
        en: "stop preferring {agent}",
        uk: "не надавай перевагу {agent}",
    }
    undo_skip() {
        en: "write the summary again",
        uk: "пиши знову підсумок",
    }
    undo_stages() {
        en: "show all stages",
        uk: "показуй всі етапи",
    }
    undo_day() {
        en: "forget my daily limit",
        uk: "забудь мій денний ліміт",
    }
    undo_turn() {
        en: "forget my limit per answer",
        uk: "забудь мій ліміт на відповідь",
    }
    blocked(agent, words) {
        en: "You asked that {agent} is never asked, so it was not. Say `{words}` to change that.",
        uk: "Ви просили ніколи не питати {agent}, тож запит не надіслано. Скажіть `{words}`, щоб це змінити.",
    }
    not_among(agent) {
        en: "{agent} is not among the agents that this request lets be asked, so it was not.",
        uk: "{agent} немає серед агентів, яких дозволяє питати цей запит, тож його не питали.",
    }
    preferences_unreachable() {
        en: "Your preferences cannot be reached at the moment. Nothing was changed; please try again soon.",
        uk: "Ваші налаштування зараз недоступні. Нічого не змінено; спробуйте трохи згодом.",
    }
    preferences_stay() {
        en: "This only asks what would happen: your preferences stay as they are.",
        uk: "Це лише запитання, що було б: ваші налаштування лишаються без змін.",
    }
    own_limit_reached(money, reference) {
        en: "You wanted at most {money} spent a day, and that is spent. It goes on tomorrow; `forget my daily limit` \
             lifts the limit. (reference {reference})",
        uk: "Ви хотіли витрачати на день не більше {money}, і це вже витрачено. Далі буде завтра; \
             `забудь мій денний ліміт` знімає обмеження. (код {reference})",
    }
}

/// All preferences with the words that undo each. `priced` is whether money can be counted at all.
pub fn told(
    preferences: &Preferences,
    agent: &AgentId,
    priced: bool,
    language: Language,
) -> String {
    let lines: String = (lines(preferences, language).into_iter())
        .map(|(wish, words)| undo(wish, words).told(language))
        .collect();
    if lines.is_empty() {
        return nothing_set(agent).told(language);
    }
    let mut text = now_set(lines).told(language);
    let money = preferences.spend_per_day.is_some() || preferences.spend_per_turn.is_some();
    if money && !priced {
        text.push_str(&no_prices().told(language));
    }
    text
}

/// Whoever names an agent that they blocked.
pub fn is_blocked(agent: &AgentId) -> Phrase {
    blocked(agent, undo_block(agent))
}

fn lines(preferences: &Preferences, language: Language) -> Vec<(Phrase, Phrase)> {
    let mut lines = Vec::new();
    if let Some(tongue) = preferences.language {
        lines.push((answers_in(tongue.called(language)), undo_language()));
    }
    for agent in &preferences.preferred_agents {
        lines.push((is_preferred(agent), undo_prefer(agent)));
    }
    for agent in &preferences.blocked_agents {
        lines.push((never_asked(agent), undo_block(agent)));
    }
    if preferences.skip_synthesis {
        lines.push((no_summary(), undo_skip()));
    }
    match preferences.stages {
        Stages::None => lines.push((no_stages(), undo_stages())),
        Stages::Summary => lines.push((fewer_stages(), undo_stages())),
        Stages::Full => {}
    }
    if let Some(money) = preferences.spend_per_day {
        lines.push((at_most_a_day(money.to_string()), undo_day()));
    }
    if let Some(money) = preferences.spend_per_turn {
        lines.push((at_most_a_turn(money.to_string()), undo_turn()));
    }
    lines
}

#[cfg(test)]
mod undoing {
    use super::*;
    use crate::domain::money::Money;
    use crate::domain::tongue::Tongue;
    use crate::domain::wish;

    /// Whoever says all that is offered has nothing set any more.
    #[test]
    fn the_words_that_are_offered_undo_what_they_stand_beside() {
        let agents = ["GPA", "UMS"].map(AgentId::new);
        for stages in [Stages::None, Stages::Summary] {
            for language in [Language::English, Language::Ukrainian] {
                let mut preferences = Preferences {
                    preferred_agents: vec![AgentId::new("GPA")],
                    blocked_agents: vec![AgentId::new("UMS")],
                    skip_synthesis: true,
                    stages,
                    language: Tongue::named("de"),
                    spend_per_day: Some(Money(1)),
                    spend_per_turn: Some(Money(1)),
                };
                for (_, words) in lines(&preferences, language) {
                    let words = words.told(language);
                    let said = wish::read(&words, &agents).unwrap_or_else(|| panic!("{words}"));
                    assert_eq!((said.wishes.len(), said.rest), (1, ""), "{words}");
                    let next = preferences.clone().with(&said.wishes[0]);
                    assert_ne!(next, preferences, "{words}");
                    preferences = next;
                }
                assert_eq!(preferences, Preferences::default());
            }
        }
    }
}
