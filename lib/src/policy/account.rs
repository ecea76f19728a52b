//! What one owner uses now, as a value: turns under way, requests, tokens and money of the day, traces.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use crate::domain::ids::{ConversationId, Millis, TurnId};
use crate::domain::preference::Preferences;
use crate::domain::rules::Quotas;
use crate::domain::run;

const DAY: u64 = 86_400_000;
/// More traces than these are not followed at the same time; the oldest are forgotten.
const TRACES: usize = 16;
/// More requests than these are not known as unfinished; the oldest are forgotten.
const UNFINISHED: usize = 8;
/// A trace is over when it was quiet for so long.
const TRACE_ENDS: Duration = Duration::from_mins(15);

/// One owner's account. It is kept in the table and stepped by whoever serves the owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Stands for the owner in the audit log. Erasing a person destroys it: nobody then knows whose lines those are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym: Option<TurnId>,
    /// What was written before this turn is erased, and stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<TurnId>,
    #[serde(default)]
    requests: Bucket,
    /// Days since 1970, and what was used on that day.
    #[serde(default)]
    day: u64,
    #[serde(default)]
    tokens: u64,
    #[serde(default)]
    spend: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    running: BTreeMap<TurnId, Running>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    traces: Vec<Trace>,
    /// Requests that may have to be gone on with, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unfinished: Vec<Unfinished>,
    /// The mark of the owner's preferences, or of those that are just being written: who knows preferences of this mark
    /// need not read them. `None` where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wishes: Option<u64>,
}

/// A turn under way. It ends by itself: an instance that is killed cannot say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    at: Millis,
    until: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conversation: Option<ConversationId>,
}

/// A request whose turn was cut off, or did not do all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unfinished {
    request: String,
    at: Millis,
}

/// Turns that belong together because an agent asked the coordinator again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trace {
    id: String,
    turns: u32,
    at: Millis,
}

/// A turn that wants to begin.
#[derive(Clone, Debug)]
pub struct Entry {
    pub turn: TurnId,
    pub now: Millis,
    /// By when the turn has surely ended.
    pub until: Millis,
    /// The same for the same request of the same conversation; `None` where the client named no conversation.
    pub request: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<String>,
    /// The conversation in which it may use agents' sessions.
    pub conversation: Option<ConversationId>,
}

/// What a turn used, and whether it came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub tokens: u64,
    /// In millionths of a dollar.
    pub spend: u64,
    /// What became of a plan of its request; `None` where it says nothing of one.
    pub plan: Option<PlanEnd>,
    /// The mark of the preferences that it found; `None` where it could not read them.
    pub wishes: Option<u64>,
}

/// How far a plan was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanEnd {
    /// To its end: nothing is kept of it.
    Done,
    /// Something of it is left to do.
    Left,
}

/// Why a turn may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many requests; the next one may come after this time.
    Requests(Duration),
    /// Too many turns at once.
    Concurrent,
    /// The day's tokens, or the day's money, are used up; the next day begins after this time.
    Tokens(Duration),
    Spend(Duration),
    /// The same request is being answered.
    Duplicate,
    /// Too many turns of one trace: agents call each other in circles.
    Trace,
}

impl Account {
    /// The account with the turn in it, or why it may not begin.
    pub fn enter(&self, entry: &Entry, quotas: &Quotas) -> Result<Self, Refusal> {
        let now = entry.now;
        let mut next = self.clone();
        // What was written and not acknowledged is read again: a turn never stands in its own way.
        if next.running.contains_key(&entry.turn) {
            return Ok(next);
        }
        next.end_overdue(now);
        if next.day != now.0 / DAY {
            next.day = now.0 / DAY;
            (next.tokens, next.spend) = (0, 0);
        }
        next.count(entry, quotas.trace)?;
        let same = |running: &Running| {
            entry.request.is_some()
                && running.request == entry.request
                && now.since(running.at) < quotas.duplicate
        };
        if next.running.values().any(same) {
            return Err(Refusal::Duplicate);
        }
        let used_up = |limit: Option<u64>, used| limit.is_some_and(|limit| used >= limit);
        let tomorrow = Duration::from_millis(DAY - now.0 % DAY);
        if used_up(quotas.concurrent.map(u64::from), next.running.len() as u64) {
            return Err(Refusal::Concurrent);
        }
        if used_up(quotas.tokens, next.tokens) {
            return Err(Refusal::Tokens(tomorrow));
        }
        if used_up(quotas.spend, next.spend) {
            return Err(Refusal::Spend(tomorrow));
        }
        if let Some(size) = quotas.requests {
            next.requests = next.requests.draw(now, size).map_err(Refusal::Requests)?;
        }
        next.pseudonym.get_or_insert(entry.turn);
        let running = Running {
            at: now,
            until: entry.until,
            request: entry.request.clone(),
            trace: entry.trace.clone(),
            conversation: entry.conversation.clone(),
        };
        next.running.insert(entry.turn, running);
        Ok(next)
    }

    /// Whether another turn is under way in the conversation, which entered before this one.
    pub fn shares(&self, turn: TurnId, conversation: &ConversationId) -> bool {
        let mut others = self.running.iter().filter(|(id, _)| **id != turn);
        others.any(|(_, running)| running.conversation.as_ref() == Some(conversation))
    }

