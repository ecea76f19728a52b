//! Reading a chat-completion stream as agent events, to its complete end or to an error.

use std::collections::VecDeque;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Error, EventStream};
use crate::dial::delta::Chunk;
use crate::domain::event::AgentEvent;
use crate::domain::usage::{ModelUsage, Usage};
use crate::upstream::{self, Call, Client, Events};

/// What an agent answers to a call, as it comes. Nothing is sent before it is polled.
pub fn events(client: Client, call: Call, model: String) -> EventStream {
    stream::once(async move {
        let reading = Reading::new(client.events(call).await?, &model);
        Ok::<_, Error>(stream::try_unfold(reading, async |mut reading| {
            Ok::<_, Error>(reading.next().await?.map(|event| (event, reading)))
        }))
    })
    .try_flatten()
    .boxed()
}

/// A stream being read.
#[derive(Debug)]
pub struct Reading {
    events: Events,
    /// Names the usage of an agent that does not split it by model.
    model: String,
    queue: VecDeque<AgentEvent>,
    /// The last of what was said of usage, told once at the end: senders repeat it, and newer versions of DIAL Core
    /// say it a second time by model.
    usage: Option<Usage>,
    per_model: Vec<ModelUsage>,
    filtered: bool,
    cut: bool,
    end: Option<Result<(), Error>>,
    over: bool,
}

impl Reading {
    pub fn new(events: Events, model: &str) -> Self {
        Self {
            events,
            model: model.to_owned(),
            queue: VecDeque::new(),
            usage: None,
            per_model: Vec::new(),
            filtered: false,
            cut: false,
            end: None,
            over: false,
        }
    }

    /// The next event; `None` after [`AgentEvent::Finished`]. A finish reason proves nothing: an error may follow it.
    pub async fn next(&mut self) -> Result<Option<AgentEvent>, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(event));
            }
            if let Some(end) = self.end.take() {
                self.over = true;
                return end.map(|()| Some(AgentEvent::Finished));
            }
            if self.over {
                return Ok(None);
            }
            let read = self.read().await;
            if let Some(end) = read.transpose() {
                let cut = std::mem::take(&mut self.cut).then_some(AgentEvent::Cut);
                let usage = self.take_usage();
                self.queue.extend(cut.into_iter().chain(usage));
                self.end = Some(end);
            }
        }
    }

    /// Takes one event of the stream; `Some` at its complete end.
    async fn read(&mut self) -> Result<Option<()>, Error> {
        let Some(event) = self.events.next().await? else {
            return if self.filtered {
                Err(Error::Filtered)
            } else {
                Ok(Some(()))
            };
        };
        let mut chunk = Chunk::read(&event)?;
        if let Some(error) = chunk.error() {
            return Err(upstream::Error::Announced(error.clone()).into());
        }
        self.filtered |= chunk.finish_reason() == Some("content_filter");
        self.cut |= chunk.finish_reason() == Some("length");
        self.usage = chunk.usage().or(self.usage);
        let per_model = chunk.take_usage_per_model();
        if !per_model.is_empty() {
            self.per_model = per_model;
        }
        let queue = &mut self.queue;
        chunk.into_events(|event| queue.push_back(event));
        Ok(None)
    }

    fn take_usage(&mut self) -> Option<AgentEvent> {
        if !self.per_model.is_empty() {
            return Some(AgentEvent::Usage(std::mem::take(&mut self.per_model)));
        }
        let usage = self.usage.take()?;
        Some(AgentEvent::Usage(vec![ModelUsage {
            model: self.model.clone(),
            usage,
        }]))
    }
}
