//! What was counted in this process, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::{App, not_found};

/// `GET /metrics`, where metrics are kept in the process.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.coordinator().metrics.text() {
        Some(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        None => not_found().await.into_response(),
    }
}
