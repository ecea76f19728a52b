//! The fixed words a person reads: stage names and sentences, in one place. Those in several languages are in
//! `sentences.rs`; a function here that gives a plain text is English for everybody until it is written there.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::domain::agent::Effect;
use crate::domain::conflict::Conflict;
use crate::domain::fact::Fact;
use crate::domain::ids::AgentId;
use crate::domain::language::Language;
use crate::domain::message::Attachment;
use crate::domain::phrase::Phrase;
use crate::domain::plan::{DecisionSource, Plan, RoutingDecision, Step};
use crate::domain::proposal::Proposal;
pub use crate::domain::sentences::circles;

pub use super::sentences::*;

/// The routing stage's name; the chosen agent is appended to it.
pub const ROUTING: &str = "Coordination Request";

/// Between what an agent said and what it says in place of it.
pub const ANEW: &str = "\n\n---\n\n";

/// The steps of a plan, as they stand in the plan's stage.
pub fn plan(steps: &[Step], language: Language) -> String {
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        let (name, agent) = (quoted(&step.name), &step.assignment.agent);
        let _ = write!(text, "{}. **{name}** \u{2192} {agent}", at + 1);
        if let Some(task) = step.task() {
            let _ = write!(text, ": {}", quoted(task));
        }
        if !step.after.is_empty() {
            let names = quoted(&step.after.join(", "));
            text.push_str(&with_the_result_of(names).told(language));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

pub fn step_took(name: &str, time: Duration) -> Phrase {
    step_done(quoted(name), format!("{:.1}", time.as_secs_f64()))
}

pub fn step_stopped(name: &str, why: &Phrase, language: Language) -> String {
    format!("- {}: {}\n", quoted(name), why.told(language))
}

/// What an agent is told of others' answers, and from whom it is.
pub fn shared(facts: &[Fact]) -> String {
    let mut text = String::new();
    for fact in facts {
        let _ = writeln!(text, "- {} \u{2190} {}", quoted(&fact.told()), fact.source);
    }
    text
}

/// What several agents say differently, in their own words.
pub fn conflicts(conflicts: &[Conflict]) -> String {
    let mut text = String::new();
    for Conflict { about, claims } in conflicts {
        let _ = writeln!(text, "**{}**\n", quoted(about));
        for (agent, says) in claims {
            let _ = writeln!(text, "- {agent}: {}", quoted(says));
        }
        text.push('\n');
    }
    text
}

/// What several agents said, one below the other, where nobody writes one answer from it.
pub fn side_by_side(reports: &[(&AgentId, &str)]) -> String {
    let sections: Vec<String> = (reports.iter())
        .map(|(agent, text)| format!("**{agent}**\n\n{text}"))
        .collect();
    sections.join("\n\n")
}

/// Appended to the routing stage's name.
pub fn routed_to(plan: &Plan) -> Phrase {
    match plan {
        Plan::Steps(steps) => format!(" \u{2192} {}", agents(steps).join(", ")).into(),
        Plan::Single(assignment) => format!(" \u{2192} {}", assignment.agent).into(),
        Plan::About(_) => to_this_assistant(),
        Plan::Clarify(_) => to_a_question(),
        Plan::Refused(refusal) => to_nobody(&refusal.agent),
        Plan::Preferences(_) | Plan::Blocked(_) => to_preferences(),
    }
}

/// The agents of a plan, each once.
fn agents(steps: &[Step]) -> Vec<&str> {
    let mut agents: Vec<&str> = Vec::new();
    for step in steps {
        let agent = step.assignment.agent.as_str();
        if !agents.contains(&agent) {
            agents.push(agent);
        }
    }
    agents
}

/// What the user is told where a rule forbids the agent.
pub fn forbids(agent: &AgentId, say: Option<&str>) -> Phrase {
    say.map_or_else(|| forbidden(agent), Phrase::from)
}

/// The decision as the reference shows it: indented JSON in a fence, with confidence and reason added.
pub fn decision(decision: &RoutingDecision) -> String {
    #[derive(Serialize)]
    struct Shown<'a> {
        agent_name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        candidates: Option<[&'a str; 2]>,
        additional_instructions: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        steps: Option<Vec<Part<'a>>>,
        confidence: Option<f64>,
        /// Said where it was not the model.
        #[serde(skip_serializing_if = "Option::is_none")]
        decided_by: Option<&'a str>,
        reason: &'a str,
    }
    #[derive(Serialize)]
    struct Part<'a> {
        name: &'a str,
        agent_name: &'a str,
        task: Option<&'a str>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        after: &'a [String],
    }
    fn part(step: &Step) -> Part<'_> {
        Part {
            name: &step.name,
            agent_name: step.assignment.agent.as_str(),
            task: step.task(),
            after: &step.after,
        }
    }
    let assignment = decision.assignment();
    let shown = Shown {
        agent_name: assignment.map(|assignment| assignment.agent.as_str()),
        candidates: match &decision.plan {
            Plan::Clarify([first, second]) => Some([first.as_str(), second.as_str()]),
            Plan::Single(_)
            | Plan::Steps(_)
            | Plan::About(_)
            | Plan::Refused(_)
            | Plan::Preferences(_)
            | Plan::Blocked(_) => None,
        },
        additional_instructions: assignment
            .and_then(|assignment| assignment.instructions.as_deref()),
        steps: match &decision.plan {
            Plan::Steps(steps) => Some(steps.iter().map(part).collect()),
            Plan::Single(_)
            | Plan::About(_)
            | Plan::Clarify(_)
            | Plan::Refused(_)
            | Plan::Preferences(_)
            | Plan::Blocked(_) => None,
        },
        confidence: decision.confidence,
        decided_by: (decision.source != DecisionSource::Model).then(|| decision.source.as_str()),
        reason: &decision.rationale,
    };
    let json = serde_json::to_string_pretty(&shown).unwrap_or_default();
    format!("```json\n{json}\n```\n")
}

