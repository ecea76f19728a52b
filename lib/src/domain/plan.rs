//! A routing decision is a plan, and the plan decides which pattern runs.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::AgentId;
use super::language::Language;
use super::message::Message;
use super::preference::Wish;

/// Who works, and in what pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Single(Assignment),
    /// The user asks about the system itself: the registry answers, in this language or in the question's.
    About(Option<Language>),
    /// One question back to the user: which of these two? The likelier one first.
    Clarify([AgentId; 2]),
    /// The user says what they want of every turn, or asks what they said.
    Preferences(Vec<Wish>),
    /// The user named an agent that they never want asked.
    Blocked(AgentId),
}

/// One agent's part: the user's request, and what the router adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub agent: AgentId,
    pub instructions: Option<String>,
}

impl Assignment {
    /// The agent gets the request as it is.
    pub fn plain(agent: &AgentId) -> Self {
        Self {
            agent: agent.clone(),
            instructions: None,
        }
    }
}

/// Which rung of the ladder decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionSource {
    /// The user, by naming an agent.
    Explicit,
    Rule,
    /// The user said something of their preferences.
    Preference,
    /// The question was about the system itself.
    About,
    /// An agent that asked gets the reply.
    Sticky,
    Cache,
    Model,
    /// The user, by approving what was proposed.
    Approval,
    Default,
}

impl DecisionSource {
    /// The word used in logs and stages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Rule => "rule",
            Self::Preference => "preference",
            Self::About => "about",
            Self::Sticky => "sticky",
            Self::Cache => "cache",
            Self::Model => "model",
            Self::Approval => "approval",
            Self::Default => "default",
        }
    }
}

/// Who answers, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingDecision {
    pub plan: Plan,
    pub source: DecisionSource,
    /// 0 to 1; `None` when the source has no opinion of its own certainty.
    pub confidence: Option<f64>,
    pub rationale: String,
    /// What the agent is asked in place of the last message, which only said whom to ask, or approved it.
    pub request: Option<Message>,
    /// Where it was found, when it was made before.
    pub kept: Option<Kept>,
}

/// Where a decision was found that was made before, and how long before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// In this process; the table was not asked.
    pub near: bool,
    pub age: Duration,
}

impl RoutingDecision {
    /// A decision for one agent, which gets the request as it is.
    pub fn plain(agent: &AgentId, source: DecisionSource, rationale: impl Into<String>) -> Self {
        Self {
            plan: Plan::Single(Assignment::plain(agent)),
            source,
            confidence: None,
            rationale: rationale.into(),
            request: None,
            kept: None,
        }
    }

    /// The one agent of the plan.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.plan {
            Plan::Single(assignment) => Some(assignment),
            Plan::About(_) | Plan::Clarify(_) | Plan::Preferences(_) | Plan::Blocked(_) => None,
        }
    }
}

/// The cache's reason where it does not look, since the request is not worth keeping: no lookup, and so no miss.
pub const NOT_LOOKED_UP: &str = "nothing that is looked up";

/// What one rung of the ladder said, as the turn's record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    pub name: Cow<'static, str>,
    pub verdict: RungVerdict,
    pub reason: Cow<'static, str>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RungVerdict {
    Decided,
    /// No opinion: the next rung was asked.
    Abstained,
    Failed,
}

impl RungVerdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Abstained => "abstained",
            Self::Failed => "failed",
        }
    }
}
