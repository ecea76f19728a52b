//! The floor of the ladder: the default agent, always.

use crate::domain::agent::Registry;
use crate::domain::ids::AgentId;
use crate::domain::plan::{DecisionSource, RoutingDecision};

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
        RoutingDecision::plain(
            &self.agent,
            DecisionSource::Default,
            "nothing else decided, so the default agent answers",
        )
    }
}
