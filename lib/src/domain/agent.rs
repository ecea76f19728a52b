//! Agents as data: what each is, where it answers, what it may do to the world.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::capability::{Capability, FactRules, HistoryRules};
use super::check::Checks;
use super::ids::{AgentId, Secret};

/// How an agent is spoken to. A new protocol is a gateway file and a variant here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A DIAL application: chat completions with stages, attachments and state.
    Dial,
    /// A service with its own conversations: create, then post messages (the UMS agent).
    Conversation,
    /// A plain OpenAI-compatible server: chat completions and nothing more.
    Openai,
    /// An agent that speaks A2A: tasks over JSON-RPC, found by its card.
    A2a,
}

impl Protocol {
    /// A DIAL application or a model talks to people; a service of its own protocol talks to us.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Dial | Self::Openai)
    }
}

/// Where an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A deployment of DIAL Core, called with the caller's per-request key.
    Deployment(String),
    /// A full address, called directly with the agent's own key or none.
    Url(Url),
}

/// What a call may change in the world; it decides what may be repeated or started on a guess. The worse, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    None,
    Reversible,
    Irreversible,
}

/// Whether the user is asked before the agent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    Never,
    /// Before a request that would do what cannot be undone.
    #[default]
    Irreversible,
    Always,
}

/// Where it is looked up what an agent can do, beside what its entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Discover {
    /// DIAL Core's listing.
    Core,
    /// A document of its own, at `/capabilities`.
    Capabilities,
    /// Its agent card, as the A2A protocol has it.
    Card,
}

/// One agent of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCard {
    pub id: AgentId,
    pub protocol: Protocol,
    /// Where it answers, in the order they are tried. Never empty.
    pub endpoints: Vec<Endpoint>,
    /// What a plain OpenAI-compatible server calls it.
    pub model: Option<String>,
    /// The agent's own credential, for an endpoint outside DIAL Core.
    pub key: Option<Secret>,
    /// It wants to know who calls, and for whom: each call carries a signed assertion.
    pub assertion: bool,
    /// Whom the assertion is for; without it the endpoint's origin.
    pub audience: Option<String>,
    /// For people and for the routing model: what the agent is good at.
    pub description: String,
    pub capabilities: Vec<Capability>,
    /// 1 is asked first where two are equal.
    pub priority: u8,
    pub effect: Effect,
    pub approval: Approval,
    /// Its answers are made for people: they can be shown as they are.
    pub ready: bool,
    /// Who is asked when this agent cannot answer and has surely changed nothing.
    pub fallback: Option<AgentId>,
    /// Who tells, before the user approves a request, what this agent would do: an agent that changes nothing.
    pub preview: Option<AgentId>,
    /// MIME patterns (`image/*`, `*/*`) of attachments the agent takes. Others reach it as a line of text.
    pub accepts: Vec<String>,
    /// How long one call may take, where that is less than what is left of the turn.
    pub deadline: Option<Duration>,
    pub discover: Option<Discover>,
    /// The routing model and people are told of it.
    pub listed: bool,
    pub history: HistoryRules,
    pub facts: FactRules,
    pub checks: Checks,
}

impl Endpoint {
    /// What tells it from other endpoints, without credentials a query may hold.
    pub fn place(&self) -> String {
        match self {
            Self::Deployment(name) => name.clone(),
            Self::Url(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url
                    .port()
                    .map(|port| format!(":{port}"))
                    .unwrap_or_default();
                format!("{host}{port}{}", url.path().trim_end_matches('/'))
            }
        }
    }
}

impl AgentCard {
    /// What is known of an agent of which no more is said: it may change anything, and takes no files.
    pub fn new(name: &str, protocol: Protocol, endpoint: Endpoint) -> Self {
        Self {
            id: AgentId::new(name),
            protocol,
            endpoints: vec![endpoint],
            model: None,
            key: None,
            assertion: false,
            audience: None,
            description: String::new(),
            capabilities: Vec::new(),
            priority: 1,
            effect: Effect::Irreversible,
            approval: Approval::default(),
            ready: protocol.is_for_people(),
            fallback: None,
            preview: None,
            accepts: Vec::new(),
            deadline: None,
            discover: None,
            listed: true,
            history: HistoryRules::default(),
            facts: FactRules::default(),
            checks: Checks::default(),
        }
    }

    /// Whether it is the agent of this name, and may be asked what another one would do.
    pub fn previews(&self, name: &AgentId) -> bool {
        self.id == *name && self.effect == Effect::None
    }

    /// Whether this and another card say the same of how the agent is called, whatever they say of what it can.
    pub fn is_called_like(&self, other: &Self) -> bool {
        let told = |card: &Self| Self {
            description: String::new(),
            capabilities: Vec::new(),
            ..card.clone()
        };
        told(self) == told(other)
    }

    pub fn accepts(&self, media_type: &str) -> bool {
        fits(&self.accepts, media_type)
    }

    /// Whether a model of this name is what answers here.
    pub fn is_model(&self, model: &str) -> bool {
        let named = |name: &str| name.eq_ignore_ascii_case(model);
        let at = |endpoint: &Endpoint| endpoint.place().split('/').any(named);
        let served = match self.protocol {
            Protocol::Openai => named(self.model.as_deref().unwrap_or(self.id.as_str())),
            Protocol::Dial | Protocol::Conversation | Protocol::A2a => false,
        };
        served || self.endpoints.iter().any(at)
    }
}

