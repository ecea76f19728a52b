//! The GPA-like DIAL application: an SDK 0.27 wire around a few tricks that really work.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::wire;

mod request;

mod tricks;

mod file;
mod picture;
mod sums;
mod tool;
mod weather;

mod answer;
mod merge;

use answer::Answer;
use request::Said;

pub(crate) fn router(pace: Duration) -> Router {
    let router = Router::new()
        .route("/health", get(health))
        .route(
            "/openai/deployments/{name}/chat/completions",
            post(complete),
        )
        .with_state(pace);
    wire::like_fastapi(router)
}

async fn health() -> Response {
    wire::json(StatusCode::OK, &json!({"status": "ok"}))
}

async fn complete(State(pace): State<Duration>, headers: HeaderMap, body: Bytes) -> Response {
    if !headers.contains_key("api-key") {
        return refuse("Api-Key header is required");
    }
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(&format!("The request body isn't valid JSON: {error}")),
    };
    if let Err(wrong) = request::validate(&request) {
        return refuse(&format!(
            "Your request contained invalid structure on path {wrong}"
        ));
    }
    let said = Said::all(&request);
    let answer = Answer::new(tricks::perform(&said), &said);
    let stream = request.get("stream") == Some(&Value::Bool(true));
    // the real one looks the header up as soon as it needs a tool, without asking whether it is there
    let breaks = answer.uses_tools() && !headers.contains_key("x-conversation-id");
    match (breaks, stream) {
        (false, true) => wire::sse(wire::paced(answer.events(), pace)),
        (false, false) => wire::json(StatusCode::OK, &answer.whole()),
        (true, true) => wire::sse(wire::paced(answer.broken_events(), pace)),
        (true, false) => wire::json(StatusCode::INTERNAL_SERVER_ERROR, &answer::failure()),
    }
}

fn refuse(message: &str) -> Response {
    let error = json!({"message": message, "type": "invalid_request_error", "code": "400"});
    wire::json(StatusCode::BAD_REQUEST, &json!({"error": error}))
}

#[cfg(test)]
mod tests;
