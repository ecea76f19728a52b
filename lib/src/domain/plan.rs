//! A routing decision is a plan, and the plan decides which pattern runs.

use super::ids::AgentId;

/// Who works, and in what pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Single(Assignment),
}

/// One agent's part: the user's request, and what the router adds to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub agent: AgentId,
    pub instructions: Option<String>,
}

/// Which rung of the ladder decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionSource {
    Model,
    /// The user, by approving what was proposed.
    Approval,
    Default,
}

impl DecisionSource {
    /// The word used in logs and stages.
    pub fn as_str(self) -> &'static str {
        match self {
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
}
