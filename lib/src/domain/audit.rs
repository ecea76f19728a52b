//! What the audit log says: one entry for each turn, for each look at or end of somebody's data, and for each change of the registry or of an experiment.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conversation::{AgentCall, Outcome};
use super::ids::{Millis, TurnId};

/// One entry. It names people by their pseudonyms alone, and nothing that they said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    Turn(Box<TurnEntry>),
    /// A person's data was handed out.
    Export(PersonEntry),
    /// A person's data was erased.
    Erasure(PersonEntry),
    /// A person's preferences were changed.
    Preferences {
        at: Millis,
        by: By,
        /// The person's pseudonym.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<TurnId>,
        /// The names of those that are different now.
        changed: Vec<Cow<'static, str>>,
    },
    /// The log itself was read or checked.
    Read {
        at: Millis,
        by: By,
        /// What was looked at, such as `2026-11-20`.
        what: String,
    },
    /// An experiment was begun anew: what was counted of it was forgotten.
    Experiment {
        at: Millis,
        by: By,
        name: String,
    },
    /// The registry was changed.
    Registry {
        at: Millis,
        by: By,
        /// The agent; none for the document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// What was done, in a word: `put`, `removed`, or `found` for what the agent said of itself.
        what: Cow<'static, str>,
        /// The version that it made.
        version: u64,
        /// A keyed hash of what was written.
        written: String,
    },
}

/// A turn: the decision, every call to an agent, and the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnEntry {
    pub turn: TurnId,
    pub at: Millis,
    /// The owner's pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<TurnId>,
    /// The word for who decided; `none` when the turn ended before.
    pub source: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Every agent that was asked, in order.
    pub calls: Vec<AgentCall>,
    pub outcome: Outcome,
    /// It only asked what would happen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub what_if: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// The hook that refused the turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// Keyed hashes: they tell nothing, and yet show whether a text that somebody has is the one that was meant.
    /// Of what was asked; where it was approved, of what was approved.
    pub request: String,
    pub shown: String,
    pub version: Cow<'static, str>,
    /// The registry's, by which it was decided.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub registry: Cow<'static, str>,
    /// Its arms in experiments, such as `next/new`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<String>,
    pub duration_ms: u64,
}

/// What was done with a person's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonEntry {
    pub at: Millis,
    pub by: By,
    /// The person's pseudonym. After an erasure nobody can tell whose it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<TurnId>,
    /// How many things of each kind.
    pub counts: BTreeMap<Cow<'static, str>, u64>,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The person whose data it is.
    Themselves,
    /// Somebody with a role, by pseudonym.
    Person(TurnId),
    /// Whoever may use the operator's commands.
    Command,
}
