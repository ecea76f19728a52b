//! An agent that asked something gets the reply.

use async_trait::async_trait;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::agent::Registry;
use crate::domain::conversation::asks;
use crate::domain::ids::AgentId;
use crate::domain::plan::{DecisionSource, RoutingDecision};
use crate::domain::usage::Tally;

/// The rung for short replies.
#[derive(Clone, Debug)]
pub struct StickyRouter {
    agents: Vec<AgentId>,
    /// A longer message is no reply but a request of its own.
    words: usize,
}

impl StickyRouter {
    pub fn new(registry: &Registry, words: u32) -> Self {
        Self {
            agents: registry.iter().map(|card| card.id.clone()).collect(),
            words: words as usize,
        }
    }
}

#[async_trait]
impl Router for StickyRouter {
    fn name(&self) -> &'static str {
        "sticky"
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        let Some(last) = query.last else {
            return Ok(Opinion::abstained("no agent has answered before"));
        };
        let asked = last.agent.as_ref().filter(|_| last.asks);
        let Some(agent) = asked.filter(|agent| self.agents.contains(agent)) else {
            return Ok(Opinion::abstained("no agent has asked anything"));
        };
        let text = query.text();
        // A form's value is a reply whatever its length: nobody types one.
        let form = query.messages.last().is_some_and(|last| last.form);
        let files = query
            .messages
            .last()
            .is_some_and(|last| !last.attachments.is_empty());
        if files {
            return Ok(Opinion::abstained("a file is no short reply"));
        }
        if !form && text.split_whitespace().nth(self.words).is_some() {
            return Ok(Opinion::abstained("the message is too long for a reply"));
        }
        if asks(text) {
            return Ok(Opinion::abstained("a question is no reply to a question"));
        }
        Ok(Opinion::Decided(RoutingDecision::plain(
            agent,
            DecisionSource::Sticky,
            "the agent asked, and this is the reply",
        )))
    }
}
