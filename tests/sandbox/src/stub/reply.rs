//! What a stub answers: a status, headers, and a body in steps.

use std::fmt::Display;
use std::io;
use std::time::Duration;
use std::vec::IntoIter;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use crate::wire;

/// What to answer, built up from steps.
#[derive(Clone, Debug)]
#[must_use]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    delay: Duration,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Piece(Bytes),
    Pause(Duration),
    Cut,
    Hang,
}

impl Reply {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "tests write the value in place"
    )]
    pub fn json(status: u16, body: Value) -> Self {
        Self::raw(status, "application/json", body.to_string())
    }

    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::raw(status, "text/plain; charset=utf-8", body.into())
    }

    /// An event stream without events yet.
    pub fn sse() -> Self {
        Self::empty(200).header("content-type", wire::EVENT_STREAM)
    }

    pub fn raw(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::empty(status)
            .header("content-type", content_type)
            .bytes(body)
    }

    /// A captured answer: header lines, an empty line, the body. A relative path is looked up in `tests/samples`.
    ///
    /// Framing headers are made anew; event streams are split into their events. A capture of a broken connection
    /// needs its `cut()` added.
    pub fn sample(file: &str) -> Self {
        let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");
        let path = std::path::Path::new(samples).join(file);
        match std::fs::read(&path) {
            Ok(capture) => Self::captured(capture),
            Err(error) => Self::text(
                500,
                format!("the sample {} is not readable: {error}", path.display()),
            ),
        }
    }

    /// Sets a header, in place of an earlier one of that name. A name or value that HTTP does not allow is left out.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// One event: `data: {event}` and an empty line.
    pub fn data(self, event: impl Display) -> Self {
        self.bytes(wire::event(event))
    }

    /// A piece of the body as it is, sent as its own chunk.
    pub fn bytes(self, piece: impl Into<Bytes>) -> Self {
        self.step(Step::Piece(piece.into()))
    }

    /// A wait before the next piece.
    pub fn pause(self, wait: Duration) -> Self {
        self.step(Step::Pause(wait))
    }

    /// The event `[DONE]`.
    pub fn done(self) -> Self {
        self.bytes(wire::DONE)
    }

    /// Breaks the connection here: the body never ends properly.
    pub fn cut(self) -> Self {
        self.step(Step::Cut)
    }

    /// Never goes on, until the peer leaves.
    pub fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// A wait before the status line.
    pub fn delay(mut self, wait: Duration) -> Self {
        self.delay = wait;
        self
    }

    fn empty(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: HeaderMap::new(),
            delay: Duration::ZERO,
            steps: Vec::new(),
        }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub(super) fn captured(capture: impl Into<Bytes>) -> Self {
        let mut body = capture.into();
        let head = split_after(&mut body, b"\r\n\r\n").unwrap_or_default();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut reply = Self::empty(status.and_then(|code| code.parse().ok()).unwrap_or(500));
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = name.to_lowercase();
            if !["date", "server", "content-length", "transfer-encoding"].contains(&name.as_str()) {
                reply = reply.header(&name, value.trim());
            }
        }
        if is_event_stream(&reply.headers) {
            while let Some(event) = split_after(&mut body, b"\n\n") {
                reply = reply.bytes(event);
            }
        }
        if body.is_empty() {
            reply
        } else {
            reply.bytes(body)
        }
    }

    /// Waits as told, then answers. What is given is held until the answer has ended or was dropped.
    pub(super) async fn into_response(mut self, held: impl Send + 'static) -> Response {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let mut response = Response::default();
        *response.status_mut() = self.status;
        std::mem::swap(response.headers_mut(), &mut self.headers);
        *response.body_mut() = match self.steps.as_slice() {
            // whole answers get a length, everything else goes out in chunks
            [Step::Piece(whole)] if !is_event_stream(response.headers()) => {
                Body::from(whole.clone())
            }
            _ => Body::from_stream(stream::unfold((self.steps.into_iter(), held), advance)),
        };
        response
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

type Rest<H> = (IntoIter<Step>, H);

async fn advance<H>((mut steps, held): Rest<H>) -> Option<(io::Result<Bytes>, Rest<H>)> {
    loop {
        match steps.next()? {
            Step::Piece(piece) => {
                // lets the server write the previous piece out, so that this one is a chunk in a packet of its own
                tokio::task::yield_now().await;
                return Some((Ok(piece), (steps, held)));
            }
            Step::Pause(wait) => tokio::time::sleep(wait).await,
            Step::Cut => {
                // likewise: an error throws away what has not been written yet
                tokio::task::yield_now().await;
                return Some((Err(io::Error::other("told to break off")), (steps, held)));
            }
            Step::Hang => std::future::pending().await,
        }
    }
}

/// Takes everything up to and including the first `end`.
fn split_after(bytes: &mut Bytes, end: &[u8]) -> Option<Bytes> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some(bytes.split_to(at + end.len()))
}
