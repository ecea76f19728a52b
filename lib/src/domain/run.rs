//! A plan under way: what the same request goes on with, should it come again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conversation::Exchange;
use super::ids::TurnId;
use super::message::Attachment;
use super::plan::{DecisionSource, Step};
use super::turn::Given;

/// How long a plan that was not carried out to its end is kept.
pub const KEPT: Duration = Duration::from_hours(1);

/// A plan as it was decided, with all that its agents will get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The turn that made the plan.
    pub turn: TurnId,
    pub source: DecisionSource,
    /// The user has approved it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// What the agents are asked in place of the turn's own message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    pub steps: Vec<Step>,
    /// Results of an earlier turn that it builds on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

/// What a step has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// Its agent, which may change something, was about to be asked by this turn. What came of it is not known.
    Begun(TurnId),
    Done(Box<Done>),
}

/// A finished step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    pub exchange: Exchange,
    /// All that the agent attached, also what the exchange has no address of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The agent's own conversation, and whether it was made for this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<(String, bool)>,
    /// The agent waits for the user's reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
}

impl Done {
    /// The same with a text of at most so many bytes, and without what may be large: files that came inline, and the
    /// agent's state.
    #[must_use]
    pub fn within(mut self, most: usize) -> Self {
        self.attachments = Vec::new();
        self.exchange.state = None;
        let answer = &mut self.exchange.answer;
        if answer.len() > most {
            answer.truncate(answer.floor_char_boundary(most));
            answer.push_str("\n[\u{2026}]");
        }
        self
    }
}

/// A plan as it is kept, and what its steps have come to, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub run: Run,
    pub marks: Vec<Option<Mark>>,
}

impl Kept {
    /// The place of a step in the plan, and what it has come to.
    pub fn mark(&self, name: &str) -> Option<(usize, Option<&Mark>)> {
        let at = (self.run.steps.iter()).position(|step| step.name == name)?;
        Some((at, self.marks.get(at).and_then(Option::as_ref)))
    }
}
