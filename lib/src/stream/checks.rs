//! What a person is told of answers that failed a check.

use crate::domain::check::{Again, Check};
use crate::domain::ids::AgentId;
use crate::domain::language::Language;
use crate::domain::phrase::{Phrase, sentences};

sentences! {
    /// The stage of an agent that is asked once more.
    once_more(agent, why) {
        en: "{agent}, once more: {why}",
        uk: "{agent}, ще раз: {why}",
    }
    /// The stage that says what is wrong with an answer whose agent is not asked once more.
    check_stage(agent) {
        en: "Check of {agent}",
        uk: "Перевірка {agent}",
    }
    /// Below an answer that something is wrong with.
    faulty(agent, why, again) {
        en: "\n\n_Please note of {agent}: {why}; {again}._",
        uk: "\n\n_Зауваження до {agent}: {why}; {again}._",
    }
    wrong_empty() {
        en: "there was nothing in its answer",
        uk: "його відповідь була порожня",
    }
    wrong_refusal() {
        en: "it declined the request",
        uk: "він відхилив прохання",
    }
    wrong_schema() {
        en: "its answer is not of the form that was agreed",
        uk: "його відповідь не тієї форми, про яку домовлено",
    }
    wrong_attachment() {
        en: "it lacks a file that should be there",
        uk: "у відповіді бракує файлу, який мав би бути",
    }
    wrong_language() {
        en: "its answer is in another language",
        uk: "його відповідь іншою мовою",
    }
    wrong_judge() {
        en: "a second model found its answer wanting",
        uk: "друга модель вважає його відповідь недостатньою",
    }
    again_twice() {
        en: "asking it once more did not help",
        uk: "повторне прохання не допомогло",
    }
    again_changes() {
        en: "it was not asked once more, since it may change things",
        uk: "його не просили ще раз, бо він може щось змінити",
    }
    again_approval() {
        en: "it was not asked once more, since that would need your approval",
        uk: "його не просили ще раз, бо на це потрібне ваше схвалення",
    }
    again_shown() {
        en: "it was not asked once more, since you have read the answer already",
        uk: "його не просили ще раз, бо ви вже прочитали відповідь",
    }
    again_time() {
        en: "there was no time to ask it once more",
        uk: "на повторне прохання забракло часу",
    }
    again_budget() {
        en: "the budget of this turn had no room to ask it once more",
        uk: "на повторне прохання забракло бюджету цієї відповіді",
    }
}

/// What is wrong, of several things the worst.
pub fn wrong(failed: &[Check]) -> Phrase {
    match failed.iter().min() {
        None | Some(Check::Empty) => wrong_empty(),
        Some(Check::Refusal) => wrong_refusal(),
        Some(Check::Schema) => wrong_schema(),
        Some(Check::Attachment) => wrong_attachment(),
        Some(Check::Language) => wrong_language(),
        Some(Check::Judge) => wrong_judge(),
    }
}

/// Why an agent is not asked once more, or that it was.
fn again_or_not(again: Again) -> Phrase {
    match again {
        Again::Asked | Again::Twice => again_twice(),
        Again::Changes => again_changes(),
        Again::Approval => again_approval(),
        Again::Shown => again_shown(),
        Again::Time => again_time(),
        Again::Budget => again_budget(),
    }
}

/// The stage's line.
pub fn line(failed: &[Check], again: Again, language: Language) -> String {
    let (wrong, again) = (wrong(failed), again_or_not(again));
    format!("{}; {}.\n", wrong.told(language), again.told(language))
}

/// The sentence below the answer.
pub fn note(agent: &AgentId, failed: &[Check], again: Again) -> Phrase {
    faulty(agent, wrong(failed), again_or_not(again))
}
