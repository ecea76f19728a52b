//! Writing answers: server-sent events, JSON as Python writes it, `FastAPI`'s standard refusals.

use std::fmt::{Display, Write};
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Serializer, Value, json};

pub(crate) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) fn event(data: impl Display) -> String {
    format!("data: {data}\n\n")
}

/// An answer that streams these events, each in a write of its own.
pub(crate) fn sse(events: impl Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, io::Error>));
    ([(header::CONTENT_TYPE, EVENT_STREAM)], body).into_response()
}

/// The events one by one, with a wait before each.
pub(crate) fn paced(events: Vec<String>, pace: Duration) -> impl Stream<Item = String> + Send {
    stream::iter(events).then(move |event| async move {
        if pace.is_zero() {
            // lets the server write the previous event out
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pace).await;
        }
        event
    })
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, body.to_string()).into_response()
}

/// What a Python service says when it met an exception.
pub(crate) fn internal_server_error() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let body = "Internal Server Error";
    (StatusCode::INTERNAL_SERVER_ERROR, headers, body).into_response()
}

/// Unknown paths and methods, refused as `FastAPI` refuses them; bodies of any size taken.
pub(crate) fn like_fastapi(router: Router) -> Router {
    router
        .fallback(async || json(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"})))
        .method_not_allowed_fallback(async || {
            json(
                StatusCode::METHOD_NOT_ALLOWED,
                &json!({"detail": "Method Not Allowed"}),
            )
        })
        .layer(axum::extract::DefaultBodyLimit::disable())
}

/// JSON text with every character outside ASCII written as `\uXXXX`, in surrogate pairs where needed.
pub(crate) fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // writing to a string cannot fail
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// JSON as Python's `json.dumps` writes it: a blank after each comma and colon, ASCII only.
pub(crate) fn dumps(value: &Value) -> String {
    let mut out = Vec::new();
    match value.serialize(&mut Serializer::with_formatter(&mut out, Blanks)) {
        Ok(()) => ascii(&String::from_utf8_lossy(&out)),
        Err(_) => ascii(&value.to_string()),
    }
}

struct Blanks;

impl Formatter for Blanks {
    fn begin_array_value<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.begin_array_value(out, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_writes_as_python_does() {
        let value = json!({"choices": [{"delta": {"content": "Світ 😀\n"}, "index": 0}, 1], "x": [], "y": {}});
        assert_eq!(
            dumps(&value),
            r#"{"choices": [{"delta": {"content": "\u0421\u0432\u0456\u0442 \ud83d\ude00\n"}, "index": 0}, 1], "x": [], "y": {}}"#
        );
    }
}
