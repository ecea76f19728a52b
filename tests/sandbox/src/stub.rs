//! A programmable upstream for tests: it answers each request as told, byte for byte, and remembers what it was asked.

use std::fmt::{self, Debug};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;

use crate::server::Server;

mod reply;

pub use reply::Reply;

/// A stand-in that answers each request as told and remembers what it was asked. Dropping it stops it.
pub struct Stub {
    server: Server,
    desk: Arc<Desk>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

struct Desk {
    answer: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
}

/// Counts an answer as in flight for as long as it lives.
struct Open(Arc<Desk>);

impl Stub {
    pub async fn start(
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let desk = Arc::new(Desk {
            answer: Box::new(answer),
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
        });
        let router = Router::new()
            .fallback(respond)
            .with_state(Arc::clone(&desk));
        let server = Server::start(0, router).await?;
        Ok(Self { server, desk })
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The requests so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.desk
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers that have neither ended nor been dropped, waits before the status line included.
    pub fn in_flight(&self) -> usize {
        self.desk.open.load(Ordering::SeqCst)
    }
}

impl Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// The first header of this name, which must be given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Open {
    fn new(desk: Arc<Desk>) -> Self {
        desk.open.fetch_add(1, Ordering::SeqCst);
        Self(desk)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn respond(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let seen = Seen {
        method: head.method.to_string(),
        path: head
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .to_owned(),
        headers: headers.collect(),
        body,
    };
    desk.seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(seen.clone());
    let open = Open::new(Arc::clone(&desk));
    let reply = (desk.answer)(&seen);
    reply.into_response(open).await
}

#[cfg(test)]
mod tests;