pub fn nobody_decided(rung: &str, decision: &RoutingDecision) -> Phrase {
    let agent =
        (decision.assignment()).map_or("the coordinator", |assignment| assignment.agent.as_str());
    rung_failed(rung, agent)
}

pub fn agent_stage(agent: &AgentId) -> String {
    format!("Call {agent} Agent")
}

/// What a person can do after a failure: an agent that may change things may have done so.
pub fn advice(effect: Effect) -> Phrase {
    match effect {
        Effect::None => try_again(),
        Effect::Reversible | Effect::Irreversible => check_first(),
    }
}

/// A turn that a hook refused, in its own words; or in ours where it could not be asked.
pub fn refused(sentence: Option<&str>, done: Effect, reference: &str) -> Phrase {
    let sentence = sentence.map_or_else(|| cannot_be_checked(reference), Phrase::from);
    match done {
        Effect::None => sentence,
        Effect::Reversible | Effect::Irreversible => refused_after(sentence, advice(done)),
    }
}

/// What an agent would be asked, from what is stored and from nothing else.
pub fn proposal(proposal: &Proposal, language: Language) -> String {
    let Proposal {
        agent,
        request,
        attachments,
        instructions,
        left_out,
        steps,
        given,
        ..
    } = proposal;
    let whom = match steps.as_slice() {
        [] => agent.to_string(),
        steps => agents(steps).join(", "),
    };
    let mut phrases = vec![would_be_asked(whom, quoted(request))];
    if !steps.is_empty() {
        phrases.push(format!("\n{}", plan(steps, language)).into());
    }
    for given in given {
        phrases.push(and_told_the_result_of(
            quoted(&given.name),
            quoted(&given.text),
        ));
    }
    if let Some(instructions) = instructions {
        phrases.push(and_told(quoted(instructions)));
    }
    let files = attachments.iter().map(Attachment::manifest);
    phrases.extend(files.map(|file| with_the_file(quoted(&file))));
    phrases.extend(left_out.iter().map(|file| without_the_file(quoted(file))));
    phrases.iter().map(|phrase| phrase.told(language)).collect()
}

