//! What is remembered of a conversation: each agent's own turns, and the sessions agents keep.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::Checked;
use super::fact::Fact;
use super::hook::HookCall;
use super::ids::{AgentId, ConversationId, Timestamp, TurnId};
use super::message::{Attachment, OpaqueState};
use super::plan::Rung;
use super::usage::StepUsage;

/// What one agent was asked in one turn, and what it said: its own words, not the synthesised ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub agent: AgentId,
    /// The user's words.
    pub request: String,
    /// What the router added to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// The user's attachments by address; inline data is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_attachments: Vec<Attachment>,
    pub answer: String,
    /// The agent's attachments by address; inline data is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OpaqueState>,
}

/// One exchange stands alone, as it did in version 1.0; several are a list.
mod one_or_more {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    use super::Exchange;

    pub fn serialize<S: Serializer>(
        exchanges: &[Exchange],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match exchanges {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Exchange>, D::Error> {
        // Looked at as text: an agent's state is kept byte for byte, which no buffering enum can.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let read = match raw.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(raw.get()),
            Some(b'n') => Ok(Vec::new()),
            _ => serde_json::from_str(raw.get()).map(|one| vec![one]),
        };
        read.map_err(D::Error::custom)
    }
}

/// The ids under which agents keep this conversation on their side.
pub type Sessions = BTreeMap<AgentId, String>;

/// How a turn ended, as far as the next one's routing needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Who answered; `None` when the coordinator itself did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// It ended with a question or a form, which the next message may answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
}

impl Last {
    /// An agent's answer, of which only the text is known.
    pub fn of_text(agent: &AgentId, text: &str) -> Self {
        Self {
            agent: Some(agent.clone()),
            asks: asks(text),
        }
    }

    /// Of several agents, the one that asked; else the last one.
    pub fn of_exchanges(exchanges: &[Exchange]) -> Option<Self> {
        let asking = exchanges.iter().rfind(|exchange| asks(&exchange.answer));
        let exchange = asking.or(exchanges.last())?;
        Some(Self::of_text(&exchange.agent, &exchange.answer))
    }
}

/// Whether a text ends with a question. Marks of emphasis and closing brackets may follow it.
pub fn asks(text: &str) -> bool {
    let end = text.trim_end_matches(|letter: char| {
        letter.is_whitespace()
            || matches!(
                letter,
                '*' | '_' | ')' | ']' | '"' | '\'' | '`' | '\u{bb}' | '\u{201d}'
            )
    });
    // Also those of Greek, Arabic, and full width.
    end.ends_with(['?', '\u{37e}', '\u{61f}', '\u{ff1f}'])
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    /// The agent answered, the synthesis did not: the agent's own text was shown.
    AnsweredRaw,
    Failed,
    /// The user was asked which agent is meant. Nothing was done.
    Clarified,
    /// The user was asked to approve what an agent would do. Nothing was done.
    Proposed,
    /// The user said no to what an agent would do. Nothing was done.
    Rejected,
    /// A hook of the administrator refused it.
    Refused,
    /// The client left before the end.
    Left,
}

/// One call to an agent, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCall {
    pub agent: AgentId,
    /// One word: `answered`, or what went wrong.
    pub outcome: Cow<'static, str>,
    pub duration_ms: u64,
    /// What the checks of its answer came to, where there is anything to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

impl AgentCall {
    /// Its answer failed a check.
    pub fn is_faulty(&self) -> bool {
        (self.checked.as_ref()).is_some_and(|checked| !checked.failed.is_empty())
    }
}

