//! The fixed words a person reads: stage names and sentences, in one place.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::domain::agent::Effect;
use crate::domain::ids::AgentId;
use crate::domain::message::Attachment;
use crate::domain::plan::{DecisionSource, Plan, RoutingDecision};
use crate::domain::proposal::Proposal;

/// The routing stage's name; the chosen agent is appended to it.
pub const ROUTING: &str = "Coordination Request";

/// Opened only when the memory could not be read or written.
pub const MEMORY: &str = "Conversation memory";

pub const MEMORY_UNREAD: &str = "The conversation store cannot be reached. This answer was made from what your chat \
     client sent.";

pub const MEMORY_UNSAVED: &str =
    "The conversation store cannot be reached. This turn is remembered by your chat client alone.";

pub const MEMORY_CUT: &str =
    "What the agent wanted remembered is too large to keep. It will not know all of this turn.";

/// Appended to what an agent said before it broke off.
pub const PARTIAL: &str = "\n\n_(broken off here: this is not the whole answer)_";

/// Between what an agent said and what it says in place of it.
pub const ANEW: &str = "\n\n---\n\n";

/// Appended to what an agent said up to the most that it may say at once.
pub const AGENT_CUT: &str = "\n\n_(cut here: the agent may not say more at once)_";

/// Appended to a synthesised answer that broke off; the agent's own text follows.
pub const SYNTHESIS_BROKE_OFF: &str =
    "\n\n_(the summary broke off; what the agent itself said follows)_\n\n";

/// The name of the stage that stands for those that are not shown.
pub const STAGES_LEFT_OUT: &str = "More stages";

/// Appended to the routing stage's name.
pub fn routed_to(plan: &Plan) -> String {
    match plan {
        Plan::Single(assignment) => format!(" \u{2192} {}", assignment.agent),
        Plan::About(_) => " \u{2192} about this assistant".into(),
        Plan::Clarify(_) => " \u{2192} a question back".into(),
    }
}

/// The decision as the reference shows it: indented JSON in a fence, with confidence and reason added.
pub fn decision(decision: &RoutingDecision) -> String {
    #[derive(Serialize)]
    struct Shown<'a> {
        agent_name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        candidates: Option<[&'a str; 2]>,
        additional_instructions: Option<&'a str>,
        confidence: Option<f64>,
        /// Said where it was not the model.
        #[serde(skip_serializing_if = "Option::is_none")]
        decided_by: Option<&'a str>,
        reason: &'a str,
    }
    let assignment = decision.assignment();
    let shown = Shown {
        agent_name: assignment.map(|assignment| assignment.agent.as_str()),
        candidates: match &decision.plan {
            Plan::Clarify([first, second]) => Some([first.as_str(), second.as_str()]),
            Plan::Single(_) | Plan::About(_) => None,
        },
        additional_instructions: assignment
            .and_then(|assignment| assignment.instructions.as_deref()),
        confidence: decision.confidence,
        decided_by: (decision.source != DecisionSource::Model).then(|| decision.source.as_str()),
        reason: &decision.rationale,
    };
    let json = serde_json::to_string_pretty(&shown).unwrap_or_default();
    format!("```json\n{json}\n```\n")
}

pub fn rung_failed(rung: &str, decision: &RoutingDecision) -> String {
    let agent =
        (decision.assignment()).map_or("the coordinator", |assignment| assignment.agent.as_str());
    format!("\nThe routing {rung} gave no decision, so {agent} answers by default.\n")
}

pub fn agent_stage(agent: &AgentId) -> String {
    format!("Call {agent} Agent")
}

/// Begins the stage of an agent that is asked because another one could not answer.
pub fn stands_in(other: &AgentId, agent: &AgentId) -> String {
    format!("_{other} could not answer, so {agent} was asked instead._\n\n")
}

/// An agent that was not even asked, because it failed too often of late.
pub fn agent_resting(agent: &AgentId, reference: &str) -> String {
    format!(
        "{agent} has been failing and is left alone for a moment. Please try again in a minute. (reference {reference})"
    )
}

pub fn session_created(agent: &AgentId, id: &str) -> String {
    format!("_Created new {agent} conversation: {id}_\n\n")
}

/// What a person can do after a failure: an agent that may change things may have done so.
pub fn advice(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "Please try again.",
        Effect::Reversible | Effect::Irreversible => {
            "It may have done a part of what you asked: please check before you ask again."
        }
    }
}

pub fn agent_unavailable(agent: &AgentId, advice: &str, reference: &str) -> String {
    format!("{agent} could not answer: it failed or broke off. {advice} (reference {reference})")
}

/// What a failed agent itself said to people.
pub fn agent_said(agent: &AgentId, said: &str, advice: &str, reference: &str) -> String {
    format!("{agent} could not answer. It says: {said} {advice} (reference {reference})")
}

