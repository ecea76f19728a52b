//! Upstreams for the measurement of routing: a model that decides as a function of the question, several agents, and a
//! note of every call and of what it had cost until it ended or was dropped.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::answers::{REPORT_FRAME, report_with_usage, routing};
use crate::law::{Law, draw};
use crate::upstreams::{Desk, sse, turn_of};

/// The agents. The first one only reads, so it may be begun on a guess.
pub const AGENTS: [&str; 4] = ["GPA", "UMS", "HR", "LAW"];
pub const AGENTS_PATH: &str = "/openai/deployments/{deployment}/chat/completions";
/// What a question's number stands behind.
const MATTER: &str = "matter-";
/// Pieces of text of an agent that answers at once.
const FEW_PIECES: usize = 4;

/// What the model thinks: `precision` is the share of questions that are for the first agent, the others share the rest.
#[derive(Clone, Copy, Debug)]
pub struct Mind {
    pub precision: f64,
    pub seed: u64,
}

/// Tokens that agents use.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Before the first event.
    pub prompt: u64,
    /// For each event.
    pub event: u64,
}

/// How the upstreams behave, and what they did.
pub struct Script {
    pub mind: Mind,
    pub law: Law,
    /// Agents take their time, too.
    pub paced: bool,
    pub tokens: Tokens,
    /// By turn.
    calls: Mutex<HashMap<u64, Vec<Arc<Call>>>>,
}

/// A call of a turn: to an agent, or to the model.
#[derive(Debug)]
pub struct Call {
    pub agent: Option<&'static str>,
    /// Used so far.
    tokens: AtomicU64,
    /// What it uses when it is not dropped.
    pub whole: u64,
}

impl Mind {
    pub fn agent(&self, question: u64) -> &'static str {
        let [first, others @ ..] = &AGENTS;
        if draw(self.seed, question) < self.precision {
            return first;
        }
        let share = draw(self.seed.wrapping_add(1), question);
        // So many thirds.
        let at = others.iter().zip([1.0, 2.0, 3.0]);
        let mut at = at.filter(|(_, third)| share < third / 3.0);
        at.next().map_or(first, |(agent, _)| agent)
    }
}

impl Call {
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }
}

impl Script {
    pub fn new(mind: Mind, law: Law, paced: bool, tokens: Tokens) -> Self {
        Self {
            mind,
            law,
            paced,
            tokens,
            calls: Mutex::default(),
        }
    }

    /// The calls of a turn, which are then forgotten.
    pub fn take(&self, turn: u64) -> Vec<Arc<Call>> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.remove(&turn).unwrap_or_default()
    }

    fn note(&self, turn: u64, call: Call) -> Arc<Call> {
        let call = Arc::new(call);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry(turn).or_default().push(Arc::clone(&call));
        call
    }
}

/// A question of this number.
pub fn question(number: u64) -> String {
    format!("What is known about {MATTER}{number}?")
}

fn question_of(body: &[u8]) -> Option<u64> {
    let body = std::str::from_utf8(body).ok()?;
    // The last one: the user's own message.
    let (_, rest) = body.rsplit_once(MATTER)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

/// The routing model.
pub async fn route(script: &Script, headers: &HeaderMap, body: &[u8]) -> Response {
    let (Some(turn), Some(question)) = (turn_of(headers), question_of(body)) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let call = Call {
        agent: None,
        tokens: AtomicU64::new(0),
        whole: 0,
    };
    script.note(turn, call);
    sleep(script.law.routing(turn)).await;
    let decision = routing(script.mind.agent(question));
    ([(CONTENT_TYPE, "application/json")], decision).into_response()
}

/// An agent, whose deployment has its name.
pub async fn agent(
    State(desk): State<Arc<Desk>>,
    Path(deployment): Path<String>,
    headers: HeaderMap,
) -> Response {
    let begun_at = Instant::now();
    let agent = AGENTS.into_iter().find(|agent| *agent == deployment);
    let (Some(script), Some(turn), Some(agent)) = (desk.script(), turn_of(&headers), agent) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (pieces, pace) = if script.paced {
        let (events, pace) = script.law.agent(turn);
        // One more event is that of what was used.
        (events - REPORT_FRAME - 1, Some(pace))
    } else {
        (FEW_PIECES, None)
    };
    let Tokens { prompt, event } = script.tokens;
    let count = u64::try_from(pieces + REPORT_FRAME + 1).unwrap_or_default();
    let events = report_with_usage(pieces, prompt, count * event);
    let call = Call {
        agent: Some(agent),
        tokens: AtomicU64::new(prompt),
        whole: prompt + count * event,
    };
    let call = script.note(turn, call);
    let events = stream::iter(events).zip(stream::iter(0_u32..));
    let events = events.then(move |(bytes, before)| {
        let call = Arc::clone(&call);
        async move {
            if let Some(pace) = pace {
                sleep_until(begun_at + pace.first + pace.each * before).await;
            }
            call.tokens.fetch_add(event, Ordering::Relaxed);
            Ok::<Bytes, Infallible>(bytes)
        }
    });
    sse(Body::from_stream(events))
}
