//! The chat endpoint: a body into a turn, the turn into a stream or into one block.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::Body as _;
use percent_encoding::percent_decode_str;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use url::form_urlencoded;

use super::error::{self, ApiError, Statuses};
use super::{
    App, FunctionTime, auth, configuration, language, not_found, now, trace, wrong_method_for,
};
use crate::coordinator::{Coordinator, Verification};
use crate::dial::fold::{Fold, Folded};
use crate::dial::request::ChatRequest;
use crate::domain::access::Role;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::TurnId;
use crate::domain::language::Language;
use crate::domain::sentences;
use crate::domain::trace::{TRACE_ID, Trace};
use crate::domain::turn::{Caller, ChatTurn, DEPTH};
use crate::resilience::deadline;
use crate::stream::{AnswerSink, TurnBody};
use crate::telemetry;

/// How much of a refused body is still taken, and for how long.
const DRAIN_CAP: usize = 32 * 1024 * 1024;
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
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
    if parts.method != Method::POST {
        return Err(wrong_method_for("POST"));
    }
    check_media(&parts.headers)?;
    let length =
        header(&parts.headers, CONTENT_LENGTH.as_str()).and_then(|value| value.parse().ok());
    if length.is_some_and(|length: usize| length > app.caps.body) {
        return Err(too_large(app.caps.body).into());
    }
    let key = auth::key(&parts.headers);
    let verification = app.auth.verify(&parts.headers, Role::User, now())?;
    let body = timeout(BODY_WITHIN, read(body, app.caps.body))
        .await
        .map_err(|_| too_slow())??;
    let request = ChatRequest::read(&body, app.caps.messages)?;
    let coordinator = app.coordinator();
    let budget = configuration::budget(&request.configuration)?;
    let choice = configuration::choice(&coordinator, request.configuration)?;
    let depth = depth(&parts.headers);
    if depth > app.depth {
        return Err(too_deep().into());
    }
    let conversation = header(&parts.headers, "x-conversation-id").map(|id| {
        id.get(..id.floor_char_boundary(CONVERSATION_CAP))
            .unwrap_or_default()
            .to_owned()
    });
    // The sooner of what the client waits for and what the request allows.
    let patience = [patience(&parts.headers), budget.time()];
    let patience = patience.into_iter().flatten().min();
    let function_left = parts.extensions.get::<FunctionTime>().map(|left| left.0);
    let language = language::of_turn(&request.messages, &parts.headers);
    let turn = ChatTurn {
        id,
        received_at: now(),
        deadline: deadline::of_turn(Instant::now(), &app.times, function_left, patience),
        request: conversation
            .as_ref()
            .map(|conversation| fingerprint(conversation, &body)),
        messages: request.messages.into(),
        choice,
        budget,
        caller: Arc::new(Caller {
            mark: Arc::default(),
            key,
            conversation,
            depth,
            api_version: api_version(parts.uri.query().unwrap_or_default()),
            trace: Some(trace),
        }),
    };
    Ok(Accepted {
        turn,
        verification,
        language,
        coordinator,
        stream: request.stream,
        model: request.model,
    })
}

/// The body, if it keeps to the cap.
async fn read(body: &mut Body, cap: usize) -> Result<BytesMut, Failure> {
    let mut read = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        let Ok(piece) = frame.map_err(|_| broken_off())?.into_data() else {
            continue;
        };
        read.extend_from_slice(&piece);
        if read.len() > cap {
            return Err(too_large(cap));
        }
    }
    Ok(read)
}

/// Takes what is left of a body and throws it away, up to a point.
async fn drain(body: &mut Body) {
    let mut left = DRAIN_CAP;
    while left > 0
        && let Some(piece) = next(body).await
    {
        left = left.saturating_sub(piece.len());
    }
}

/// The next piece; a client that left has no more.
async fn next(body: &mut Body) -> Option<Bytes> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        if let Ok(piece) = frame.ok()?.into_data() {
            return Some(piece);
        }
    }
}

/// How long the caller wants to wait, in seconds.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = header(headers, "x-request-timeout")?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|patience| !patience.is_zero())
}

/// How many coordinators have passed the request on. The header is anybody's: it can only make the own request fail.
fn depth(headers: &HeaderMap) -> u32 {
    header(headers, DEPTH).map_or(0, |value| value.parse().unwrap_or(u32::MAX))
}

fn too_deep() -> Failure {
    Failure::new(
        Code::RecursionLimitExceeded,
        "the request came through too many coordinators",
        sentences::circles(),
    )
}

/// Tells a request that comes twice from another one. Only its digest is kept.
fn fingerprint(conversation: &str, body: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update((conversation.len() as u64).to_be_bytes());
    digest.update(conversation.as_bytes());
    digest.update(body);
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

fn check_media(headers: &HeaderMap) -> Result<(), Failure> {
    let unsupported = |message| {
        Failure::new(
            Code::UnsupportedMediaType,
            message,
            sentences::not_understood(),
        )
    };
    let json = header(headers, CONTENT_TYPE.as_str())
        .is_some_and(|value| value.to_ascii_lowercase().contains("application/json"));
    if !json {
        return Err(unsupported("the content type must be application/json"));
    }
    if header(headers, CONTENT_ENCODING.as_str()).is_some_and(|value| value != "identity") {
        return Err(unsupported("the body must not be compressed"));
    }
    Ok(())
}

/// Even if what came could be read as a whole: who knows what was to follow, or where the next request begins.
fn broken_off() -> Failure {
    Failure::new(
        Code::InvalidRequest,
        "the body broke off",
        sentences::not_whole(),
    )
}

fn too_slow() -> Failure {
    Failure::new(
        Code::InvalidRequest,
        format!("the body did not arrive within {BODY_WITHIN:?}"),
        sentences::not_in_time(),
    )
}

fn too_large(cap: usize) -> Failure {
    Failure::new(
        Code::RequestTooLarge,
        format!("the body is larger than {cap} bytes"),
        sentences::too_large(),
    )
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)?
        .to_str()
        .ok()
        .filter(|value| !value.is_empty())
}

fn api_version(query: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "api-version" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
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
                app.live.beside(answer).await;
            }
        };
        let body = TurnBody::new(turn, sink, heartbeat, reference.clone());
        if self.stream {
            streamed(body)
        } else {
            block(body, &reference, &statuses).await
        }
    }
}

fn streamed(body: TurnBody) -> Response {
    let mut response = Response::new(Body::new(body));
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
