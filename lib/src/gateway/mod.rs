//! Talking to an agent: a gateway is a function from a task to a stream of events.

mod a2a;
pub mod assertion;
mod conversation;
mod dial;
mod guarded;
mod openai;
mod reading;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::a2a::event::State;
use crate::a2a::{CARD, OLD_CARD};
use crate::dial::delta::Malformed;
use crate::domain::agent::{AgentCard, Effect, Endpoint, Protocol, Registry};
use crate::domain::event::AgentEvent;
use crate::domain::ids::AgentId;
use crate::domain::ids::Secret;
use crate::domain::turn::AgentTask;
use crate::guard::{Guard, Resting};
use crate::resilience::breaker::Outcome;
use crate::resilience::retry::Repeat;
use crate::upstream::{self, Call, Client, Limits};
use assertion::Signer;
use guarded::{Guarded, Spot};

/// An agent's answer as it comes. The last event is [`AgentEvent::Finished`]; a stream that ends without it has failed.
pub type EventStream = BoxStream<'static, Result<AgentEvent, Error>>;

/// One agent behind its protocol. It draws nothing, stores nothing, decides nothing.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// Asks the agent. Nothing is sent before the stream is polled; dropping the stream cancels the call.
    fn call(&self, task: AgentTask) -> EventStream;

    /// Deletes what the agent keeps of a conversation; done, too, if it keeps nothing of it, or of any.
    async fn forget(&self, session: &str, within: Duration) -> Result<(), Error> {
        let _ = (session, within);
        Ok(())
    }

    /// Lets the agent stop what it still does under a session, since nobody waits for it; done, too, if dropping the call
    /// has stopped it already.
    async fn abandon(&self, session: &str, within: Duration) -> Result<(), Error> {
        let _ = (session, within);
        Ok(())
    }

    /// Whether it is left alone at the moment, since it failed too often.
    fn is_resting(&self) -> bool {
        false
    }

    /// Whether there was nothing at its address when it was called last: it may have become another one.
    fn is_gone(&self) -> bool {
        false
    }

    /// Whether the agent can be reached; any answer but a server error will do.
    async fn check(&self, within: Duration) -> Result<(), Error>;
}

/// Why an agent gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the call failed")]
    Call(#[source] upstream::Error),
    /// What was asked never reached the agent, so nothing of it was done.
    #[error("the agent could not be asked")]
    Unasked(#[source] upstream::Error),
    #[error("the agent's answer cannot be read")]
    Malformed(#[from] Malformed),
    #[error("the agent's answer was withheld by a content filter")]
    Filtered,
    #[error("the agent's answer ended without its end mark")]
    Unfinished,
    #[error("there is no such agent")]
    Unknown,
    #[error("the agent's answer is empty")]
    Empty,
    /// Its breaker is open.
    #[error("the agent is left alone")]
    Resting(#[source] Resting),
    #[error("the agent named its conversation with something that cannot be an id")]
    BadSession,
    /// The agent itself gave up what it was asked.
    #[error("the agent's task is {}", state.as_str())]
    Ended { state: State, said: Option<String> },
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        if error.is_filtered() {
            Self::Filtered
        } else if matches!(
            error,
            upstream::Error::Connect(_) | upstream::Error::Refused(_)
        ) {
            Self::Unasked(error)
        } else {
            Self::Call(error)
        }
    }
}

impl Error {
    /// True when the agent has surely done nothing.
    pub fn is_unasked(&self) -> bool {
        matches!(
            self,
            Self::Unasked(_) | Self::BadSession | Self::Unknown | Self::Resting(_)
        )
    }

    /// What this says about the agent's health; `out_of_time` is what it says that the turn ended during the call.
    fn outcome(&self, out_of_time: Outcome) -> Outcome {
        match self {
            Self::Call(error) | Self::Unasked(error) => error.outcome(out_of_time),
            Self::Filtered | Self::Unknown | Self::Resting(_) => Outcome::Ignored,
            Self::Ended { state, .. } => match state {
                State::AuthRequired => Outcome::Denied,
                State::Failed => Outcome::Failure { after: None },
                _ => Outcome::Ignored,
            },
            Self::Malformed(_) | Self::Unfinished | Self::Empty | Self::BadSession => {
                Outcome::Failure { after: None }
            }
        }
    }

    /// True when another endpoint may be asked instead: the agent was not, or it only reads.
    fn may_go_elsewhere(&self, effect: Effect) -> bool {
        match self {
            Self::Unasked(error) => error.may_go_elsewhere(),
            Self::Call(error) => effect == Effect::None && error.may_go_elsewhere(),
            Self::BadSession | Self::Resting(_) => true,
            Self::Malformed(_) | Self::Unfinished => effect == Effect::None,
            Self::Filtered | Self::Unknown | Self::Empty | Self::Ended { .. } => false,
        }
    }

    /// True when its breaker is open.
    pub fn is_resting(&self) -> bool {
        matches!(self, Self::Resting(_))
    }

    /// What happened, in one word, for the record.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Resting(_) => "resting",
            Self::Filtered => "filtered",
            _ if self.is_timeout() => "timeout",
            Self::Unasked(_) | Self::BadSession | Self::Unknown => "unasked",
            Self::Call(_)
            | Self::Malformed(_)
            | Self::Unfinished
            | Self::Empty
            | Self::Ended { .. } => "failed",
        }
    }

    /// True when the agent's model cannot take a conversation of this length.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Call(error) | Self::Unasked(error) if error.is_too_long())
    }

    /// True when the agent withheld its answer.
    pub fn is_filtered(&self) -> bool {
        matches!(self, Self::Filtered)
    }

    /// True when the agent answered, with nothing in it.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// True when there is nothing at the agent's address.
    fn is_nothing_there(&self) -> bool {
        matches!(
            self,
            Self::Call(upstream::Error::Status { status: 404, .. })
        )
    }

    /// True when the agent was silent rather than wrong.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Call(error) | Self::Unasked(error) if error.is_timeout())
    }

    /// What the agent itself said to people.
    pub fn display_message(&self) -> Option<String> {
        match self {
            Self::Call(error) | Self::Unasked(error) => error.display_message(),
            Self::Ended { said, .. } => said.clone(),
            _ => None,
        }
    }
}

