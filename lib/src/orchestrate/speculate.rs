//! An agent begun on a guess, while the model still decides.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::Instant;

use crate::domain::event::AgentEvent;
use crate::domain::ids::AgentId;
use crate::domain::message::Attachment;
use crate::domain::usage::ModelUsage;
use crate::gateway::{Error, EventStream};

/// So many events, and about so many bytes, are read ahead. What comes after them waits at the agent.
const AHEAD: usize = 256;
const BYTES: usize = 1024 * 1024;
/// So many decisions in a place before anything is guessed there.
const ENOUGH: f64 = 8.0;
/// What a decision is worth after the next one: the last fifty count.
const FADING: f64 = 0.98;

/// A call that was begun on a guess. Nothing of it is shown or kept until it is adopted; dropping it cancels the call.
pub struct Guess {
    pub agent: AgentId,
    pub begun: Instant,
    /// Never locked: it lets a turn that holds it move between threads.
    events: Mutex<EventStream>,
    early: VecDeque<Result<AgentEvent, Error>>,
    bytes: usize,
    over: bool,
}

impl Guess {
    pub fn new(agent: AgentId, events: EventStream) -> Self {
        Self {
            agent,
            begun: Instant::now(),
            events: Mutex::new(events),
            early: VecDeque::new(),
            bytes: 0,
            over: false,
        }
    }

    /// Reads ahead, event by event; at the end, or when enough is read, it waits for ever.
    pub async fn read_ahead(&mut self) {
        while !self.over && self.early.len() < AHEAD && self.bytes < BYTES {
            let events = self
                .events
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            match events.next().await {
                Some(event) => {
                    self.over = event.is_err();
                    self.bytes += event.as_ref().map_or(0, size);
                    self.early.push_back(event);
                }
                None => self.over = true,
            }
        }
        std::future::pending::<()>().await;
    }

    /// The call as if it had been begun now: every event, in order.
    pub fn adopt(self) -> EventStream {
        let early: BoxStream<_> = stream::iter(self.early).boxed();
        if self.over {
            early
        } else {
            let events = self
                .events
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            early.chain(events).boxed()
        }
    }

    /// What it said that it used, so far.
    pub fn used(&self) -> Vec<ModelUsage> {
        let said = |event: &Result<AgentEvent, Error>| match event {
            Ok(AgentEvent::Usage(lines)) => lines.clone(),
            _ => Vec::new(),
        };
        self.early.iter().flat_map(said).collect()
    }
}

/// What an event holds, about.
fn size(event: &AgentEvent) -> usize {
    let files = |files: &[Attachment]| files.iter().map(Attachment::size).sum::<usize>();
    match event {
        AgentEvent::Text(text) | AgentEvent::Anew(text) => text.len(),
        AgentEvent::Stage { change, .. } => {
            let text = [&change.name, &change.content].into_iter().flatten();
            text.map(String::len).sum::<usize>() + files(&change.attachments)
        }
        AgentEvent::Attachment(file) => file.size(),
        AgentEvent::State(json) | AgentEvent::Form(json) => json.get().len(),
        AgentEvent::Usage(_)
        | AgentEvent::Session { .. }
        | AgentEvent::Asks
        | AgentEvent::Cut
        | AgentEvent::Finished => 0,
    }
}

impl std::fmt::Debug for Guess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guess")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// What the model decided of late, by the agent that had answered before: the likeliest is guessed. Each process learns
/// for itself.
#[derive(Debug)]
pub struct Likely {
    /// The least share of right guesses, 0 to 1.
    break_even: f64,
    places: Mutex<HashMap<Option<AgentId>, Place>>,
}

/// Decisions in one place.
#[derive(Debug, Default)]
struct Place {
    weight: f64,
    /// By agent, those that left the request as it is: with instructions the guess would have been another call.
    plain: HashMap<AgentId, f64>,
}

/// What a guess would be worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Chance {
    pub agent: AgentId,
    /// The share of decisions that it would have met, 0 to 1.
    pub precision: f64,
    /// Worth a call.
    pub pays: bool,
}

impl Likely {
    /// `break_even` in percent.
    pub fn new(break_even: u32) -> Self {
        Self {
            break_even: f64::from(break_even) / 100.0,
            places: Mutex::default(),
        }
    }

    /// The likeliest agent after this one; `None` while too little is known.
    pub fn agent(&self, before: Option<&AgentId>) -> Option<Chance> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.get(&before.cloned())?;
        let (agent, count) = (place.plain.iter())
            // Of several that are as likely, always the same.
            .max_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| b.cmp(a)))?;
        let precision = count / place.weight;
        (place.weight >= ENOUGH).then(|| Chance {
            agent: agent.clone(),
            precision,
            pays: precision >= self.break_even,
        })
    }

    /// The model has decided for this agent, or in a way that no guess can meet.
    pub fn learn(&self, before: Option<&AgentId>, decided: Option<&AgentId>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(before.cloned()).or_default();
        for count in place.plain.values_mut() {
            *count *= FADING;
        }
        place.weight = place.weight * FADING + 1.0;
        if let Some(agent) = decided {
            *place.plain.entry(agent.clone()).or_default() += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_made_where_guesses_are_mostly_right() {
        let likely = Likely::new(80);
        let (gpa, ums) = (AgentId::new("GPA"), AgentId::new("UMS"));
        let learn = |times, agent| {
            for _ in 0..times {
                likely.learn(None, agent);
            }
        };
        assert_eq!(likely.agent(None), None);
        learn(8, Some(&gpa));
        assert_eq!(
            likely.agent(None),
            None,
            "eight that fade are not quite eight"
        );
        learn(1, Some(&gpa));
        let chance = likely.agent(None).unwrap();
        assert!(chance.pays && chance.agent == gpa, "{chance:?}");
        assert_eq!(likely.agent(Some(&gpa)), None, "another place");
        learn(4, Some(&ums));
        let chance = likely.agent(None).unwrap();
        assert!(!chance.pays && chance.agent == gpa, "{chance:?}");
        // It comes back by itself: what would have been right is counted all the same.
        learn(30, Some(&gpa));
        assert!(likely.agent(None).unwrap().pays);
        learn(30, None);
        assert!(
            !likely.agent(None).unwrap().pays,
            "with instructions no guess is right"
        );
    }
}