/// A text as it is, within a quotation: no Markdown of its own, no comment, no end of line and no letter that does not
/// show can make what is read differ from what is sent.
pub fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.replace("\r\n", "\n").chars() {
        match letter {
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => shown.push_str("\n> "),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '#' | '~' | '|' | '$' => {
                shown.push('\\');
                shown.push(letter);
            }
            '\t' => shown.push(letter),
            _ if letter.is_control()
                || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}') =>
            {
                let _ = write!(shown, "{}", letter.escape_unicode());
            }
            _ => shown.push(letter),
        }
    }
    shown
}

/// The question to the user. It works in clients without buttons, too.
pub fn ask_for_approval(
    asked: &Proposal,
    digest: &str,
    ttl: Duration,
    language: Language,
) -> String {
    let minutes = (ttl.as_secs_f64() / 60.0).ceil();
    needs_approval(proposal(asked, language), digest, minutes.to_string()).told(language)
}

/// The same question as buttons: the third one puts the request before the user, to be changed and sent.
pub fn approval_form(proposal: &Proposal, digest: &str, language: Language) -> serde_json::Value {
    let button = |words: String, title: Phrase, submit: bool| {
        json!({
            "const": words,
            "title": title.told(language),
            "dial:widgetOptions": {"populateText": words, "submit": submit}
        })
    };
    let edited = format!("edit {digest}: {}", proposal.request);
    json!({
        "type": "object",
        "properties": {
            "approval": {
                "type": "string",
                "dial:widget": "buttons",
                "oneOf": [
                    button(format!("approve {digest}"), approve(), true),
                    button(edited, edit(), false),
                    button(format!("reject {digest}"), reject(), true)
                ]
            }
        },
        "required": ["approval"]
    })
}

/// What a person over a limit is told: when to come back.
pub fn over_limit(wait: Duration, reference: &str) -> Phrase {
    let seconds = wait.as_secs_f64().ceil();
    let when = if seconds < 90.0 {
        in_seconds(seconds.to_string())
    } else if seconds < 7200.0 {
        in_minutes((seconds / 60.0).ceil().to_string())
    } else {
        tomorrow()
    };
    limit_reached(when, reference)
}

/// Appended to a stage's text.
pub fn stage_cut(cap: usize) -> Phrase {
    stage_over(size(cap))
}

/// Appended to an agent's text.
pub fn text_cut(cap: usize) -> Phrase {
    text_over(size(cap))
}

pub fn attachment_left_out(attachment: &Attachment, cap: usize) -> Phrase {
    attachment_over(named(attachment), size(cap))
}

pub fn attachments_left_out(attachment: &Attachment, cap: usize) -> Phrase {
    attachments_over(named(attachment), cap)
}

/// An attachment's title on one line, of a readable length.
fn named(attachment: &Attachment) -> Phrase {
    let Some(title) = attachment.title.as_deref() else {
        return untitled();
    };
    let plain = title.chars().filter(|letter| !letter.is_control());
    plain.take(80).collect::<String>().into()
}

fn size(bytes: usize) -> String {
    const KB: usize = 1024;
    match bytes {
        bytes if bytes >= KB * KB && bytes % (KB * KB) == 0 => format!("{} MB", bytes / KB / KB),
        bytes if bytes >= KB && bytes % KB == 0 => format!("{} KB", bytes / KB),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_approved_cannot_hide_anything() {
        let check = |text: &str, shown: &str| assert_eq!(quoted(text), shown, "{text:?}");
        check("Delete user Bob, please!", "Delete user Bob, please!");
        check("a\r\nb\rc\n> d", "a\n> b\n> c\n> \\> d");
        check("x<!-- and Alice -->", r"x\<!-- and Alice --\>");
        check("[y]: z", r"\[y\]: z");
        check(r"\<b&lt;`*_", r"\\\<b\&lt;\`\*\_");
        check("a\u{202e}b\u{200b}\u{1b}", r"a\u{202e}b\u{200b}\u{1b}");
    }

    #[test]
    fn sizes_are_told_as_they_are_set() {
        let sizes = [4096, 1024 * 1024, 1500, 12];
        assert_eq!(sizes.map(size), ["4 KB", "1 MB", "1500 bytes", "12 bytes"]);
    }
}
