//! The user names the agent: `@GPA …`, or the request's configuration does.

use async_trait::async_trait;
use serde::Deserialize;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::agent::Registry;
use crate::domain::ids::AgentId;
use crate::domain::message::{Message, Role};
use crate::domain::plan::{DecisionSource, RoutingDecision};
use crate::domain::usage::Tally;

/// The rung that does as it is told. Only the user's own last message and the request's own field are read for it.
#[derive(Clone, Debug)]
pub struct ExplicitRouter {
    agents: Vec<AgentId>,
}

impl ExplicitRouter {
    pub fn new(registry: &Registry) -> Self {
        Self {
            agents: registry.iter().map(|card| card.id.clone()).collect(),
        }
    }

    /// The agent that a message begins with, and the rest of it. Of several names that fit, the longest.
    fn mentioned<'a>(&self, text: &'a str) -> Option<(&AgentId, &'a str)> {
        let named = text.trim_start().strip_prefix('@')?;
        let fits = |agent: &&AgentId| {
            let name = agent.as_str();
            let same = named
                .get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name));
            let ends = named.get(name.len()..).is_some_and(|rest| {
                !rest.starts_with(|next: char| {
                    next.is_alphanumeric()
                        || matches!(next, '-' | '_' | '.' | '@' | '/' | '\'' | '\u{2019}')
                })
                    // The end of a sentence, and not of a host.
                    || rest.trim_end() == "."
            });
            same && ends
        };
        let agent = (self.agents.iter())
            .filter(fits)
            .max_by_key(|agent| agent.as_str().len())?;
        let rest = named.get(agent.as_str().len()..)?;
        Some((agent, rest.trim_start_matches([',', ':', '.']).trim()))
    }

    /// The agent whose name is all that a text says.
    fn named(&self, text: &str) -> Option<&AgentId> {
        let name = text.trim();
        let mut agents = self.agents.iter();
        agents.find(|agent| agent.as_str().eq_ignore_ascii_case(name))
    }

    /// A message that is no request by itself: it names an agent, or answers the coordinator.
    fn only_says_whom(&self, message: &Message) -> bool {
        let text = message.text.trim();
        let bare = (self.mentioned(text)).is_some_and(|(_, rest)| rest.is_empty());
        let consents = ["approve ", "reject ", "edit "]
            .iter()
            .any(|verb| text.starts_with(verb));
        let says = bare || self.named(text).is_some() || consents || message.form;
        says && message.attachments.is_empty()
    }
}

#[async_trait]
impl Router for ExplicitRouter {
    fn name(&self) -> &'static str {
        "explicit"
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        let decided =
            |agent, why: &str| RoutingDecision::plain(agent, DecisionSource::Explicit, why);
        let Some((last, earlier)) = query.messages.split_last() else {
            return Ok(Opinion::abstained("there is no message"));
        };
        // Who comes through an agent is no person, whatever it says.
        if query.caller.depth > 0 {
            return Ok(Opinion::abstained("an agent names nobody"));
        }
        // Asked which agent is meant, people answer with its name alone.
        let we_asked = (query.last).is_some_and(|last| last.agent.is_none() && last.asks);
        let named = self.named(&last.text).filter(|_| we_asked);
        // A pressed button comes as a form's value where the client sends no words for it.
        let pressed = form(&last.text);
        let pressed = pressed
            .as_deref()
            .and_then(|text| Some(self.mentioned(text)?.0));
        let alone = || pressed.or(named).map(|agent| (agent, ""));
        if let Some((agent, rest)) = self.mentioned(&last.text).or_else(alone) {
            let mut decision = decided(agent, "the user named the agent");
            let bare = rest.is_empty() && last.attachments.is_empty();
            // A name alone is about what was asked before.
            let before = (earlier.iter())
                .rfind(|message| message.role == Role::User && !self.only_says_whom(message));
            decision.request = Some(match before.filter(|_| bare) {
                Some(before) => Message {
                    text: (self.mentioned(&before.text))
                        .map_or(before.text.as_str(), |(_, rest)| rest)
                        .to_owned(),
                    ..before.clone()
                },
                None if bare => last.clone(),
                None => Message {
                    text: rest.to_owned(),
                    ..last.clone()
                },
            });
            return Ok(Opinion::Decided(decision));
        }
        Ok(match query.choice {
            Some(agent) => Opinion::Decided(decided(
                agent,
                "the request's configuration names the agent",
            )),
            None => Opinion::abstained("nobody is named"),
        })
    }
}

/// What a button of the question "which agent?" says.
fn form(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        agent: String,
    }
    let form = text
        .trim()
        .starts_with('{')
        .then(|| serde_json::from_str::<Form>(text).ok());
    form.flatten().map(|form| form.agent)
}
