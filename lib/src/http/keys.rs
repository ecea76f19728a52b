//! The public keys by which agents verify who calls them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};

use super::App;

/// `/.well-known/jwks.json`. A key is published before it signs, so what was read may be kept for a while.
pub async fn published(State(app): State<Arc<App>>) -> Response {
    let keys = app.coordinator().agents.gateways.published_keys();
    ([(CACHE_CONTROL, "public, max-age=300")], Json(keys)).into_response()
}
