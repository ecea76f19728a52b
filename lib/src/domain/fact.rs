//! What one agent found out and another may be told: a fact, and where it is from.

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, Timestamp};

/// One fact of a conversation, word for word as it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// One of the kinds that agents take, such as `place`.
    pub kind: String,
    /// What it is about, in a few words: "the city of the weather report".
    pub entity: String,
    pub value: String,
    /// Whose answer it is from, or the request to whom.
    pub source: AgentId,
    pub sensitivity: Sensitivity,
    /// Afterwards it is told to nobody.
    pub until: Timestamp,
}

/// Whom a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    Public,
    /// About a person: kept for a shorter time.
    Personal,
}

/// How facts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactTimes {
    pub keep: std::time::Duration,
    pub personal: std::time::Duration,
    /// How long looking for them may hold the end of an answer back.
    pub within: std::time::Duration,
}

impl Default for FactTimes {
    fn default() -> Self {
        Self {
            keep: std::time::Duration::from_hours(24),
            personal: std::time::Duration::from_hours(1),
            within: std::time::Duration::from_secs(3),
        }
    }
}

impl Fact {
    /// As an agent is told it, and as the user sees that it was.
    pub fn told(&self) -> String {
        let Self {
            kind,
            entity,
            value,
            ..
        } = self;
        if entity.is_empty() {
            format!("{kind}: {value}")
        } else {
            format!("{kind} ({entity}): {value}")
        }
    }
}
