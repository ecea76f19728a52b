//! AWS Lambda's Runtime API for a real function binary: events go out, answers are watched until the freeze point.
//!
//! Unlike the emulators, and like Lambda, it takes the answer's whole body before it acknowledges it, so the function
//! asks for its next event only when the body has ended. From that poll on, Lambda would freeze the process.

use std::fmt::{self, Debug};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::{Body as _, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::server::Server;
use crate::{clock, wire};

mod answer;
mod event;
mod prelude;

pub use answer::{Answer, Chunk, Invocation};
pub use event::FunctionUrlEvent;
pub use prelude::Prelude;

use answer::Step;
use prelude::Reading;

/// What `cargo lambda watch` sends as deadline: ten minutes after 1970, in milliseconds.
const EMULATORS_DEADLINE: u128 = 600_000;

const STREAMING: &str = "application/vnd.awslambda.http-integration-response";

/// The Runtime API of one function, running. Dropping it stops it.
#[derive(Debug)]
pub struct RuntimeApi {
    server: Server,
    events: UnboundedSender<Pending>,
    desk: Arc<Desk>,
}

struct Desk {
    /// Taken by one poll at a time.
    queue: tokio::sync::Mutex<UnboundedReceiver<Pending>>,
    running: Mutex<Option<Running>>,
    init_errors: Mutex<Vec<Value>>,
    /// When the function asked for an event for the first time: the end of its start.
    first_poll: watch::Sender<Option<Instant>>,
}

/// An invocation that waits for the function.
struct Pending {
    event: FunctionUrlEvent,
    /// None sends what emulators send.
    deadline: Option<Duration>,
    steps: Steps,
}

/// The invocation that the function works on.
struct Running {
    id: String,
    steps: Steps,
}

#[derive(Clone)]
struct Steps(UnboundedSender<(Instant, Step)>);

impl RuntimeApi {
    pub async fn start() -> io::Result<Self> {
        let (events, queue) = unbounded_channel();
        let desk = Arc::new(Desk {
            queue: tokio::sync::Mutex::new(queue),
            running: Mutex::default(),
            init_errors: Mutex::default(),
            first_poll: watch::Sender::default(),
        });
        let invocation = "/2018-06-01/runtime/invocation";
        let router = Router::new()
            .route(&format!("{invocation}/next"), get(next))
            .route(&format!("{invocation}/{{id}}/response"), post(respond))
            .route(&format!("{invocation}/{{id}}/error"), post(fail))
            .route("/2018-06-01/runtime/init/error", post(fail_init))
            .with_state(Arc::clone(&desk));
        let server = Server::start(0, wire::like_fastapi(router)).await?;
        Ok(Self {
            server,
            events,
            desk,
        })
    }

    /// The function's `AWS_LAMBDA_RUNTIME_API`: host and port, as Lambda sets it.
    pub fn address(&self) -> String {
        self.server.url().replace("http://", "")
    }

    /// Hands the function an event, as soon as it asks. The deadline counts from then on.
    pub fn invoke(&self, event: FunctionUrlEvent, deadline: Duration) -> Invocation {
        self.enqueue(event, Some(deadline))
    }

    /// Hands over an event with the deadline that local emulators send, which has long passed.
    pub fn invoke_like_emulators(&self, event: FunctionUrlEvent) -> Invocation {
        self.enqueue(event, None)
    }

    /// Waits until the function asks for its first event, however long that takes, and says when it did.
    pub async fn first_poll(&self) -> Instant {
        let mut polled = self.desk.first_poll.subscribe();
        // The sender lives as long as this does.
        let polled = polled.wait_for(Option::is_some).await;
        polled.ok().and_then(|at| *at).unwrap_or_else(Instant::now)
    }

    /// What the function reported instead of starting.
    pub fn init_errors(&self) -> Vec<Value> {
        lock(&self.desk.init_errors).clone()
    }

    fn enqueue(&self, event: FunctionUrlEvent, deadline: Option<Duration>) -> Invocation {
        let (steps, watched) = unbounded_channel();
        // The queue lives as long as this does.
        let _ = self.events.send(Pending {
            event,
            deadline,
            steps: Steps(steps),
        });
        Invocation::watch(watched)
    }
}

impl Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Steps {
    /// Nobody watching is nobody interested.
    fn tell(&self, step: Step) {
        let _ = self.0.send((Instant::now(), step));
    }
}

impl Desk {
    /// Where to tell about the invocation of this id.
    fn steps(&self, id: &str) -> Option<Steps> {
        let running = lock(&self.running);
        let found = running.as_ref().filter(|running| running.id == id);
        found.map(|running| running.steps.clone())
    }
}

async fn next(State(desk): State<Arc<Desk>>) -> Response {
    let now = Instant::now();
    desk.first_poll.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(now);
        is_first
    });
    if let Some(running) = &*lock(&desk.running) {
        running.steps.tell(Step::Frozen);
    }
    let Some(pending) = desk.queue.lock().await.recv().await else {
        return wire::internal_server_error();
    };
    let id = clock::fresh_id().to_string();
    let deadline = pending
        .deadline
        .map_or(EMULATORS_DEADLINE, |left| (clock::now() + left).as_millis());
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id.clone()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:123456789012:function:sandbox".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned(),
        ),
    ];
    let body = pending.event.json(&id).to_string();
    pending.steps.tell(Step::Taken(pending.deadline));
    let steps = pending.steps;
    *lock(&desk.running) = Some(Running { id, steps });
    (headers, body).into_response()
}