/// Where the assertion is for an agent that has a key as well.
const ASSERTION: &str = "x-mas-assertion";

/// How agents are reached.
#[derive(Clone, Debug)]
pub struct Reach {
    pub client: Client,
    /// Origin of DIAL Core, for endpoints that are deployments.
    pub core: Option<String>,
    pub first_byte: Duration,
    pub idle: Duration,
    pub guard: Arc<Guard>,
    /// How long a spare endpoint is kept to.
    pub dwell: Duration,
    /// Says who calls, to agents that want to know.
    pub signer: Option<Arc<Signer>>,
}

impl Reach {
    fn limits(&self, until: Instant) -> Limits {
        Limits {
            first_byte: self.first_byte,
            idle: self.idle,
            until,
        }
    }
}

/// What the coordinator shows an agent outside DIAL Core, so that it lets it in.
#[derive(Clone, Debug)]
struct Door {
    key: Option<Secret>,
    /// The header that the key is in, and what stands before it.
    place: (&'static str, &'static str),
    /// Who signs, and for whom.
    assertion: Option<(Arc<Signer>, Arc<str>)>,
}

/// Where an agent's own card is, now and in older versions of A2A.
pub const CARDS: [&str; 2] = [CARD, OLD_CARD];

/// A call to an agent outside DIAL Core that no task is behind, with its key and with who calls, as its card wants it.
pub fn introduced(call: Call, card: &AgentCard, url: &Url, signer: Option<&Arc<Signer>>) -> Call {
    let door = Door::signed(card, url, signer);
    let door = match card.protocol {
        Protocol::Dial => door.for_dial(),
        Protocol::Conversation | Protocol::Openai | Protocol::A2a => door,
    };
    door.open(call, None)
}

impl Door {
    fn of(card: &AgentCard, url: &Url, reach: &Reach) -> Self {
        Self::signed(card, url, reach.signer.as_ref())
    }

    fn signed(card: &AgentCard, url: &Url, signer: Option<&Arc<Signer>>) -> Self {
        let signer = signer.filter(|_| card.assertion);
        let place = || url.origin().ascii_serialization();
        Self {
            key: card.key.clone(),
            place: ("authorization", "Bearer "),
            assertion: signer.map(|signer| {
                let audience = card.audience.clone().unwrap_or_else(place);
                (Arc::clone(signer), audience.into())
            }),
        }
    }

    /// DIAL applications take a key in a header of its own.
    fn of_dial(card: &AgentCard, url: &Url, reach: &Reach) -> Self {
        Self::of(card, url, reach).for_dial()
    }

    fn for_dial(self) -> Self {
        Self {
            place: ("api-key", ""),
            ..self
        }
    }

    /// Without a key of its own, the agent is shown the assertion in the key's place.
    fn open(&self, call: Call, task: Option<&AgentTask>) -> Call {
        let (header, prefix) = self.place;
        let call = match &self.key {
            Some(key) => call.secret(header, prefix, key),
            None => call,
        };
        let signed = self.assertion.as_ref();
        match signed.and_then(|(signer, audience)| signer.sign(audience, task)) {
            Some(token) if self.key.is_none() => call.secret("authorization", "Bearer ", &token),
            Some(token) => call.secret(ASSERTION, "", &token),
            None => call,
        }
    }
}

