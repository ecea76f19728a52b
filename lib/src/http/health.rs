//! Alive, and ready: every dependency asked at once, briefly.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::join;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::App;
use crate::resilience::health::{Checked, Status, roll_up};

/// Each dependency has this long.
const WITHIN: Duration = Duration::from_secs(1);
/// Answers are repeated for this long, so that probing costs the dependencies little.
const FRESH: Duration = Duration::from_secs(5);

/// The last answer. The lock is held while asking: probes that come together are answered together.
#[derive(Debug, Default)]
pub struct Readiness {
    last: Mutex<Option<(Instant, Answer)>>,
}

#[derive(Clone, Debug, Serialize)]
struct Answer {
    status: Status,
    version: &'static str,
    checks: Vec<Checked>,
}

/// `GET /health`: the process answers; nothing else is asked. What is wrong with the agents is known anyway.
pub async fn alive(State(app): State<Arc<App>>) -> Response {
    let answer = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "registry": {
            "version": app.coordinator().registry.version(),
            "problem": app.live.directory().problem(),
        },
    });
    Json(answer).into_response()
}

/// `GET /health/ready`: 200 while turns can be answered, with what is missing; 503 when nothing can work.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let mut last = app.readiness.last.lock().await;
    let answer = match &*last {
        Some((at, answer)) if at.elapsed() < FRESH => answer.clone(),
        _ => {
            let coordinator = app.coordinator();
            let (callers, rest) = join!(app.auth.check(WITHIN), coordinator.check(WITHIN));
            let registry = std::iter::once(app.live.check());
            let checks: Vec<Checked> = callers.into_iter().chain(registry).chain(rest).collect();
            let answer = Answer {
                status: roll_up(&checks),
                version: env!("CARGO_PKG_VERSION"),
                checks,
            };
            *last = Some((Instant::now(), answer.clone()));
            answer
        }
    };
    let status = match answer.status {
        Status::Ready | Status::Degraded => StatusCode::OK,
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(answer)).into_response()
}
