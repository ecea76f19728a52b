//! Calls to models, agents and DIAL Core: one request, its limits, its body or its events.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use reqwest::{Method, Response};
use tokio::time::{Instant, timeout_at};

use super::delta::WireError;
use super::sse::{self, Decoder};
use crate::domain::ids::Secret;
use crate::domain::turn::Caller;

/// Sent to DIAL Core when the caller named none: GPA and some adapters pass it on and need it.
const DEFAULT_API_VERSION: &str = "2025-01-01-preview";

/// What is escaped in one path segment or query value; dots, dashes and underscores of ids stay readable.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One value as one segment of a path.
pub fn segment(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, SEGMENT)
}

/// The most that is read of one answer, and of one error answer, in bytes.
const ANSWER_CAP: usize = 16 * 1024 * 1024;
const ERROR_CAP: usize = 64 * 1024;

/// How long a call may take, apart from the connection's own limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the first byte of the body.
    pub first_byte: Duration,
    /// Between two reads of the body.
    pub idle: Duration,
    /// The end of the turn.
    pub until: Instant,
}

/// Why a call gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the connection failed")]
    Connect(#[source] reqwest::Error),
    #[error("the request could not be made")]
    Request(#[source] reqwest::Error),
    #[error("there was no answer within {0:?}")]
    Silent(Duration),
    #[error("the turn's time was used up")]
    Deadline,
    #[error("the answer was status {status}")]
    Status { status: u16, error: WireError },
    #[error("the answer broke off")]
    BrokeOff(#[source] reqwest::Error),
    #[error("the stream ended without its end mark")]
    Truncated,
    #[error("the answer cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
    #[error("the answer is longer than {ANSWER_CAP} bytes")]
    TooLong,
    /// An error event, after which nothing said before counts as complete.
    #[error("the stream announced an error")]
    Announced(WireError),
}

impl Error {
    /// True when the peer was silent rather than wrong.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Deadline)
    }

    /// What the peer itself said to people, if it did; cut, since it comes from outside.
    pub fn display_message(&self) -> Option<String> {
        let (Self::Status { error, .. } | Self::Announced(error)) = self else {
            return None;
        };
        Some(error.display_message.as_ref()?.chars().take(500).collect())
    }
}

/// One call to make.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    /// JSON, for a method that has a body.
    pub body: Option<Bytes>,
    pub limits: Limits,
}

impl Call {
    pub fn post(url: String, body: Vec<u8>, limits: Limits) -> Self {
        Self {
            method: Method::POST,
            url,
            headers: HeaderMap::new(),
            body: Some(body.into()),
            limits,
        }
    }

    pub fn get(url: String, limits: Limits) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            limits,
        }
    }

    /// A chat completion of a deployment through DIAL Core, with the caller's per-request key: the only place it goes.
    pub fn deployment(
        core: &str,
        name: &str,
        caller: &Caller,
        body: Vec<u8>,
        limits: Limits,
    ) -> Self {
        let name = segment(name);
        let version = caller.api_version.as_deref().unwrap_or(DEFAULT_API_VERSION);
        let version = segment(version);
        let call = Self::post(
            format!("{core}/openai/deployments/{name}/chat/completions?api-version={version}"),
            body,
            limits,
        )
        .traced(caller);
        match &caller.key {
            Some(key) => call.secret("api-key", "", key),
            None => call,
        }
    }

    /// Passes the caller's trace context on.
    #[must_use]
    pub fn traced(self, caller: &Caller) -> Self {
        caller
            .trace
            .iter()
            .fold(self, |call, (name, value)| call.header(name, value))
    }

    /// Adds a header; a value that cannot be one is left out rather than sent altered.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a credential, marked so that it is never printed.
    #[must_use]
    pub fn secret(mut self, name: &'static str, prefix: &str, value: &Secret) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(&format!("{prefix}{}", value.expose())) {
            value.set_sensitive(true);
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}

