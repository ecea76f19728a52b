//! Observers of a turn: the port, the list, and how they are asked in order.

mod event;
mod refuse;
mod webhook;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::hook::{Fail, HookCall, HookCard, HookKind, Pattern, Point, Said};
use crate::domain::ids::AgentId;
use crate::domain::message::Role;
use crate::domain::turn::ChatTurn;
use crate::guard::{Guard, Resting};
use crate::telemetry;
use crate::upstream::{self, Client};
pub use event::Event;
use refuse::Refuse;
use webhook::Webhook;

/// What a hook says of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The turn ends, with this sentence for the user.
    pub refuse: Option<String>,
    /// This agent answers.
    pub agent: Option<AgentId>,
    /// For the record.
    pub note: Option<String>,
}

/// Why a hook did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the hook was not asked")]
    Resting(#[source] Resting),
    #[error("the hook gave no answer")]
    Call(#[source] upstream::Error),
    #[error("the hook gave no answer in its time")]
    Late,
    #[error("the hook's answer {0}")]
    Answer(&'static str),
}

/// Whoever looks on.
#[async_trait]
pub trait Hook: Send + Sync {
    /// What it says of this event, by then.
    async fn ask(&self, event: &Event<'_>, by: Instant) -> Result<Answer, Error>;
}

/// What all hooks of one point come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The turn goes on, with this agent where one was chosen.
    On(Option<AgentId>),
    /// The hook that refused, and its sentence; `None` where it could not say one.
    Refused(Arc<str>, Option<String>),
}

/// Every hook of the configuration, in its order.
#[derive(Default)]
pub struct Hooks {
    listed: Vec<Listed>,
    /// What is taken out of requests: the hook's name, label and pattern.
    redacted: Vec<(Arc<str>, String, Pattern)>,
}

/// One hook, and what is expected of it.
struct Listed {
    name: Arc<str>,
    at: Vec<Point>,
    within: Duration,
    fail: Fail,
    agents: Vec<AgentId>,
    hook: Box<dyn Hook>,
}

/// What looks at a text in this process needs no time of its own.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Hooks {
    pub fn connect(cards: &[HookCard], client: &Client, guard: &Arc<Guard>) -> Self {
        let mut hooks = Self::default();
        for card in cards {
            let (within, fail, agents, hook): (_, _, _, Box<dyn Hook>) = match &card.kind {
                HookKind::Webhook(webhook) => (
                    webhook.timeout,
                    webhook.fail,
                    webhook.agents.clone(),
                    Box::new(Webhook::new(&card.name, webhook, client, guard)),
                ),
                HookKind::Refuse { patterns, say } => (
                    AT_ONCE,
                    Fail::Closed,
                    Vec::new(),
                    Box::new(Refuse::new(patterns, say)),
                ),
                HookKind::Redact(patterns) => {
                    let labelled = patterns.iter().map(|(label, pattern)| {
                        (
                            Arc::clone(&card.name),
                            format!("[{label}]"),
                            pattern.clone(),
                        )
                    });
                    hooks.redacted.extend(labelled);
                    continue;
                }
            };
            hooks.listed.push(Listed {
                name: Arc::clone(&card.name),
                at: card.at.clone(),
                within,
                fail,
                agents,
                hook,
            });
        }
        hooks
    }

    /// Whether anybody looks on at this point.
    pub fn look_on(&self, at: Point) -> bool {
        self.listed.iter().any(|listed| listed.at.contains(&at))
    }

    /// The turn without what must not leave this process: every message but the assistant's, which are found again by
    /// what they say.
    pub fn redacted<'a>(&self, turn: &'a ChatTurn, calls: &mut Vec<HookCall>) -> Cow<'a, ChatTurn> {
        if self.redacted.is_empty() {
            return Cow::Borrowed(turn);
        }
        let begun = Instant::now();
        let mut messages = turn.messages.to_vec();
        let mut by: Vec<&Arc<str>> = Vec::new();
        for message in &mut messages {
            for (name, label, pattern) in &self.redacted {
                if message.role != Role::Assistant
                    && let Some(text) = pattern.replaced(&message.text, label)
                {
                    message.text = text;
                    by.push(name);
                }
            }
        }
        if by.is_empty() {
            return Cow::Borrowed(turn);
        }
        by.sort_unstable();
        by.dedup();
        calls.extend(by.into_iter().map(|name| HookCall {
            hook: Arc::clone(name),
            at: Point::BeforeRoute,
            said: Said::Redacted,
            note: None,
            micros: micros(begun),
        }));
        Cow::Owned(ChatTurn {
            messages: messages.into(),
            ..turn.clone()
        })
    }

    /// Asks everybody who looks on at the event's point, one after another, until one refuses or the time is over.
    pub async fn ask(
        &self,
        event: &Event<'_>,
        until: Instant,
        calls: &mut Vec<HookCall>,
    ) -> Ruling {
        let mut chosen = None;
        for listed in self.listed.iter().filter(|one| one.at.contains(&event.at)) {
            let begun = Instant::now();
            let by = until.min(begun + listed.within);
            let span = telemetry::hook(&listed.name, event.at);
            let asked = listed.hook.ask(event, by);
            let asked = telemetry::within(span, asked).await;
            let mut call = HookCall {
                hook: Arc::clone(&listed.name),
                at: event.at,
                said: Said::On,
                note: None,
                micros: micros(begun),
            };
            let mut sentence = None;
            match asked.and_then(|answer| listed.allowed(answer, event.at)) {
                Ok(answer) => {
                    call.note = answer.note;
                    if answer.refuse.is_some() {
                        call.said = Said::Refused;
                        sentence = answer.refuse;
                    } else if let Some(agent) = answer.agent
                        && chosen.is_none()
                    {
                        call.said = Said::Chose;
                        chosen = Some(agent);
                    }
                }
                Err(error) => {
                    call.said = listed.failed(&error, event.at);
                }
            }
            let said = call.said;
            calls.push(call);
            if said.refuses() {
                return Ruling::Refused(Arc::clone(&listed.name), sentence);
            }
        }
        Ruling::On(chosen)
    }
}

impl Listed {
    /// An answer, if this hook may give it here.
    fn allowed(&self, answer: Answer, at: Point) -> Result<Answer, Error> {
        let wrong = |what| Err(Error::Answer(what));
        match &answer {
            Answer {
                refuse: Some(_),
                agent: Some(_),
                ..
            } => wrong("both refuses and chooses an agent"),
            Answer {
                refuse: Some(_), ..
            } if at == Point::AfterTurn => wrong("refuses a turn that is over"),
            Answer { agent: Some(_), .. } if at != Point::BeforeRoute => {
                wrong("chooses an agent when that is decided")
            }
            Answer {
                agent: Some(agent), ..
            } if !self.agents.contains(agent) => wrong("chooses an agent that it may not choose"),
            _ => Ok(answer),
        }
    }

    /// What a failure comes to.
    fn failed(&self, error: &Error, at: Point) -> Said {
        let said = match self.fail {
            Fail::Closed if at != Point::AfterTurn => Said::Closed,
            _ => Said::Failed,
        };
        tracing::warn!(
            hook.name = &*self.name,
            hook.point = at.as_str(),
            hook.said = said.as_str(),
            error = error as &dyn std::error::Error,
            "a hook failed"
        );
        said
    }
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.listed.iter().map(|listed| &listed.name))
            .finish()
    }
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
