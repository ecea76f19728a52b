//! One answer being read: its head, its body or its events, each within its caps.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, ETAG, HeaderMap, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use super::call::Limits;
use super::connections::Lease;
use super::error::Error;
use crate::dial::delta::WireError;
use crate::dial::sse::{self, Decoder};
use crate::dial::surrogate;
use crate::domain::rules::Caps;

/// An answer that comes whole is held in memory whole, and again as what it says: it may be as long as so many events.
const BLOCK: usize = 2;

/// What a peer says beside a bad status is not worth more time than this: the status is known, and another may be asked.
const ERROR_WITHIN: Duration = Duration::from_secs(2);

/// `Retry-After` in seconds, or as a date compared with the peer's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let value = text(RETRY_AFTER)?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number beyond any integer is a long time too.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(text(DATE)?).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

/// Waits for `work` until `by`, or until the turn ends, whichever is sooner.
pub(super) async fn within<T>(
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

/// The head of an answer, and its body piece by piece.
pub(super) struct Answer {
    response: Response,
    /// Held until the answer is over.
    _lease: Lease,
    limits: Limits,
    caps: Caps,
    /// When the first byte of the body is due; `None` once it has come.
    first_byte: Option<Instant>,
    read: usize,
}

impl Answer {
    pub fn new(
        response: Response,
        lease: Lease,
        limits: Limits,
        caps: Caps,
        first_byte: Instant,
    ) -> Self {
        Self {
            response,
            _lease: lease,
            limits,
            caps,
            first_byte: Some(first_byte),
            read: 0,
        }
    }

    /// The answer, if its head says that it is one.
    pub async fn good(self) -> Result<Self, Error> {
        let headers = self.response.headers();
        let size: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if size > self.caps.headers {
            return Err(Error::Headers(self.caps.headers));
        }
        let status = self.response.status();
        if !status.is_success() || status.as_u16() == 204 {
            return Err(self.refusal().await);
        }
        let encoding = headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Error::Compressed);
        }
        Ok(self)
    }

    /// What names this version of what is answered.
    pub fn tag(&self) -> Option<String> {
        let tag = self.response.headers().get(ETAG)?.to_str().ok()?;
        Some(tag.to_owned())
    }

    /// The whole body, of an answer that is one piece of JSON.
    pub async fn block(mut self) -> Result<Bytes, Error> {
        let mut block = BytesMut::new();
        while let Some(piece) = self.read().await? {
            self.append(&mut block, &piece)?;
        }
        Ok(block.freeze())
    }

    /// Events in order. A plain JSON answer counts as one event and its end mark.
    pub fn events(self) -> Events {
        let json = (self.response.headers().get(CONTENT_TYPE))
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        Events {
            decoder: Decoder::new(self.caps.line, self.caps.event),
            block: json.then(BytesMut::new),
            ended: false,
            answer: self,
        }
    }

    fn append(&self, block: &mut BytesMut, piece: &[u8]) -> Result<(), Error> {
        let cap = self.caps.answer.min(self.caps.event * BLOCK);
        if block.len() + piece.len() > cap {
            return Err(Error::TooLong(cap));
        }
        block.extend_from_slice(piece);
        Ok(())
    }

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
        if self.read > self.caps.answer {
            return Err(Error::TooLong(self.caps.answer));
        }
        Ok(piece)
    }

    /// The error that a bad status means, with as much of its body as is worth reading.
    async fn refusal(mut self) -> Error {
        let status = self.response.status().as_u16();
        let mut body = BytesMut::new();
        let by = Instant::now() + ERROR_WITHIN;
        while body.len() < self.caps.error
            && let Ok(Ok(Some(piece))) = timeout_at(by, self.read()).await
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(self.caps.error);
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
                (Some(piece), Some(block)) => self.answer.append(block, &piece)?,
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
