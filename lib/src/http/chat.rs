//! The chat endpoint: a body into a turn, the turn into a stream or into one block.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::admit::{DRAIN_WITHIN, admit, drain, header, next};
use super::error::{self, ApiError, Statuses};
use super::{App, configuration, language, not_found, trace};
use crate::coordinator::{Coordinator, Verification};
use crate::dial::fold::{Fold, Folded};
use crate::dial::request::ChatRequest;
use crate::domain::failure::Failure;
use crate::domain::ids::TurnId;
use crate::domain::language::Language;
use crate::domain::trace::{TRACE_ID, Trace};
use crate::domain::turn::ChatTurn;
use crate::stream::{AnswerSink, TurnBody};
use crate::telemetry;

/// A longer model name is cut off.
const MODEL_CAP: usize = 256;
/// A longer conversation id is cut off: it is only a hint.
const CONVERSATION_CAP: usize = 1024;

/// `/openai/deployments/{any id}/chat/completions`.
pub async fn deployment(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    let rest = path.strip_prefix("/openai/deployments/");
    let ends = |end| {
        rest.and_then(|rest| rest.strip_suffix(end))
            .filter(|id: &&str| !id.is_empty())
    };
    if ends("/configuration").is_some() {
        return configuration::schema(&app, request.method());
    }
    let Some(deployment) = ends("/chat/completions") else {
        return not_found().await.into_response();
    };
    let deployment = percent_decode_str(deployment)
        .decode_utf8_lossy()
        .into_owned();
    answer(app, Some(deployment), request).await
}

/// `/openai/v1/chat/completions`.
pub async fn v1(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(app, None, request).await
}

async fn answer(app: Arc<App>, deployment: Option<String>, request: Request) -> Response {
    let (id, mut request) = (TurnId::now(), request);
    let trace = trace::of(request.headers());
    trace::put(request.headers_mut(), &trace);
    let trace_id = HeaderValue::from_str(trace.id());
    let span = telemetry::turn(id, &trace);
    let answer = begin(app, id, trace, deployment, request);
    let mut response = unpanicked(answer, &id.reference()).instrument(span).await;
    if let Ok(trace_id) = trace_id {
        response.headers_mut().insert(TRACE_ID, trace_id);
    }
    response
}

/// A panic before the stream begins is a mistake of ours like others: nothing of it leaves.
pub(super) async fn unpanicked(
    answer: impl Future<Output = Response>,
    reference: &str,
) -> Response {
    let answered = AssertUnwindSafe(answer).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        tracing::error!(error.reference = reference, "the request panicked");
        ApiError::from(Failure::internal(reference)).into_response()
    })
}

async fn begin(
    app: Arc<App>,
    id: TurnId,
    trace: Trace,
    deployment: Option<String>,
    request: Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    match accept(&app, id, trace, &parts, &mut body).await {
        Ok(accepted) => accepted.respond(app, deployment).await,
        Err(refusal) => {
            let refusal = refusal.referring(&id.reference()).told_to(&parts.headers);
            // A client that is still sending would see a broken connection instead of the refusal.
            let _ = timeout(DRAIN_WITHIN, drain(&mut body)).await;
            refusal.into_response()
        }
    }
}

/// A request that will be answered.
pub(super) struct Accepted {
    pub(super) turn: ChatTurn,
    pub(super) verification: Verification,
    /// What the caller asks for, or people write in.
    language: Language,
    /// The one that the turn has from here on.
    pub(super) coordinator: Arc<Coordinator>,
    stream: bool,
    model: Option<String>,
}

/// Size, then credentials, then content: what costs least to refuse is refused first.
pub(super) async fn accept(
    app: &App,
    id: TurnId,
    trace: Trace,
    parts: &Parts,
    body: &mut Body,
) -> Result<Accepted, ApiError> {
    let admitted = admit(app, parts, body).await?;
    let request = ChatRequest::read(&admitted.body, app.caps.messages)?;
    let coordinator = app.coordinator();
    let budget = configuration::budget(&request.configuration)?;
    let choice = configuration::choice(&coordinator, &request.configuration)?;
    let overrides = configuration::overrides(&coordinator, &request.configuration)?;
    let what_if = request.configuration.what_if == Some(true);
    let conversation = header(&parts.headers, "x-conversation-id").map(|id| {
        id.get(..id.floor_char_boundary(CONVERSATION_CAP))
            .unwrap_or_default()
            .to_owned()
    });
    let language = language::of_turn(&request.messages, &parts.headers);
    let messages = request.messages;
    let turn = admitted.turn(app, (id, trace), parts, messages, (conversation, budget))?;
    Ok(Accepted {
        turn: ChatTurn {
            choice,
            overrides,
            what_if: what_if || turn.what_if,
            ..turn
        },
        verification: admitted.verification,
        language,
        coordinator,
        stream: request.stream,
        model: request.model,
    })
}

impl Accepted {
    async fn respond(self, app: Arc<App>, deployment: Option<String>) -> Response {
        let mut model = self
            .model
            .or(deployment)
            .unwrap_or_else(|| "mas-coordinator".into());
        // It is repeated in every chunk.
        model.truncate(model.floor_char_boundary(MODEL_CAP));
        let sink = AnswerSink::new(&self.turn.id.to_string(), self.turn.received_at.0, &model)
            .buffered(app.caps.buffer);
        sink.speak(self.language);
        let reference = self.turn.id.reference();
        let heartbeat = app.times.heartbeat.filter(|_| self.stream);
        let statuses = app.statuses;
        let turn = {
            let (sink, turn, verification) = (sink.clone(), self.turn, self.verification);
            // It holds the whole turn: that is moved as a pointer from here on.
            async move {
                let coordinator = self.coordinator;
                let answer = Box::pin(coordinator.answer(turn, verification, sink));
                app.beside(answer).await;
            }
        };
        let body = TurnBody::new(turn, sink, heartbeat, reference.clone());
        if self.stream {
            streamed(Body::new(body))
        } else {
            block(body, &reference, &statuses).await
        }
    }
}

pub(super) fn streamed(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The same chunks, folded as they come.
async fn block(body: TurnBody, reference: &str, statuses: &Statuses) -> Response {
    let (mut body, mut fold) = (Body::new(body), Fold::default());
    while let Some(piece) = next(&mut body).await {
        fold.push(&piece);
    }
    match fold.end() {
        Folded::Broken => ApiError::from(Failure::internal(reference)).into_response(),
        Folded::Answer(answer) => Json(answer).into_response(),
        Folded::Error(error) => {
            let (code, wait) = (error::code_of(&error), error::retry_after_of(&error));
            error::answer(code, wait, statuses, Json(json!({"error": error})))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_before_the_stream_is_a_500_that_leaks_nothing() {
        let panics = async { panic!("SECRET-INTERNAL") };
        let response = unpanicked(panics, "1a2b3c4d").await;
        assert_eq!(response.status().as_u16(), 500);
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.contains("internal_error") && text.contains("1a2b3c4d"),
            "{text}"
        );
        assert!(!text.contains("SECRET"), "{text}");
    }
}
