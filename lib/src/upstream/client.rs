//! Calls to models, agents and DIAL Core: one request, its limits, its body or its events.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER,
};
use tokio::time::{Instant, timeout_at};

use super::call::{Call, Limits};
use crate::dial::delta::WireError;
use crate::dial::sse::{self, Decoder};
use crate::dial::surrogate;
use crate::resilience::breaker::Outcome;
use crate::resilience::retry::{Failure, Repeat, Retry};

/// The most that is read of one answer, and of one error answer, in bytes.
const ANSWER_CAP: usize = 16 * 1024 * 1024;
const ERROR_CAP: usize = 64 * 1024;

/// Why a call gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Causes carry no address: they go to the log.
    #[error("the connection failed")]
    Connect(#[source] reqwest::Error),
    #[error("the request could not be made")]
    Request(#[source] reqwest::Error),
    /// The connection broke before anything of the answer came.
    #[error("there was no answer")]
    Reset(#[source] reqwest::Error),
    #[error("there was no answer within {0:?}")]
    Silent(Duration),
    #[error("the turn's time was used up")]
    Deadline,
    #[error("the answer was status {status} (code {})", error.code.as_deref().unwrap_or("none"))]
    Status {
        status: u16,
        error: WireError,
        /// When the peer wants to be asked again.
        retry_after: Option<Duration>,
    },
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
    /// What this says about another attempt.
    fn verdict(&self) -> Failure {
        match self {
            Self::Connect(_) => Failure::Unsent,
            Self::Reset(_) => Failure::Transient { after: None },
            Self::Status {
                status: 429 | 502..=504,
                retry_after,
                ..
            } => Failure::Transient {
                after: *retry_after,
            },
            _ => Failure::Final,
        }
    }

    /// What this says about the peer. What a caller did wrong says nothing; `out_of_time` is what it says that the turn
    /// ended during the call.
    pub fn outcome(&self, out_of_time: Outcome) -> Outcome {
        let of_status = |status, after| match status {
            429 => Outcome::Limited { after },
            400..=499 => Outcome::Ignored,
            _ => Outcome::Failure { after },
        };
        match self {
            _ if self.is_filtered() => Outcome::Ignored,
            Self::Deadline => out_of_time,
            Self::Request(_) => Outcome::Ignored,
            Self::Status {
                status,
                retry_after,
                ..
            } => of_status(*status, *retry_after),
            // Some say the status in the error's code.
            Self::Announced(error) => {
                let status = error.code.as_ref().and_then(|code| code.parse().ok());
                of_status(status.unwrap_or(500), None)
            }
            _ => Outcome::Failure { after: None },
        }
    }

    /// True when the same call may go well at another address: nothing of an answer was used, and it was not the
    /// request that was wrong.
    pub fn may_go_elsewhere(&self) -> bool {
        !matches!(self, Self::Deadline | Self::Announced(_))
            && !matches!(
                self.outcome(Outcome::Ignored),
                Outcome::Ignored | Outcome::Success
            )
    }

    /// True when the peer was silent rather than wrong.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Deadline)
    }

    /// True when the peer withheld its answer, which some say by a status and some by an error event.
    pub fn is_filtered(&self) -> bool {
        matches!(self, Self::Status { error, .. } | Self::Announced(error)
            if error.code.as_deref() == Some("content_filter"))
    }

    /// What the peer itself said to people, if it did; cut, since it comes from outside.
    pub fn display_message(&self) -> Option<String> {
        let (Self::Status { error, .. } | Self::Announced(error)) = self else {
            return None;
        };
        Some(error.display_message.as_ref()?.chars().take(500).collect())
    }
}

/// The one HTTP client of the process. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    pooled: reqwest::Client,
    /// A new connection for every call: one that was idle may be dead, and what was sent on it cannot be sent again.
    fresh: reqwest::Client,
    retry: Arc<Retry>,
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
        let build = |idle_connections| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(connect)
                .pool_max_idle_per_host(idle_connections)
                // Below the 5 s after which uvicorn, which serves most agents, closes an idle connection.
                .pool_idle_timeout(Duration::from_secs(4))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .tcp_nodelay(true)
                .no_proxy()
                .build()
                .map_err(Error::Request)
        };
        Ok(Self {
            pooled: build(usize::MAX)?,
            fresh: build(0)?,
            retry: Arc::new(Retry::new(Instant::now())),
        })
    }

    /// Makes the call and reads the whole body.
    pub async fn body(&self, call: Call) -> Result<Bytes, Error> {
        let mut answer = self.answer(call).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = answer.read().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// Makes the call and reads its events. A plain JSON answer counts as one event and its end mark.
    pub async fn events(&self, call: Call) -> Result<Events, Error> {
        let answer = self.answer(call).await?;
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

    /// The head of an answer, after as many attempts as the call allows. What follows is never asked for again.
    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let (repeat, until) = (call.repeat, call.limits.until);
        self.retry
            .run(repeat, until, Error::verdict, || self.send(call.clone()))
            .await
    }

    async fn send(&self, call: Call) -> Result<Answer, Error> {
        let Call {
            method,
            url,
            headers,
            body,
            limits,
            repeat,
        } = call;
        let http = match repeat {
            Repeat::Unsent => &self.fresh,
            Repeat::Never | Repeat::Freely => &self.pooled,
        };
        let mut request = http
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
                let error = error.without_url();
                if error.is_connect() {
                    Error::Connect(error)
                } else if error.is_builder() {
                    Error::Request(error)
                } else {
                    Error::Reset(error)
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

/// `Retry-After` in seconds, or as a date compared with the peer's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let value = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(text(DATE)?).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
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
            .map_err(|error| Error::BrokeOff(error.without_url()))?;
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
        Error::Status {
            status,
            error: WireError::of_body(&body),
            retry_after: retry_after(self.response.headers()),
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
                if is_end(&data) {
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
                (None, None) => {
                    // A sender may close right after its end mark; anything else that is left is cut off.
                    self.decoder.push(b"\n\n");
                    let rest = self.decoder.next_event().map_err(unreadable)?;
                    if !rest.is_some_and(|data| is_end(&data)) {
                        return Err(Error::Truncated);
                    }
                    self.ended = true;
                    return Ok(None);
                }
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

fn is_end(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Bytes as text: invalid UTF-8 and halves of characters are replaced, never an obstacle.
fn text(data: Bytes) -> String {
    let text = String::from_utf8(data.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match surrogate::mended(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(mended) => mended,
    }
}

/// Asks whether anything answers at an address: any status but a server error will do.
pub async fn probe(client: &Client, url: String, until: Instant) -> Result<(), Error> {
    let limits = Limits {
        first_byte: until.saturating_duration_since(Instant::now()),
        idle: until.saturating_duration_since(Instant::now()),
        until,
    };
    match client
        .body(Call::get(url, limits).repeated(Repeat::Never))
        .await
    {
        Err(Error::Status { status, .. }) if status < 500 => Ok(()),
        other => other.map(drop),
    }
}
