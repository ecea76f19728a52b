//! Reading a chat-completion stream as agent events, to its complete end or to an error.

use std::collections::VecDeque;

use super::Error;
use crate::dial::client::{self, Events};
use crate::dial::delta::Chunk;
use crate::domain::event::AgentEvent;

/// A stream being read.
#[derive(Debug)]
pub struct Reading {
    events: Events,
    /// Names the usage of an agent that does not split it by model.
    model: String,
    queue: VecDeque<AgentEvent>,
    filtered: bool,
    ended: bool,
}

impl Reading {
    pub fn new(events: Events, model: &str) -> Self {
        Self {
            events,
            model: model.to_owned(),
            queue: VecDeque::new(),
            filtered: false,
            ended: false,
        }
    }

    /// The next event; `None` after [`AgentEvent::Finished`]. A finish reason proves nothing: an error may follow it.
    pub async fn next(&mut self) -> Result<Option<AgentEvent>, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(event) = self.events.next().await? else {
                if self.filtered {
                    return Err(Error::Filtered);
                }
                self.ended = true;
                return Ok(Some(AgentEvent::Finished));
            };
            let chunk = Chunk::read(&event)?;
            if let Some(error) = chunk.error() {
                return Err(client::Error::Announced(error.clone()).into());
            }
            self.filtered |= chunk.finish_reason() == Some("content_filter");
            let queue = &mut self.queue;
            chunk.into_events(&self.model, |event| queue.push_back(event));
        }
    }
}