/// What of a call may be repeated.
fn repeat(card: &AgentCard) -> Repeat {
    match card.effect {
        // With a spare endpoint, that is the second attempt.
        Effect::None if card.endpoints.len() > 1 => Repeat::Never,
        Effect::None => Repeat::Freely,
        Effect::Reversible | Effect::Irreversible => Repeat::Unsent,
    }
}

/// Every agent's gateway.
#[derive(Clone)]
pub struct Gateways {
    by_agent: HashMap<AgentId, Connected>,
    signer: Option<Arc<Signer>>,
}

/// A gateway, and the card that it was made from.
#[derive(Clone)]
struct Connected {
    card: AgentCard,
    gateway: Arc<dyn Gateway>,
}

impl Gateways {
    /// Fails with a sentence when an agent cannot be reached the way its card says. The gateway of an agent whose card is as
    /// it was is the `old` one, with what it knows: the agent's own card, and which of its endpoints answers.
    pub fn connect(registry: &Registry, reach: &Reach, old: Option<&Self>) -> Result<Self, String> {
        let connected = registry.iter().map(|card| {
            let known = old.and_then(|old| old.by_agent.get(&card.id));
            let connected = match known.filter(|known| known.card.is_called_like(card)) {
                Some(known) => known.clone(),
                None => Connected {
                    card: card.clone(),
                    gateway: connect(card, reach)?,
                },
            };
            Ok((card.id.clone(), connected))
        });
        Ok(Self {
            by_agent: connected.collect::<Result<_, String>>()?,
            signer: reach.signer.clone(),
        })
    }

    /// The keys by which agents verify who calls; none where nobody signs.
    pub fn published_keys(&self) -> Value {
        let keys = self.signer.as_ref().map(|signer| signer.published());
        keys.unwrap_or_else(|| json!({"keys": []}))
    }

    /// All agents that there are.
    pub fn names(&self) -> Vec<AgentId> {
        self.by_agent.keys().cloned().collect()
    }

    pub fn get(&self, agent: &AgentId) -> Option<&Arc<dyn Gateway>> {
        let connected = self.by_agent.get(agent)?;
        Some(&connected.gateway)
    }
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_agent.keys()).finish()
    }
}

fn connect(card: &AgentCard, reach: &Reach) -> Result<Arc<dyn Gateway>, String> {
    let endpoints = card.endpoints.iter().map(|endpoint| {
        Ok(Spot {
            peer: format!("agent:{}@{}", card.id, endpoint.place()).into(),
            own_key: matches!(endpoint, Endpoint::Deployment(_)),
            gateway: connect_to(card, endpoint, reach)?,
        })
    });
    let endpoints = endpoints.collect::<Result<_, String>>()?;
    Ok(Arc::new(Guarded::new(endpoints, card, reach)))
}

fn connect_to(
    card: &AgentCard,
    endpoint: &Endpoint,
    reach: &Reach,
) -> Result<Arc<dyn Gateway>, String> {
    if card.assertion && reach.signer.is_none() {
        return Err(format!(
            "agent {} wants an assertion of who calls, so MAS_ASSERTION_KEYS must be set",
            card.id
        ));
    }
    match (card.protocol, endpoint) {
        (_, Endpoint::Deployment(name)) if card.assertion => Err(format!(
            "agent {} is deployment {name} of DIAL Core, which says itself who calls: there is no assertion to it",
            card.id
        )),
        (Protocol::Dial, Endpoint::Deployment(name)) if reach.core.is_none() => Err(format!(
            "agent {} is deployment {name} of DIAL Core, so DIAL_URL must be set; \
             a full URL as its endpoint calls it directly",
            card.id
        )),
        (Protocol::Dial, _) => Ok(Arc::new(dial::DialGateway::new(
            card,
            endpoint,
            reach.clone(),
        ))),
        (Protocol::Conversation, Endpoint::Url(base)) => Ok(Arc::new(
            conversation::ConversationGateway::new(card, base, reach.clone()),
        )),
        (Protocol::Openai, Endpoint::Url(url)) => {
            let Some(model) = &card.model else {
                return Err(format!(
                    "agent {} is a plain OpenAI-compatible server, so it needs a model: the name that the server knows",
                    card.id
                ));
            };
            let gateway = openai::OpenAiGateway::new(card, model, url, reach.clone());
            Ok(Arc::new(gateway))
        }
        (Protocol::A2a, Endpoint::Url(base)) => {
            Ok(Arc::new(a2a::A2aGateway::new(card, base, reach.clone())))
        }
        (_, Endpoint::Deployment(name)) => Err(format!(
            "agent {} is no DIAL application, so its endpoint must be a full URL, not {name}",
            card.id
        )),
    }
}