/// The one record of a turn; everything else is derived from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    pub id: TurnId,
    pub at: Timestamp,
    /// The turn that it goes on from, which names all that was said before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TurnId>,
    /// Digest of what the user said; empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked: String,
    /// The agents' sessions that were reached, in order: more than one where the first was lost, or is told otherwise now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sessions: BTreeMap<AgentId, Vec<String>>,
    pub outcome: Outcome,
    /// The word for who decided, see [`super::plan::DecisionSource::as_str`]; `none` when the turn ended before.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    pub rationale: String,
    /// What each rung of the ladder said, in the order they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<Rung>,
    /// Every agent that was asked, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<AgentCall>,
    /// What hooks said, where that was more than to go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookCall>,
    /// One for each agent whose answer was completed.
    #[serde(
        rename = "exchange",
        default,
        with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exchanges: Vec<Exchange>,
    /// Digest of the text the user was shown: finds the turn again when the client lost its state.
    pub shown: String,
    /// `None` in records of version 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// What is known for other agents after the turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// What each step used, and what that cost where a price is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<StepUsage>,
    pub duration_ms: u64,
    /// The version of the registry that it was decided with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registry: String,
    /// Its arms in experiments, such as `next/new`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<String>,
}

/// A session, and the turn in which it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    pub id: String,
    pub turn: TurnId,
}

/// The server's half of the memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    pub sessions: BTreeMap<AgentId, StoredSession>,
    /// Oldest first.
    pub turns: Vec<TurnRecord>,
}

/// The client's half: what is sealed into the state of one assistant message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub conversation: ConversationId,
    pub turn: TurnId,
    pub sessions: Sessions,
    /// None when they are too large for the client's state, or when no agent completed an answer.
    #[serde(
        rename = "exchange",
        default,
        with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exchanges: Vec<Exchange>,
    /// Absent in states of version 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
    /// The exchanges, or their states, are only in the store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
}

/// What the client's message state turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Recalled {
    /// Ours, with a good signature, of this owner.
    Sealed(Envelope),
    /// The reference coordinator's own keys.
    Legacy {
        /// Set on turns that the GPA answered; holds its state where it had one.
        gpa: Option<Option<OpaqueState>>,
        ums_session: Option<String>,
    },
    /// None, forged, edited, of another owner, or of another application.
    Nothing,
}

/// Both halves together: what this turn may build on.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    pub conversation: ConversationId,
    /// The newest of the turns that this one goes on from.
    pub after: Option<TurnId>,
    pub sessions: Sessions,
    /// The turns that the request's messages stand for, oldest first.
    pub exchanges: Vec<Exchange>,
    /// The turn before this one, where it is known.
    pub last: Option<Last>,
    /// What agents found out, oldest first.
    pub facts: Vec<Fact>,
}

impl Envelope {
    /// How its turn ended.
    pub fn last(&self) -> Option<Last> {
        self.last
            .clone()
            .or_else(|| Last::of_exchanges(&self.exchanges))
    }
}

impl TurnRecord {
    /// Of a version that knew of no branches.
    pub fn is_old(&self) -> bool {
        self.asked.is_empty()
    }

    /// The sessions that it left to whatever goes on from it.
    pub fn left(&self) -> Sessions {
        let last = |(agent, reached): (&AgentId, &Vec<String>)| {
            Some((agent.clone(), reached.last()?.clone()))
        };
        self.sessions.iter().filter_map(last).collect()
    }

    /// Whether an agent was asked in this session. An old record does not say in which, so it may have been any.
    pub fn reached(&self, agent: &AgentId, session: &str) -> bool {
        let of_agent = |exchange: &Exchange| exchange.agent == *agent;
        match self.sessions.get(agent) {
            Some(reached) => reached.iter().any(|one| one == session),
            None => self.is_old() && self.exchanges.iter().any(of_agent),
        }
    }

    /// How the turn ended.
    pub fn last(&self) -> Option<Last> {
        self.last
            .clone()
            .or_else(|| Last::of_exchanges(&self.exchanges))
    }
}

impl Recalled {
    /// The turn that it names.
    pub fn turn(&self) -> Option<TurnId> {
        match self {
            Self::Sealed(envelope) => Some(envelope.turn),
            Self::Legacy { .. } | Self::Nothing => None,
        }
    }

    /// Nothing, if it was made before the person was erased.
    #[must_use]
    pub fn unless_erased(self, erased: TurnId) -> Self {
        match self {
            Self::Sealed(envelope) if envelope.turn <= erased => Self::Nothing,
            kept => kept,
        }
    }
}
