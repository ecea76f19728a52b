//! The UMS-like service: conversations over HTTP in which users are really created, found, updated and deleted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{text, wire};

mod body;

mod conversations;

mod commands;
mod people;
mod reading;

use body::Chat;
use conversations::Conversations;
use people::People;

struct Desk {
    pace: Duration,
    people: Mutex<People>,
    conversations: Mutex<Conversations>,
}

pub(crate) fn router(pace: Duration) -> Router {
    let desk = Desk {
        pace,
        people: Mutex::new(People::seeded()),
        conversations: Mutex::default(),
    };
    let router = Router::new()
        .route("/health", get(health))
        .route("/conversations", get(list).post(create))
        .route("/conversations/{id}", get(show).delete(delete))
        .route("/conversations/{id}/chat", post(chat))
        .with_state(Arc::new(desk));
    wire::like_fastapi(router)
}

async fn health() -> Response {
    let healthy = json!({"status": "healthy", "conversation_manager_initialized": true});
    wire::json(StatusCode::OK, &healthy)
}

async fn create(State(desk): State<Arc<Desk>>, bytes: Bytes) -> Response {
    match body::title(&bytes) {
        Ok(title) => wire::json(StatusCode::OK, &lock(&desk.conversations).create(title)),
        Err(detail) => unprocessable(&detail),
    }
}

async fn list(State(desk): State<Arc<Desk>>) -> Response {
    match lock(&desk.conversations).list() {
        Some(list) => wire::json(StatusCode::OK, &Value::Array(list)),
        None => wire::internal_server_error(),
    }
}

async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    match lock(&desk.conversations).show(&id) {
        Some(conversation) => wire::json(StatusCode::OK, &conversation),
        None => not_found(),
    }
}

async fn delete(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    if lock(&desk.conversations).delete(&id) {
        let done = json!({"message": "Conversation deleted successfully"});
        wire::json(StatusCode::OK, &done)
    } else {
        not_found()
    }
}

async fn chat(State(desk): State<Arc<Desk>>, Path(id): Path<String>, bytes: Bytes) -> Response {
    let asked = match Chat::read(&bytes) {
        Ok(asked) => asked,
        Err(detail) => return unprocessable(&detail),
    };
    if !lock(&desk.conversations).has(&id) {
        return wire::internal_server_error();
    }
    let mut subject = lock(&desk.conversations).subject(&id);
    let commands = commands::parse(text::without_note(&asked.content));
    let said = lock(&desk.people).perform(&commands, &mut subject);
    if asked.stream {
        let first = wire::event(wire::dumps(&json!({"conversation_id": id})));
        let pieces = text::pieces(&said);
        let pieces = pieces
            .iter()
            .map(|piece| chunk(&json!({"content": piece}), None));
        let last = chunk(&json!({}), Some("stop"));
        let events = [first].into_iter().chain(pieces).chain([last]).collect();
        let events = wire::paced(events, desk.pace);
        // a turn whose answer was not read to its end is not remembered
        let done = stream::once(async move {
            lock(&desk.conversations).save(&id, &asked.content, Some(&said), subject);
            wire::DONE.to_owned()
        });
        wire::sse(events.chain(done))
    } else {
        // the real service forgets its own answer here, too
        lock(&desk.conversations).save(&id, &asked.content, None, subject);
        let answer = json!({"content": said, "conversation_id": id});
        wire::json(StatusCode::OK, &answer)
    }
}

fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({"delta": delta, "index": 0, "finish_reason": finish_reason});
    wire::event(wire::dumps(&json!({"choices": [choice]})))
}

fn not_found() -> Response {
    let detail = json!({"detail": "Conversation not found"});
    wire::json(StatusCode::NOT_FOUND, &detail)
}

fn unprocessable(detail: &Value) -> Response {
    wire::json(
        StatusCode::UNPROCESSABLE_ENTITY,
        &json!({"detail": [detail]}),
    )
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
