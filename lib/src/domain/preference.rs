//! What one person wants of every turn: agents, answers, stages, money.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ids::AgentId;
use super::money::Money;
use super::tongue::Tongue;

/// More agents than these are not kept in one list.
pub const MOST_AGENTS: usize = 50;

/// How much of the agents' work is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stages {
    /// No stages of agents.
    None,
    /// Their names, and how they ended.
    Summary,
    #[default]
    Full,
}

impl Stages {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Summary => "summary",
            Self::Full => "full",
        }
    }
}

/// A person's preferences. What is not set is as the service has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// Asked first where several agents fit, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_agents: Vec<AgentId>,
    /// Never asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_agents: Vec<AgentId>,
    /// The agent's own text is the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_synthesis: bool,
    #[serde(default, skip_serializing_if = "is_full")]
    pub stages: Stages,
    /// Answers are in this language, whatever the request is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Tongue>,
    /// No turn begins once so much is spent on a day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_per_day: Option<Money>,
    /// The budget of each turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_per_turn: Option<Money>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_full(stages: &Stages) -> bool {
    *stages == Stages::Full
}

/// One thing that a person says of their preferences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Language(Option<Tongue>),
    Block(AgentId),
    Unblock(AgentId),
    Prefer(AgentId),
    Unprefer(AgentId),
    SkipSynthesis(bool),
    Stages(Stages),
    SpendPerDay(Option<Money>),
    SpendPerTurn(Option<Money>),
    /// Everything that was set is forgotten.
    Forget,
    /// They are only to be shown.
    Show,
}

impl Wish {
    /// Whether it may change anything.
    pub fn changes(&self) -> bool {
        *self != Self::Show
    }
}

impl Stages {
    pub const ALL: [&str; 3] = ["none", "summary", "full"];
}

impl Preferences {
    /// The same for the same preferences, and for no others: 0 where nothing is set.
    pub fn mark(&self) -> u64 {
        let json = Some(self).filter(|set| **set != Self::default());
        let json = json.and_then(|set| serde_json::to_vec(set).ok());
        let digest = json.map(|json| <[u8; 32]>::from(Sha256::digest(json)));
        let mark = digest.as_ref().and_then(|digest| digest.first_chunk());
        mark.copied().map_or(0, u64::from_le_bytes)
    }

    pub fn blocks(&self, agent: &AgentId) -> bool {
        self.blocked_agents.contains(agent)
    }

    /// Whether they say anything of who is to answer.
    pub fn steer(&self) -> bool {
        !self.preferred_agents.is_empty() || !self.blocked_agents.is_empty()
    }

    /// Whether these and others say the same of who is to answer.
    pub fn steer_like(&self, other: &Self) -> bool {
        self.preferred_agents == other.preferred_agents
            && self.blocked_agents == other.blocked_agents
    }

    /// The one of two agents that is preferred, if it is one.
    pub fn preferred_of<'a>(&self, agents: [&'a AgentId; 2]) -> Option<&'a AgentId> {
        let [one, other] = agents;
        let [first, second] = agents.map(|agent| {
            let mut order = self.preferred_agents.iter();
            order.position(|known| known == agent).unwrap_or(usize::MAX)
        });
        match first.cmp(&second) {
            std::cmp::Ordering::Less => Some(one),
            std::cmp::Ordering::Greater => Some(other),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// The preferences with a wish fulfilled. An agent is never blocked and preferred at once: the last word counts.
    #[must_use]
    pub fn with(mut self, wish: &Wish) -> Self {
        let drop = |list: &mut Vec<AgentId>, agent: &AgentId| list.retain(|known| known != agent);
        match wish {
            Wish::Language(language) => self.language = *language,
            Wish::Block(agent) => {
                drop(&mut self.preferred_agents, agent);
                drop(&mut self.blocked_agents, agent);
                self.blocked_agents.push(agent.clone());
            }
            Wish::Unblock(agent) => drop(&mut self.blocked_agents, agent),
            Wish::Prefer(agent) => {
                drop(&mut self.blocked_agents, agent);
                drop(&mut self.preferred_agents, agent);
                self.preferred_agents.insert(0, agent.clone());
            }
            Wish::Unprefer(agent) => drop(&mut self.preferred_agents, agent),
            Wish::SkipSynthesis(skip) => self.skip_synthesis = *skip,
            Wish::Stages(stages) => self.stages = *stages,
            Wish::SpendPerDay(money) => self.spend_per_day = *money,
            Wish::SpendPerTurn(money) => self.spend_per_turn = *money,
            Wish::Forget => self = Self::default(),
            Wish::Show => {}
        }
        self.preferred_agents.truncate(MOST_AGENTS);
        self.blocked_agents.truncate(MOST_AGENTS);
        self
    }

    /// The names of what differs, for those who may not see what it says.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            (
                "preferred_agents",
                self.preferred_agents != other.preferred_agents,
            ),
            (
                "blocked_agents",
                self.blocked_agents != other.blocked_agents,
            ),
            (
                "skip_synthesis",
                self.skip_synthesis != other.skip_synthesis,
            ),
            ("stages", self.stages != other.stages),
            ("language", self.language != other.language),
            ("spend_per_day", self.spend_per_day != other.spend_per_day),
            (
                "spend_per_turn",
                self.spend_per_turn != other.spend_per_turn,
            ),
        ];
        let differ = pairs.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_an_agent_counts() {
        let (gpa, ums) = (AgentId::new("GPA"), AgentId::new("UMS"));
        let wishes = [
            Wish::Prefer(ums.clone()),
            Wish::Prefer(gpa.clone()),
            Wish::Block(ums.clone()),
            Wish::Block(ums.clone()),
        ];
        let wanted = wishes
            .iter()
            .fold(Preferences::default(), Preferences::with);
        assert_eq!(wanted.preferred_agents, std::slice::from_ref(&gpa));
        assert_eq!(wanted.blocked_agents, std::slice::from_ref(&ums));
        assert_eq!(wanted.preferred_of([&ums, &gpa]), Some(&gpa));
        assert_eq!(
            wanted.differences(&Preferences::default()),
            ["preferred_agents", "blocked_agents"]
        );
        let back = wanted.with(&Wish::Prefer(ums.clone()));
        assert_eq!(back.preferred_agents, [ums, gpa]);
        assert_eq!(back.with(&Wish::Forget), Preferences::default());
    }

    #[test]
    fn only_what_is_set_is_written() {
        let written = |preferences: &Preferences| serde_json::to_string(preferences).unwrap();
        assert_eq!(written(&Preferences::default()), "{}");
        let set = Preferences {
            language: Tongue::named("de"),
            stages: Stages::Summary,
            spend_per_day: Some(Money(1_500_000)),
            ..Preferences::default()
        };
        let json = written(&set);
        assert_eq!(
            json,
            r#"{"stages":"summary","language":"de","spend_per_day":1.5}"#
        );
        assert_eq!(serde_json::from_str::<Preferences>(&json).unwrap(), set);
        assert!(serde_json::from_str::<Preferences>(r#"{"langauge":"de"}"#).is_err());
    }
}
