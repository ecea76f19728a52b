//! What a request sets for its own turn alone.

use super::agent::Registry;
use super::ids::AgentId;
use super::preference::{Preferences, Stages};
use super::rules::Synthesis;
use super::tongue::Tongue;

/// What a request sets of its own. It goes before what its person wants of every turn, and before nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// No other agents are asked.
    pub agents: Option<Vec<AgentId>>,
    /// Unless a rule says when a summary is written.
    pub synthesis: Option<Synthesis>,
    pub stages: Option<Stages>,
    pub language: Option<Tongue>,
}

impl Overrides {
    /// What is wanted of the turn, by somebody with these preferences.
    pub fn over(&self, mut preferences: Preferences, registry: &Registry) -> Preferences {
        if let Some(agents) = &self.agents {
            let others = registry.iter().map(|card| &card.id);
            let others =
                others.filter(|agent| !agents.contains(agent) && !preferences.blocks(agent));
            let others: Vec<AgentId> = others.cloned().collect();
            preferences
                .preferred_agents
                .retain(|agent| !others.contains(agent));
            preferences.blocked_agents.extend(others);
        }
        if self.synthesis.is_some() {
            preferences.skip_synthesis = false;
        }
        preferences.stages = self.stages.unwrap_or(preferences.stages);
        preferences.language = self.language.or(preferences.language);
        preferences
    }
}