    /// What was spent on the day of this moment, in millionths of a dollar.
    pub fn spent(&self, now: Millis) -> u64 {
        if self.day == now.0 / DAY {
            self.spend
        } else {
            0
        }
    }

    /// The account without turns that are known to be over, though it was not told.
    pub fn without(&self, over: impl Fn(&TurnId) -> bool) -> Cow<'_, Self> {
        if !self.running.keys().any(&over) {
            return Cow::Borrowed(self);
        }
        let mut next = self.clone();
        next.running.retain(|turn, _| !over(turn));
        Cow::Owned(next)
    }

    /// Whether a request is here again that another turn has begun, and perhaps not finished.
    pub fn is_repeated(&self, entry: &Entry) -> bool {
        let same = |request: &String| entry.request.as_ref() == Some(request);
        let others = self.running.iter().filter(|(turn, _)| **turn != entry.turn);
        let begun = others.filter_map(|(_, running)| running.request.as_ref());
        let left = self.unfinished.iter().map(|one| &one.request);
        begun.chain(left).any(same)
    }

    /// The account after a turn; `None` when nothing changes.
    pub fn leave(&self, turn: TurnId, used: Used, now: Millis) -> Option<Self> {
        let mut next = self.clone();
        let was = next.running.remove(&turn);
        if let Some(request) = was.as_ref().and_then(|was| was.request.clone()) {
            match used.plan {
                Some(PlanEnd::Left) => next.note_unfinished(request, now),
                Some(PlanEnd::Done) => next.unfinished.retain(|one| one.request != request),
                // A turn that came to no plan takes none away.
                None => {}
            }
        }
        let was = was.is_some();
        // Whatever it says already was said by who changed them.
        next.wishes = next.wishes.or(used.wishes);
        if next.day == now.0 / DAY {
            next.tokens = next.tokens.saturating_add(used.tokens);
            next.spend = next.spend.saturating_add(used.spend);
        }
        (was || next != *self).then_some(next)
    }

    /// The account with a pseudonym, and this one if it has none yet; `None` when it has.
    pub fn named(&self, fresh: TurnId) -> Option<Self> {
        self.pseudonym.is_none().then(|| Self {
            pseudonym: Some(fresh),
            ..self.clone()
        })
    }

    /// The account with the mark of preferences that are to be written in this turn; `None` when it is there, or what the
    /// turn writes is erased.
    pub fn wishing(&self, turn: TurnId, mark: u64) -> Option<Self> {
        let erased = self.erased.is_some_and(|erased| erased >= turn);
        (self.wishes != Some(mark) && !erased).then(|| Self {
            wishes: Some(mark),
            ..self.clone()
        })
    }

    /// What is left of the account of a person who is erased, up to and with this turn. Turns under way belong to what is
    /// erased, even those of an instance whose clock is ahead.
    #[must_use]
    pub fn erase(&self, turn: TurnId) -> Self {
        let newest = self.running.keys().chain(&self.erased).max();
        Self {
            erased: newest.copied().max(Some(turn)),
            // Limits hold on: erasing must not be a way around them.
            requests: self.requests,
            day: self.day,
            tokens: self.tokens,
            spend: self.spend,
            wishes: Some(Preferences::default().mark()),
            ..Self::default()
        }
    }

    /// A turn whose time is over without a word of it was cut off.
    fn end_overdue(&mut self, now: Millis) {
        (self.unfinished).retain(|one| now.since(one.at) < run::KEPT);
        let overdue = |_: &TurnId, running: &mut Running| running.until <= now;
        let over: Vec<Running> = (self.running.extract_if(.., overdue))
            .map(|(_, running)| running)
            .collect();
        for running in over {
            if let Some(request) = running.request {
                self.note_unfinished(request, running.at);
            }
        }
    }

    fn note_unfinished(&mut self, request: String, at: Millis) {
        self.unfinished.retain(|one| one.request != request);
        if self.unfinished.len() >= UNFINISHED {
            self.unfinished.remove(0);
        }
        self.unfinished.push(Unfinished { request, at });
    }

    /// Counts the turn in its trace.
    fn count(&mut self, entry: &Entry, most: u32) -> Result<(), Refusal> {
        let Some(id) = &entry.trace else {
            return Ok(());
        };
        let now = entry.now;
        self.traces.retain(|trace| now.since(trace.at) < TRACE_ENDS);
        let known = self.traces.iter().position(|trace| trace.id == *id);
        let known = known.map(|at| self.traces.remove(at).turns);
        // A circle goes on while its first turn waits; turns that follow each other are no circle.
        let waits = |running: &Running| running.trace.as_ref() == Some(id);
        let turns = known
            .filter(|_| self.running.values().any(waits))
            .unwrap_or(0);
        if turns >= most {
            return Err(Refusal::Trace);
        }
        if self.traces.len() >= TRACES {
            self.traces.remove(0);
        }
        self.traces.push(Trace {
            id: id.clone(),
            turns: turns + 1,
            at: now,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
