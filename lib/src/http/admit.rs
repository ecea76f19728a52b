//! What every request for an answer goes through: size, credentials, body, and the turn that it begins.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};
use url::form_urlencoded;

use super::error::ApiError;
use super::{App, FunctionTime, auth, now, wrong_method_for};
use crate::coordinator::Verification;
use crate::domain::access::Role;
use crate::domain::budget::Budget;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Secret, TurnId};
use crate::domain::message::Message;
use crate::domain::overrides::Overrides;
use crate::domain::sentences;
use crate::domain::trace::Trace;
use crate::domain::turn::{Caller, ChatTurn, DEPTH};
use crate::domain::what_if;
use crate::resilience::deadline;

/// How much of a refused body is still taken, and for how long.
const DRAIN_CAP: usize = 32 * 1024 * 1024;
pub(super) const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// A request whose sender and size may be, and its body.
pub(super) struct Admitted {
    pub(super) body: BytesMut,
    pub(super) verification: Verification,
    key: Option<Secret>,
}

/// Size, then credentials, then content: what costs least to refuse is refused first.
pub(super) async fn admit(app: &App, parts: &Parts, body: &mut Body) -> Result<Admitted, ApiError> {
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
    Ok(Admitted {
        body,
        verification,
        key,
    })
}

impl Admitted {
    /// The turn that these messages begin, in a conversation that the client names.
    pub(super) fn turn(
        &self,
        app: &App,
        (id, trace): (TurnId, Trace),
        parts: &Parts,
        messages: Vec<Message>,
        (conversation, budget): (Option<String>, Budget),
    ) -> Result<ChatTurn, Failure> {
        let depth = depth(&parts.headers);
        if depth > app.depth {
            return Err(too_deep());
        }
        let mut messages = what_if::left_out(messages);
        let asks = messages.last().and_then(what_if::request);
        let what_if = asks.is_some();
        if let (Some(last), Some(request)) = (messages.last_mut(), asks) {
            *last = request;
        }
        let function_left = parts.extensions.get::<FunctionTime>().map(|left| left.0);
        Ok(ChatTurn {
            id,
            received_at: now(),
            deadline: deadline::of_turn(
                Instant::now(),
                &app.times,
                function_left,
                // The sooner of what the client waits for and what the request allows.
                [patience(&parts.headers), budget.time()]
                    .into_iter()
                    .flatten()
                    .min(),
            ),
            request: conversation
                .as_ref()
                .map(|conversation| fingerprint(conversation, &self.body)),
            messages: messages.into(),
            choice: None,
            budget,
            overrides: Overrides::default(),
            what_if,
            caller: Arc::new(Caller {
                mark: Arc::default(),
                owner: Arc::default(),
                key: self.key.clone(),
                conversation,
                depth,
                api_version: api_version(parts.uri.query().unwrap_or_default()),
                trace: Some(trace),
            }),
        })
    }
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
pub(super) async fn drain(body: &mut Body) {
    let mut left = DRAIN_CAP;
    while left > 0
        && let Some(piece) = next(body).await
    {
        left = left.saturating_sub(piece.len());
    }
}

/// The next piece; a client that left has no more.
pub(super) async fn next(body: &mut Body) -> Option<Bytes> {
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

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
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