pub fn agent_timeout(agent: &AgentId, advice: &str, reference: &str) -> String {
    format!("{agent} did not answer in time. {advice} (reference {reference})")
}

pub const APPROVAL_OVER: &str = "This approval is not valid any more: it was used, has expired, or is not yours. \
     Nothing was done.";

pub const APPROVAL_UNREAD: &str =
    "The approval cannot be checked at the moment. Nothing was done; please try again soon.";

pub const REJECTED: &str = "All right: nothing was done.";

/// The stage that holds what an agent would be asked.
pub fn approval_stage(agent: &AgentId) -> String {
    format!("Approval needed \u{2192} {agent}")
}

/// What an agent would be asked, from what is stored and from nothing else.
pub fn proposal(proposal: &Proposal) -> String {
    let Proposal {
        agent,
        request,
        attachments,
        instructions,
        left_out,
        ..
    } = proposal;
    let mut text = format!("{agent} would be asked:\n\n> {}\n", quoted(request));
    if let Some(instructions) = instructions {
        text.push_str("\nand told:\n\n> ");
        text.push_str(&quoted(instructions));
        text.push('\n');
    }
    for attachment in attachments {
        text.push_str("\nwith the file ");
        text.push_str(&quoted(&attachment.manifest()));
        text.push('\n');
    }
    for file in left_out {
        text.push_str("\n**without** the file ");
        text.push_str(&quoted(file));
        text.push_str(", which is not kept\n");
    }
    text
}

/// A text as it is, within a quotation: no Markdown of its own, no comment, no end of line and no letter that does not
/// show can make what is read differ from what is sent.
fn quoted(text: &str) -> String {
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
pub fn ask_for_approval(asked: &Proposal, digest: &str, ttl: Duration) -> String {
    let minutes = (ttl.as_secs_f64() / 60.0).ceil();
    format!(
        "This may change things that cannot be undone, so it needs your approval. {}\n\
         To go on, answer `approve {digest}`; to leave it, `reject {digest}`. The offer ends in {minutes} minutes.",
        proposal(asked)
    )
}

/// The same question as buttons.
pub fn approval_form(digest: &str) -> serde_json::Value {
    let button = |verb: &str, title: &str| {
        let words = format!("{verb} {digest}");
        json!({
            "const": words,
            "title": title,
            "dial:widgetOptions": {"populateText": words, "submit": true}
        })
    };
    json!({
        "type": "object",
        "properties": {
            "approval": {
                "type": "string",
                "dial:widget": "buttons",
                "oneOf": [button("approve", "Approve"), button("reject", "Reject")]
            }
        },
        "required": ["approval"]
    })
}

pub fn no_proposal(agent: &AgentId, reference: &str) -> String {
    format!(
        "{agent} needs your approval for this, which cannot be asked for at the moment. Nothing was done. \
         (reference {reference})"
    )
}

pub const DUPLICATE: &str = "This message is already being answered.";

pub const CIRCLES: &str =
    "The agents are asking each other in circles. Please put the question differently.";

/// What a person over a limit is told: when to come back.
pub fn over_limit(wait: Duration, reference: &str) -> String {
    let seconds = wait.as_secs_f64().ceil();
    let when = if seconds < 90.0 {
        format!("in {seconds} seconds")
    } else if seconds < 7200.0 {
        format!("in {} minutes", (seconds / 60.0).ceil())
    } else {
        "tomorrow".into()
    };
    format!("You have reached your limit. Please try again {when}. (reference {reference})")
}

pub fn deadline(advice: &str, reference: &str) -> String {
    format!("The time for this answer was used up. {advice} (reference {reference})")
}

pub fn stages_left_out(agent: &AgentId, cap: usize) -> String {
    format!("_{agent} opened more stages than the {cap} that are shown._")
}

/// Appended to a stage's text.
pub fn stage_cut(cap: usize) -> String {
    format!("\n\n_(cut here: a stage has at most {})_", size(cap))
}

/// Appended to an agent's text.
pub fn text_cut(cap: usize) -> String {
    format!(
        "\n\n_(cut here: an agent's answer has at most {})_",
        size(cap)
    )
}

pub fn attachment_left_out(attachment: &Attachment, cap: usize) -> String {
    format!(
        "\n\n_(the attachment {} is left out: it is larger than {})_\n\n",
        named(attachment),
        size(cap)
    )
}

pub fn attachments_left_out(attachment: &Attachment, cap: usize) -> String {
    format!(
        "\n\n_(the attachment {} and all after it are left out: {cap} are the most)_\n\n",
        named(attachment)
    )
}

/// An attachment's title on one line, of a readable length.
fn named(attachment: &Attachment) -> String {
    let title = attachment.title.as_deref().unwrap_or("without a title");
    let plain = title.chars().filter(|letter| !letter.is_control());
    plain.take(80).collect()
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
