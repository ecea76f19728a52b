//! When each turn's calls were under way, by what the upstreams themselves saw.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From the arrival of a call's body until its last event is handed over.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub begun_at: Instant,
    pub ended_at: Instant,
}

/// The finished calls of turns that nobody has asked for yet.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<u64, Vec<Span>>>);

impl Ledger {
    pub fn add(&self, turn: u64, span: Span) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(turn).or_default().push(span);
    }

    pub fn take(&self, turn: u64) -> Vec<Span> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.remove(&turn).unwrap_or_default()
    }
}

/// How long at least one of the calls was under way: what a turn spends waiting, whether its calls follow each other or
/// overlap.
pub fn waited(mut spans: Vec<Span>) -> Duration {
    spans.sort_by_key(|span| span.begun_at);
    let mut sum = Duration::ZERO;
    let mut until: Option<Instant> = None;
    for span in spans {
        let from = until.map_or(span.begun_at, |until| until.max(span.begun_at));
        sum += span.ended_at.saturating_duration_since(from);
        until = Some(until.map_or(span.ended_at, |until| until.max(span.ended_at)));
    }
    sum
}
