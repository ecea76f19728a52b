//! What a hook is told: ids, words and sizes; what was said only where the hook is to have it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::domain::conversation::{AgentCall, Outcome};
use crate::domain::failure::Code;
use crate::domain::hook::Point;
use crate::domain::ids::{AgentId, Millis, TurnId};
use crate::domain::plan::{Plan, RoutingDecision};
use crate::domain::turn::{Caller, ChatTurn};

/// One point of one turn.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub at: Point,
    pub turn: TurnId,
    pub time: Millis,
    pub caller: &'a Arc<Caller>,
    pub what_if: bool,
    pub tenant: &'a str,
    /// The owner's pseudonym, as the audit log has it.
    pub person: Option<TurnId>,
    pub conversation: &'a str,
    /// How many messages came, and how many files with the last one.
    pub messages: usize,
    pub files: usize,
    pub decision: Option<&'a RoutingDecision>,
    /// The agent that is to be asked, or was.
    pub agent: Option<&'a AgentId>,
    /// What is asked, and what the router adds to it.
    pub request: &'a str,
    pub instructions: Option<&'a str>,
    /// What the agent said; at the turn's end, what the user was shown.
    pub answer: Option<&'a str>,
    /// Every call so far.
    pub calls: &'a [AgentCall],
    pub outcome: Option<Outcome>,
    pub error: Option<Code>,
    /// Since the turn began.
    pub elapsed: Duration,
}

impl<'a> Event<'a> {
    /// A turn that has come as far as this point, of which no more is known.
    pub fn new(at: Point, turn: &'a ChatTurn, time: Millis) -> Self {
        let last = turn.messages.last();
        Self {
            at,
            turn: turn.id,
            time,
            caller: &turn.caller,
            what_if: turn.what_if,
            tenant: "",
            person: None,
            conversation: "",
            messages: turn.messages.len(),
            files: last.map_or(0, |last| last.attachments.len()),
            decision: None,
            agent: None,
            request: last.map_or("", |last| last.text.as_str()),
            instructions: None,
            answer: None,
            calls: &[],
            outcome: None,
            error: None,
            elapsed: Duration::ZERO,
        }
    }

    /// The texts that the point is about.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> {
        let asked = match self.answer {
            Some(_) => [None, None],
            None => [Some(self.request), self.instructions],
        };
        asked.into_iter().chain([self.answer]).flatten()
    }

    /// The event as JSON, with what was said or without.
    pub fn json(&self, content: bool) -> Vec<u8> {
        let decision = self.decision.map(|decision| Decision {
            plan: match &decision.plan {
                Plan::Single(_) => "single",
                Plan::Steps(_) => "steps",
                Plan::Refused(_) => "refused",
                Plan::About(_) => "about",
                Plan::Clarify(_) => "clarify",
                Plan::Preferences(_) => "preferences",
                Plan::Blocked(_) => "blocked",
            },
            decided_by: decision.source.as_str(),
            confidence: decision.confidence,
        });
        let said = content.then_some(Content {
            request: self.request,
            instructions: self.instructions,
            answer: self.answer,
        });
        let written = Written {
            kind: format!("mas.{}", self.at.as_str()),
            time_ms: self.time,
            data: Data {
                turn: self.turn,
                trace: self.caller.trace_id(),
                conversation: self.conversation,
                tenant: self.tenant,
                person: self.person,
                depth: self.caller.depth,
                what_if: self.what_if,
                decision,
                agent: self.agent,
                calls: self.calls,
                outcome: self.outcome,
                error: self.error.map(Code::as_str),
                elapsed_ms: u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
                sizes: Sizes {
                    messages: self.messages,
                    files: self.files,
                    request: self.request.len(),
                    answer: self.answer.map(str::len),
                },
                content: said,
            },
        };
        // Nothing in it can fail to be written.
        serde_json::to_vec(&written).unwrap_or_default()
    }
}

/// The event as it is sent.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: String,
    time_ms: Millis,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    turn: TurnId,
    trace: Option<&'a str>,
    conversation: &'a str,
    tenant: &'a str,
    person: Option<TurnId>,
    depth: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    what_if: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentId>,
    #[serde(skip_serializing_if = "<[AgentCall]>::is_empty")]
    calls: &'a [AgentCall],
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    elapsed_ms: u64,
    sizes: Sizes,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
}

#[derive(Serialize)]
struct Decision<'a> {
    plan: &'a str,
    decided_by: &'a str,
    confidence: Option<f64>,
}

/// Texts in bytes.
#[derive(Serialize)]
struct Sizes {
    messages: usize,
    files: usize,
    request: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<usize>,
}

#[derive(Serialize)]
struct Content<'a> {
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a str>,
}