/// The one HTTP client of the process. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// `connect` bounds each connection attempt. Redirects are never followed and nothing is decompressed.
    pub fn new(connect: Duration) -> Result<Self, Error> {
        let roots = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .cloned()
            .collect::<rustls::RootCertStore>();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Unreadable(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(connect)
            // Below the 5 s after which uvicorn, which serves most agents, closes an idle connection.
            .pool_idle_timeout(Duration::from_secs(4))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(Error::Request)?;
        Ok(Self { http })
    }

    /// Makes the call and reads the whole body.
    pub async fn body(&self, call: Call) -> Result<Bytes, Error> {
        let mut answer = self.send(call).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = answer.read().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Makes the call and reads its events. A plain JSON answer counts as one event and its end mark.
    pub async fn events(&self, call: Call) -> Result<Events, Error> {
        let answer = self.send(call).await?;
        let json = answer
            .response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        Ok(Events {
            answer,
            decoder: Decoder::default(),
            block: json.then(BytesMut::new),
            ended: false,
        })
    }

    async fn send(&self, call: Call) -> Result<Answer, Error> {
        let Call {
            method,
            url,
            headers,
            body,
            limits,
        } = call;
        let mut request = self
            .http
            .request(method, url)
            .headers(headers)
            .header(ACCEPT_ENCODING, "identity");
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let first_byte = Instant::now() + limits.first_byte;
        let response = within(first_byte, limits.first_byte, limits.until, request.send())
            .await?
            .map_err(|error| {
                if error.is_connect() {
                    Error::Connect(error)
                } else if error.is_builder() {
                    Error::Request(error)
                } else {
                    Error::BrokeOff(error)
                }
            })?;
        let answer = Answer {
            response,
            limits,
            first_byte: Some(first_byte),
            read: 0,
        };
        let status = answer.response.status();
        if !status.is_success() || status.as_u16() == 204 {
            return Err(answer.refusal().await);
        }
        let encoding = answer.response.headers().get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Error::Compressed);
        }
        Ok(answer)
    }
}

/// Waits for `work` until `by`, or until the turn ends, whichever is sooner.
async fn within<T>(
    by: Instant,
    limit: Duration,
    until: Instant,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    timeout_at(by.min(until), work).await.map_err(|_| {
        if until <= by {
            Error::Deadline
        } else {
            Error::Silent(limit)
        }
    })
}

struct Answer {
    response: Response,
    limits: Limits,
    /// When the first byte of the body is due; `None` once it has come.
    first_byte: Option<Instant>,
    read: usize,
}

impl Answer {
    async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        let (by, limit) = match self.first_byte {
            Some(by) => (by, self.limits.first_byte),
            None => (Instant::now() + self.limits.idle, self.limits.idle),
        };
        let piece = within(by, limit, self.limits.until, self.response.chunk())
            .await?
            .map_err(Error::BrokeOff)?;
        self.first_byte = None;
        self.read += piece.as_ref().map_or(0, Bytes::len);
        if self.read > ANSWER_CAP {
            return Err(Error::TooLong);
        }
        Ok(piece)
    }

    /// The error that a bad status means, with as much of its body as is worth reading.
    async fn refusal(mut self) -> Error {
        let status = self.response.status().as_u16();
        let mut body = BytesMut::new();
        while body.len() < ERROR_CAP
            && let Ok(Some(piece)) = self.read().await
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(ERROR_CAP);
        if let Some(after) = self.response.headers().get(RETRY_AFTER) {
            tracing::debug!(http.status = status, retry_after = ?after, "the peer asks for patience");
        }
        Error::Status {
            status,
            error: WireError::of_body(&body),
        }
    }
}

/// The events of one answer, in order.
pub struct Events {
    answer: Answer,
    decoder: Decoder,
    /// Collects a plain JSON answer.
    block: Option<BytesMut>,
    ended: bool,
}

impl Events {
    /// The next event's data; `None` after `[DONE]`. An end without it is [`Error::Truncated`].
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some(data) = self.decoder.next_event().map_err(unreadable)? {
                if &*data == b"[DONE]" {
                    self.ended = true;
                    return Ok(None);
                }
                return Ok(Some(text(data)));
            }
            match (self.answer.read().await?, &mut self.block) {
                (Some(piece), None) => self.decoder.push(&piece),
                (Some(piece), Some(block)) => block.extend_from_slice(&piece),
                (None, Some(block)) => {
                    self.ended = true;
                    return Ok(Some(text(block.split().freeze())));
                }
                (None, None) => return Err(Error::Truncated),
            }
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn unreadable(error: sse::Error) -> Error {
    Error::Unreadable(Box::new(error))
}

/// Bytes as text: invalid UTF-8 is replaced, never an obstacle.
fn text(data: Bytes) -> String {
    String::from_utf8(data.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Asks whether anything answers at an address: any status but a server error will do.
pub async fn probe(client: &Client, url: String, until: Instant) -> Result<(), Error> {
    let limits = Limits {
        first_byte: until.saturating_duration_since(Instant::now()),
        idle: until.saturating_duration_since(Instant::now()),
        until,
    };
    match client.body(Call::get(url, limits)).await {
        Err(Error::Status { status, .. }) if status < 500 => Ok(()),
        other => other.map(drop),
    }
}