/// Answered when the body has ended, not before.
async fn respond(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let Some(steps) = desk.steps(&id) else {
        return refused("InvalidRequestID");
    };
    let (head, body) = request.into_parts();
    let is = |name: &str, value: &str| head.headers.get(name).is_some_and(|given| given == value);
    if !is("lambda-runtime-function-response-mode", "streaming") || !is("content-type", STREAMING) {
        steps.tell(Step::Broken("the answer was not streamed".to_owned()));
        return refused("InvalidResponseMode");
    }
    match watch(body, &steps).await {
        Ok(trailers) => {
            steps.tell(Step::Ended(trailers));
            accepted()
        }
        Err(problem) => {
            steps.tell(Step::Broken(problem));
            refused("InvalidResponse")
        }
    }
}

/// Tells every piece of a body as it comes; gives the trailers.
async fn watch(mut body: Body, steps: &Steps) -> Result<HeaderMap, String> {
    let mut reading = Reading::default();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| format!("the body broke off: {error}"))?;
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(bytes) => {
                let (prelude, rest) = reading.take(bytes)?;
                if let Some(prelude) = prelude {
                    steps.tell(Step::Prelude(prelude));
                }
                if !rest.is_empty() {
                    steps.tell(Step::Chunk(rest));
                }
            }
            Err(Ok(more)) => trailers.extend(more),
            Err(Err(_)) => {}
        }
    }
    if reading.is_done() {
        Ok(trailers)
    } else {
        Err("the body ended within the prelude".to_owned())
    }
}

async fn fail(State(desk): State<Arc<Desk>>, Path(id): Path<String>, body: Body) -> Response {
    let Some(steps) = desk.steps(&id) else {
        return refused("InvalidRequestID");
    };
    let error = read(body).await;
    steps.tell(Step::Broken(format!("the function reported {error}")));
    accepted()
}

async fn fail_init(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let error = read(body).await;
    lock(&desk.init_errors).push(error);
    accepted()
}

async fn read(body: Body) -> Value {
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn accepted() -> Response {
    wire::json(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

fn refused(kind: &str) -> Response {
    let body = json!({"errorType": kind, "errorMessage": kind});
    wire::json(StatusCode::BAD_REQUEST, &body)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
