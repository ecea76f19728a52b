//! What a turn calls: a model and an agent that answer at once, when they are let to, or by the delay law.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::Failed;
use crate::answers::{REPORT_FRAME, answer, report, routing};
use crate::law::{Law, Pace};
use crate::ledger::{Ledger, Span};
use crate::script::{self, Script};

/// A request with this word makes the agent wait until it is let through the gate.
pub const HELD: &str = "slowly";
/// Who was not let through goes on after this time.
const PATIENCE: Duration = Duration::from_secs(25);
/// Pieces of text of an agent's answer that comes at once.
const REPORT_PIECES: usize = 14;

/// The model as DIAL Core's deployment, and as an OpenAI-compatible server without Core.
pub const MODEL_PATH: &str = "/openai/deployments/gpt-4o/chat/completions";
const BARE_MODEL_PATH: &str = "/openai/v1/chat/completions";
pub const AGENT: &str = "agent";
pub const AGENT_PATH: &str = "/openai/deployments/agent/chat/completions";

/// The servers; dropping them stops them.
pub struct Upstreams {
    pub desk: Arc<Desk>,
    pub port: u16,
    _servers: JoinSet<()>,
}

/// The answers, made in advance, and what was asked.
pub struct Desk {
    routing: Bytes,
    report: Vec<Bytes>,
    answer: Vec<Bytes>,
    /// Without one, everything is said at once and nothing is put into the ledger.
    law: RwLock<Option<Law>>,
    /// With one, the model decides as a function of the question, and there are more agents.
    script: RwLock<Option<Arc<Script>>>,
    pub ledger: Ledger,
    /// The first request of each kind, as it came.
    pub asked: Asked,
    /// Agents that wait at the gate right now.
    pub waiting: AtomicUsize,
    /// Lets as many agents go on as it has permits.
    gate: Semaphore,
    /// Connections made so far.
    pub connections: AtomicUsize,
}

#[derive(Default)]
pub struct Asked {
    pub routing: OnceLock<Bytes>,
    pub agent: OnceLock<Bytes>,
    pub synthesis: OnceLock<Bytes>,
}

/// One call of a turn that is timed.
struct Timed {
    desk: Arc<Desk>,
    turn: u64,
    begun_at: Instant,
}

impl Upstreams {
    pub async fn start() -> Result<Self, Failed> {
        let desk = Arc::new(Desk {
            routing: routing("GPA"),
            report: report(REPORT_PIECES),
            answer: answer(),
            law: RwLock::default(),
            script: RwLock::default(),
            ledger: Ledger::default(),
            asked: Asked::default(),
            waiting: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            connections: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route(MODEL_PATH, post(model))
            .route(BARE_MODEL_PATH, post(model))
            .route(AGENT_PATH, post(agent))
            .route(script::AGENTS_PATH, post(script::agent))
            .with_state(Arc::clone(&desk));
        let mut servers = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let counted = Arc::clone(&desk);
        let listener = listener.tap_io(move |socket| {
            let _ = socket.set_nodelay(true);
            counted.connections.fetch_add(1, Ordering::Relaxed);
        });
        servers.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            desk,
            port,
            _servers: servers,
        })
    }
}

impl Desk {
    /// From now on, answers come by this law, or at once.
    pub fn obey(&self, law: Option<Law>) {
        *self.law.write().unwrap_or_else(PoisonError::into_inner) = law;
    }

    /// From now on, the model decides by this script.
    pub fn follow(&self, script: Arc<Script>) {
        *self.script.write().unwrap_or_else(PoisonError::into_inner) = Some(script);
    }

    pub fn script(&self) -> Option<Arc<Script>> {
        let script = self.script.read().unwrap_or_else(PoisonError::into_inner);
        script.clone()
    }

    pub fn shut_gate(&self) {
        self.gate.forget_permits(self.gate.available_permits());
    }

    /// Lets so many more through the gate.
    pub fn let_through(&self, agents: usize) {
        self.gate.add_permits(agents);
    }

    /// The law that a call comes under, and the call, for timing it.
    fn timed(self: &Arc<Self>, headers: &HeaderMap) -> Option<(Law, Timed)> {
        let law = *self.law.read().unwrap_or_else(PoisonError::into_inner);
        let timed = Timed {
            desk: Arc::clone(self),
            turn: turn_of(headers)?,
            begun_at: Instant::now(),
        };
        Some((law?, timed))
    }
}

impl Timed {
    fn end(&self) {
        let span = Span {
            begun_at: self.begun_at,
            ended_at: Instant::now(),
        };
        self.desk.ledger.add(self.turn, span);
    }
}

/// The trace that a turn's request came with, which is passed on with each of its calls, is the turn's number.
pub fn turn_of(headers: &HeaderMap) -> Option<u64> {
    let parent = headers.get("traceparent")?.to_str().ok()?;
    let id = parent.split('-').nth(1)?;
    u64::from_str_radix(id.get(16..)?, 16).ok()
}

async fn model(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let timed = desk.timed(&headers);
    if says(&body, "\"stream\":true") {
        let events = desk.answer.clone();
        desk.asked.synthesis.get_or_init(|| body);
        return match timed {
            Some((law, timed)) => paced(events, law.synthesis(timed.turn), timed),
            None => streamed(events),
        };
    }
    if let Some(script) = desk.script() {
        return script::route(&script, &headers, &body).await;
    }
    desk.asked.routing.get_or_init(|| body);
    if let Some((law, timed)) = timed {
        sleep(law.routing(timed.turn)).await;
        timed.end();
    }
    ([(CONTENT_TYPE, "application/json")], desk.routing.clone()).into_response()
}

async fn agent(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some((law, timed)) = desk.timed(&headers) {
        let (events, pace) = law.agent(timed.turn);
        return paced(report(events - REPORT_FRAME), pace, timed);
    }
    if says(&body, HELD) {
        desk.waiting.fetch_add(1, Ordering::SeqCst);
        if let Ok(Ok(permit)) = timeout(PATIENCE, desk.gate.acquire()).await {
            permit.forget();
        }
        desk.waiting.fetch_sub(1, Ordering::SeqCst);
    }
    let events = desk.report.clone();
    desk.asked.agent.get_or_init(|| body);
    streamed(events)
}

fn says(body: &[u8], word: &str) -> bool {
    std::str::from_utf8(body).is_ok_and(|body| body.contains(word))
}

/// Each event in a write of its own, as models and agents send them.
fn streamed(events: Vec<Bytes>) -> Response {
    let events = stream::iter(events).then(|event| async move {
        // Lets the server write the previous event out.
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(event)
    });
    sse(Body::from_stream(events))
}

/// Each event at its time. The call has ended when its last event is handed over: what comes after is not its own.
fn paced(events: Vec<Bytes>, pace: Pace, timed: Timed) -> Response {
    let last = events.len().saturating_sub(1);
    let first_at = tokio::time::Instant::from_std(timed.begun_at + pace.first);
    let timed = Arc::new(timed);
    let events = stream::iter(events).enumerate().then(move |(at, event)| {
        let timed = Arc::clone(&timed);
        async move {
            let events_before = u32::try_from(at).unwrap_or(u32::MAX);
            sleep_until(first_at + pace.each * events_before).await;
            if at == last {
                timed.end();
            }
            Ok::<_, Infallible>(event)
        }
    });
    sse(Body::from_stream(events))
}

pub fn sse(body: Body) -> Response {
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}
