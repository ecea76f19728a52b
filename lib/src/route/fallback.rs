//! The floor of the ladder: the default agent, always.

use crate::domain::agent::Registry;
use crate::domain::ids::AgentId;
use crate::domain::plan::{Assignment, DecisionSource, Plan, RoutingDecision};

/// Decides for the default agent whatever is asked.
#[derive(Clone, Debug)]
pub struct DefaultRouter {
    agent: AgentId,
}

impl DefaultRouter {
    pub fn new(registry: &Registry) -> Self {
        Self {
            agent: registry.default_agent().id.clone(),
        }
    }

    pub fn decision(&self) -> RoutingDecision {
        RoutingDecision {
            plan: Plan::Single(Assignment {
                agent: self.agent.clone(),
                instructions: None,
            }),
            source: DecisionSource::Default,
            confidence: None,
            rationale: "nothing else decided, so the default agent answers".into(),
        }
    }
}
