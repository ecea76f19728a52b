//! The floor of the ladder: the default agent, always.

use std::iter;

use crate::domain::agent::Registry;
use crate::domain::ids::AgentId;
use crate::domain::plan::{DecisionSource, Plan, RoutingDecision};
use crate::domain::preference::Preferences;

/// Decides for the default agent whatever is asked.
#[derive(Clone, Debug)]
pub struct DefaultRouter {
    agent: AgentId,
    /// Those who answer where that one is not wanted, best priority first.
    others: Vec<AgentId>,
}

impl DefaultRouter {
    pub fn new(registry: &Registry) -> Self {
        let agent = &registry.default_agent().id;
        let mut others: Vec<_> = registry.iter().filter(|card| card.id != *agent).collect();
        others.sort_by_key(|card| card.priority);
        Self {
            agent: agent.clone(),
            others: others.iter().map(|card| card.id.clone()).collect(),
        }
    }

    pub fn decision(&self, preferences: &Preferences) -> RoutingDecision {
        let mut agents = iter::once(&self.agent).chain(&self.others);
        let wanted = agents.find(|agent| !preferences.blocks(agent));
        let mut decision = RoutingDecision::plain(
            wanted.unwrap_or(&self.agent),
            DecisionSource::Default,
            "nothing else decided, so the default agent answers",
        );
        if wanted.is_none() {
            decision.plan = Plan::Blocked(self.agent.clone());
        } else if preferences.blocks(&self.agent) {
            decision.rationale = "nothing else decided, and the default agent is not wanted".into();
        }
        decision
    }
}
