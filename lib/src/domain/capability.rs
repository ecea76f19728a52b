//! What an agent is good at, and what it is told and tells of a conversation.

use serde::{Deserialize, Serialize};

use super::agent::Effect;

/// One thing that an agent can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    pub name: String,
    /// A sentence for people and for the routing model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Requests that this is for, in people's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// What it may change, where that is not what the agent as a whole may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

impl Capability {
    /// One of which only the name is known.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// How much of its own earlier turns an agent is told; `None` is as much as everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryRules {
    /// So many of the newest turns.
    pub turns: Option<usize>,
    /// So many bytes, states included, where that is less than the cap of all agents.
    pub bytes: Option<usize>,
}

/// Which facts of a conversation an agent takes, and whether its answers give any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactRules {
    /// Kinds of facts that may be told to it. None are, unless they are named.
    pub takes: Vec<String>,
    /// Facts may be taken from its answers.
    pub gives: bool,
}

impl Default for FactRules {
    fn default() -> Self {
        Self {
            takes: Vec::new(),
            gives: true,
        }
    }
}
