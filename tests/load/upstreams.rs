//! What a turn calls, answering at once: a model, an agent, and the embedded table.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use coordinator::store;
use coordinator::store::keyring::fresh_key;
use dynoxide::Database;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Failed;

/// A request with this word makes the agent wait for [`PAUSE`] before it says anything.
pub const SLOWLY: &str = "slowly";
/// How long a slow agent waits: long enough for every held turn to get there.
pub const PAUSE: Duration = Duration::from_secs(1);

pub const MODEL_PATH: &str = "/openai/v1/chat/completions";
pub const AGENT_PATH: &str = "/openai/deployments/agent/chat/completions";

/// Pieces of text of the agent's answer, and of the synthesised one.
const REPORT_PIECES: usize = 14;
const ANSWER_PIECES: usize = 20;

/// The servers; dropping them stops them.
pub struct Upstreams {
    pub desk: Arc<Desk>,
    pub port: u16,
    pub table_port: u16,
    _servers: JoinSet<()>,
}

/// The answers, made in advance, and what was asked.
pub struct Desk {
    routing: Bytes,
    report: Vec<Bytes>,
    answer: Vec<Bytes>,
    /// The first request of each kind, as it came.
    pub asked: Asked,
    /// Calls in which a slow agent waits right now.
    pub waiting: AtomicUsize,
    /// Connections made so far.
    pub connections: AtomicUsize,
}

#[derive(Default)]
pub struct Asked {
    pub routing: OnceLock<Bytes>,
    pub agent: OnceLock<Bytes>,
    pub synthesis: OnceLock<Bytes>,
}

/// The text that the model writes as the synthesised answer.
pub fn answer_text() -> String {
    (0..ANSWER_PIECES).map(answer_piece).collect()
}

fn answer_piece(at: usize) -> String {
    format!("word {at} of the whole answer, ")
}

impl Upstreams {
    pub async fn start() -> Result<Self, Failed> {
        let desk = Arc::new(Desk {
            routing: routing(),
            report: report(),
            answer: answer(),
            asked: Asked::default(),
            waiting: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route(MODEL_PATH, post(model))
            .route(AGENT_PATH, post(agent))
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
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let table_port = listener.local_addr()?.port();
        let database = Database::memory().map_err(|error| error.to_string())?;
        servers.spawn(async move {
            let _ = dynoxide::server::serve_with_shutdown(listener, database, pending()).await;
        });
        let table = store::connect("mas", Some(&format!("http://127.0.0.1:{table_port}"))).await;
        store::create(&table).await?;
        Ok(Self {
            desk,
            port,
            table_port,
            _servers: servers,
        })
    }

    /// The environment that points to them.
    pub fn environment(&self) -> Result<Vec<(&'static str, String)>, Failed> {
        let origin = format!("http://127.0.0.1:{}", self.port);
        Ok(vec![
            ("OPENAI_BASE_URL", format!("{origin}/openai/v1")),
            ("GPA_AGENT_ENDPOINT", format!("{origin}{AGENT_PATH}")),
            (
                "AWS_ENDPOINT_URL_DYNAMODB",
                format!("http://127.0.0.1:{}", self.table_port),
            ),
            ("MAS_STATE_KEYS", fresh_key("load")?),
            ("MAS_AUTH", "none".into()),
            ("MAS_LOG", "warn".into()),
        ])
    }
}

async fn model(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    if says(&body, "\"stream\":true") {
        let events = desk.answer.clone();
        desk.asked.synthesis.get_or_init(|| body);
        return streamed(events);
    }
    desk.asked.routing.get_or_init(|| body);
    ([(CONTENT_TYPE, "application/json")], desk.routing.clone()).into_response()
}

async fn agent(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    if says(&body, SLOWLY) {
        desk.waiting.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
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
    let body = Body::from_stream(events);
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}

fn routing() -> Bytes {
    let decision = json!({"agent_name": "GPA", "additional_instructions": null, "confidence": 0.9,
        "reason": "Weather is a general question."});
    let message = json!({"role": "assistant", "content": decision.to_string()});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 400, "completion_tokens": 30, "total_tokens": 430});
    json!({"id": "r-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o",
        "choices": [choice], "usage": usage})
    .to_string()
    .into()
}

fn answer() -> Vec<Bytes> {
    let mut events = vec![event(&json!({"role": "assistant", "content": ""}), None)];
    events.extend((0..ANSWER_PIECES).map(|at| event(&json!({"content": answer_piece(at)}), None)));
    events.push(event(&json!({}), Some("stop")));
    let usage = json!({"prompt_tokens": 500, "completion_tokens": 120, "total_tokens": 620});
    let last = json!({"id": "s-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o",
        "choices": [], "usage": usage});
    events.push(format!("data: {last}\n\n").into());
    events.push("data: [DONE]\n\n".into());
    events
}

/// About thirty events: two tools at work, an attachment, text, a state of 2 KB.
fn report() -> Vec<Bytes> {
    let custom = |custom: Value| event(&json!({"custom_content": custom}), None);
    let mut events = vec![event(&json!({"role": "assistant"}), None)];
    for (index, name) in ["web_search", "execute_code"].iter().enumerate() {
        events.extend(
            [
                json!({"index": index, "name": name, "status": null}),
                json!({"index": index, "content": "## Request arguments: \n", "status": null}),
                json!({"index": index, "content": "```json\n{\"query\": \"weather in Kyiv\"}\n```\n", "status": null}),
                json!({"index": index, "content": "## Response: \nmild, 14 degrees\n", "status": null}),
                json!({"index": index, "status": "completed"}),
            ]
            .map(|stage| custom(json!({"stages": [stage]}))),
        );
    }
    let file =
        json!({"index": 0, "type": "text/csv", "title": "out.csv", "url": "files/bucket/out.csv"});
    events.push(custom(json!({"attachments": [file]})));
    events.extend((0..REPORT_PIECES).map(|at| {
        event(
            &json!({"content": format!("part {at} of the report, ")}),
            None,
        )
    }));
    let history = json!([{"role": "tool", "tool_call_id": "call_a", "content": "x".repeat(2000)}]);
    events.push(custom(json!({"state": {"tool_call_history": history}})));
    events.push(event(&json!({}), Some("stop")));
    events.push("data: [DONE]\n\n".into());
    events
}

fn event(delta: &Value, finish_reason: Option<&str>) -> Bytes {
    let choice = json!({"index": 0, "finish_reason": finish_reason, "delta": delta});
    let chunk = json!({"choices": [choice], "usage": null, "id": "a-1", "created": 1_700_000_000,
        "object": "chat.completion.chunk"});
    format!("data: {chunk}\n\n").into()
}
