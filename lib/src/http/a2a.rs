//! Our own A2A door: a message becomes a turn like any other, and the turn is told as a task.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body::Frame;
use serde_json::{Value, json};
use tokio::time::{timeout, timeout_at};
use tracing::Instrument as _;

use super::admit::{Admitted, DRAIN_WITHIN, admit, drain, next};
use super::error::ApiError;
use super::{App, chat, trace};
use crate::a2a::event::RpcError;
use crate::a2a::request::{Incoming, wrong};
use crate::a2a::tell::Teller;
use crate::a2a::{INVALID_REQUEST, VERSION_HEADER, VERSION_NOT_SUPPORTED, Version};
use crate::dial::chunk::HEARTBEAT;
use crate::domain::budget::Budget;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::TurnId;
use crate::domain::language::Language;
use crate::domain::sentences;
use crate::domain::trace::Trace;
use crate::domain::turn::ChatTurn;
use crate::stream::{AnswerSink, TurnBody};
use crate::telemetry;

/// `POST /a2a`.
pub async fn call(State(app): State<Arc<App>>, request: Request) -> Response {
    let (id, mut request) = (TurnId::now(), request);
    let trace = trace::of(request.headers());
    trace::put(request.headers_mut(), &trace);
    let span = telemetry::turn(id, &trace);
    let (parts, mut body) = request.into_parts();
    let answer = async {
        match answer(app, (id, trace), &parts, &mut body).await {
            Ok(response) => response,
            Err(refusal) => {
                let refusal = refusal.referring(&id.reference()).told_to(&parts.headers);
                let _ = timeout(DRAIN_WITHIN, drain(&mut body)).await;
                refusal.into_response()
            }
        }
    };
    (chat::unpanicked(answer, &id.reference()).instrument(span)).await
}

/// Who may not call is told by a status, as everywhere; what is wrong with the call is told in JSON-RPC.
async fn answer(
    app: Arc<App>,
    (id, trace): (TurnId, Trace),
    parts: &Parts,
    body: &mut Body,
) -> Result<Response, ApiError> {
    let admitted = admit(&app, parts, body).await?;
    if let Some(version) = parts.headers.get(VERSION_HEADER)
        && version.to_str().ok().and_then(Version::parse).is_none()
    {
        let error = wrong(
            VERSION_NOT_SUPPORTED,
            "versions 1.0 and 0.3 are spoken here",
        );
        return Ok(failed(&Value::Null, &error));
    }
    let incoming = match Incoming::read(&admitted.body) {
        Ok(incoming) => incoming,
        Err((call, error)) => return Ok(failed(&call, &error)),
    };
    let context = incoming.context.unwrap_or_else(|| id.to_string());
    let task = incoming.task.unwrap_or_else(|| id.to_string());
    let messages = vec![incoming.message];
    let turn = admitted.turn(
        &app,
        (id, trace),
        parts,
        messages,
        (Some(context.clone()), Budget::default()),
    );
    let turn = match turn {
        Ok(turn) => turn,
        Err(failure) => {
            let error = wrong(INVALID_REQUEST, &failure.message);
            return Ok(failed(&incoming.id, &error));
        }
    };
    let teller = Teller::new(incoming.version, incoming.id, task, context);
    let body = begun(&app, turn, admitted, incoming.streamed);
    Ok(if incoming.streamed {
        chat::streamed(Body::new(Told::new(body, teller)))
    } else {
        whole(body, teller).await
    })
}

/// The turn, as the chat would answer it. The client says only what is new: the rest is what we remember.
fn begun(app: &Arc<App>, turn: ChatTurn, admitted: Admitted, streamed: bool) -> TurnBody {
    let sink = AnswerSink::new(&turn.id.to_string(), turn.received_at.0, "mas-coordinator")
        .buffered(app.caps.buffer);
    if let Some(last) = turn.messages.last() {
        sink.speak(Language::of(&last.text));
    }
    let reference = turn.id.reference();
    let heartbeat = app.times.heartbeat.filter(|_| streamed);
    let work = {
        let (app, sink) = (Arc::clone(app), sink.clone());
        async move {
            // The turn keeps the one that it began with.
            let coordinator = app.coordinator();
            let resume = async {
                let identity = admitted.verification.await?;
                let turn = coordinator.resumed(turn.clone(), &identity.owner).await;
                Ok::<_, Failure>((turn, identity))
            };
            let (turn, identity) = match timeout_at(turn.deadline, resume).await {
                Ok(Ok((turn, identity))) => (turn, Ok(identity)),
                Ok(Err(failure)) => (turn, Err(failure)),
                Err(_) => (turn, Err(out_of_time())),
            };
            let verification = std::future::ready(identity).boxed();
            let answer = Box::pin(coordinator.answer(turn, verification, sink));
            app.beside(answer).await;
        }
    };
    TurnBody::new(work, sink, heartbeat, reference)
}

fn out_of_time() -> Failure {
    Failure::new(
        Code::DeadlineExceeded,
        "the turn's time was used up",
        sentences::took_too_long(),
    )
}

fn failed(call: &Value, error: &RpcError) -> Response {
    let error = json!({"code": error.code, "message": error.message});
    Json(json!({"jsonrpc": "2.0", "id": call, "error": error})).into_response()
}

/// The task as it ended.
async fn whole(body: TurnBody, mut teller: Teller) -> Response {
    let mut body = Body::new(body);
    while let Some(piece) = next(&mut body).await {
        teller.push(&piece);
    }
    Json(teller.whole()).into_response()
}

/// A turn's body, told as A2A. Dropping it is dropping the turn.
struct Told {
    turn: Pin<Box<TurnBody>>,
    teller: Teller,
    /// The task as it begins, until that is told.
    first: Option<Value>,
}

impl Told {
    fn new(turn: TurnBody, teller: Teller) -> Self {
        Self {
            turn: Box::pin(turn),
            first: Some(teller.begin()),
            teller,
        }
    }
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(frame(&[first]))));
        }
        loop {
            let told = match ready!(this.turn.as_mut().poll_frame(context)) {
                Some(Ok(read)) => match read.into_data() {
                    Ok(data) if *data == *HEARTBEAT => {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(data) => this.teller.push(&data),
                    Err(_) => continue,
                },
                None => match this.teller.end() {
                    Some(end) => vec![end],
                    None => return Poll::Ready(None),
                },
            };
            this.teller.shorten();
            if !told.is_empty() {
                return Poll::Ready(Some(Ok(frame(&told))));
            }
        }
    }
}

fn frame(events: &[Value]) -> Frame<Bytes> {
    let mut written = String::new();
    for event in events {
        let _ = write!(written, "data: {event}\n\n");
    }
    Frame::data(written.into())
}