/// Whether a media type is one of these patterns: `image/*`, `*/*`.
pub fn fits(patterns: &[String], media_type: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.split_once('/') {
            Some(("*", "*")) => true,
            Some((family, "*")) => media_type
                .split_once('/')
                .is_some_and(|(given, _)| given.eq_ignore_ascii_case(family)),
            _ => pattern.eq_ignore_ascii_case(media_type),
        })
}

/// Every agent there is, in the order of the agents file. Never empty, and the default is one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    agents: Vec<AgentCard>,
    default: usize,
    /// Names this state of the agents in records and logs.
    version: Arc<str>,
}

impl Registry {
    /// Fails with a sentence when the list is empty, a name is used twice or the default is unknown.
    /// Without a default the agent of the best priority is it.
    pub fn new(agents: Vec<AgentCard>, default: Option<&str>) -> Result<Self, String> {
        for (at, card) in agents.iter().enumerate() {
            if agents.iter().take(at).any(|other| other.id == card.id) {
                return Err(format!("agent {} is listed twice", card.id));
            }
            if let Some(fallback) = &card.fallback
                && (*fallback == card.id || !agents.iter().any(|other| other.id == *fallback))
            {
                return Err(format!(
                    "agent {}: its fallback {fallback} is not another agent of the list",
                    card.id
                ));
            }
            if let Some(preview) = &card.preview
                && !agents.iter().any(|other| other.previews(preview))
            {
                return Err(format!(
                    "agent {}: its preview {preview} is not an agent of the list that changes nothing",
                    card.id
                ));
            }
        }
        let default = match default {
            Some(name) => agents
                .iter()
                .position(|card| card.id.as_str() == name)
                .ok_or_else(|| format!("the default agent {name} is not in the list"))?,
            None => agents
                .iter()
                .enumerate()
                .min_by_key(|(_, card)| card.priority)
                .map(|(at, _)| at)
                .ok_or("no agents are listed")?,
        };
        Ok(Self {
            agents,
            default,
            version: Arc::default(),
        })
    }

    #[must_use]
    pub fn versioned(self, version: &str) -> Self {
        Self {
            version: version.into(),
            ..self
        }
    }

    /// The same agents, each as `alter` leaves it.
    #[must_use]
    pub fn altered(mut self, alter: impl FnMut(&mut AgentCard)) -> Self {
        self.agents.iter_mut().for_each(alter);
        self
    }

    /// These agents alone, with the default among them, in the order of the whole.
    #[must_use]
    pub fn only(&self, agents: &[AgentId]) -> Self {
        let default = &self.default_agent().id;
        let kept = (self.agents.iter())
            .filter(|card| card.id == *default || agents.contains(&card.id))
            .cloned();
        let kept: Vec<AgentCard> = kept.collect();
        Self {
            default: (kept.iter().position(|card| card.id == *default)).unwrap_or_default(),
            agents: kept,
            version: Arc::clone(&self.version),
        }
    }

    /// Those that the routing model and people are told of.
    #[must_use]
    pub fn listed(&self) -> Self {
        let listed = self.iter().filter(|card| card.listed);
        let listed: Vec<AgentId> = listed.map(|card| card.id.clone()).collect();
        self.only(&listed)
    }

    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The same agents with another default; fails with a sentence where there is no such agent.
    pub fn with_default(mut self, name: &str) -> Result<Self, String> {
        let found = (self.agents.iter()).position(|card| card.id.as_str() == name);
        self.default = found.ok_or_else(|| {
            let names: Vec<&str> = self.iter().map(|card| card.id.as_str()).collect();
            format!(
                "there is no agent {name}, expected one of {}",
                names.join(", ")
            )
        })?;
        Ok(self)
    }

    pub fn iter(&self) -> impl Iterator<Item = &AgentCard> {
        self.agents.iter()
    }

    pub fn get(&self, id: &str) -> Option<&AgentCard> {
        self.agents.iter().find(|card| card.id.as_str() == id)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "new() has checked that the default is in the list"
    )]
    pub fn default_agent(&self) -> &AgentCard {
        &self.agents[self.default]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str, priority: u8) -> AgentCard {
        AgentCard {
            priority,
            accepts: vec!["image/*".into(), "text/csv".into()],
            ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment(name.into()))
        }
    }

    #[test]
    fn the_default_is_named_or_the_best_priority() {
        let agents = vec![card("B", 2), card("A", 1)];
        let by_priority = Registry::new(agents.clone(), None).unwrap();
        let named = Registry::new(agents.clone(), Some("B")).unwrap();
        assert_eq!(by_priority.default_agent().id.as_str(), "A");
        assert_eq!(named.default_agent().id.as_str(), "B");
        assert!(Registry::new(agents, Some("C")).is_err());
        assert!(Registry::new(Vec::new(), None).is_err());
        assert!(Registry::new(vec![card("A", 1), card("A", 1)], None).is_err());
        for fallback in ["A", "C"] {
            let mut agents = vec![card("A", 1), card("B", 1)];
            agents[0].fallback = Some(AgentId::new(fallback));
            assert!(Registry::new(agents, None).is_err(), "{fallback}");
        }
    }

    #[test]
    fn media_types_match_patterns() {
        let card = card("A", 1);
        assert!(card.accepts("image/png") && card.accepts("text/csv"));
        assert!(!card.accepts("text/plain") && !card.accepts("imagepng"));
    }
}
