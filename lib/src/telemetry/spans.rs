//! The spans of a turn. They hold ids, words and times: never what is said, never a key, never an address.

use futures_util::TryFutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::ids;
use crate::domain::conversation::Outcome;
use crate::domain::experiment::ArmId;
use crate::domain::failure::Code;
use crate::domain::hook;
use crate::domain::ids::{AgentId, TurnId};
use crate::domain::plan::DecisionSource;
use crate::domain::trace::{Point, Trace};

/// Turns, for the log and for collectors.
pub const TURN: &str = "coordinator::turn";
/// The steps of turns, for collectors alone.
pub const STEP: &str = "coordinator::trace";
/// The target of a turn's last line.
pub const ENDED: &str = "coordinator::ended";

/// The span of everything that is done for one request.
pub fn turn(id: TurnId, trace: &Trace) -> Span {
    let span = info_span!(target: TURN, "turn", turn.id = %id, trace.id = %trace.id());
    match trace.above() {
        Some(above) => {
            let state = trace.state().and_then(|state| state.parse().ok());
            let above = SpanContext::new(
                TraceId::from(trace.number()),
                SpanId::from(above.span),
                TraceFlags::new(above.flags),
                true,
                state.unwrap_or(TraceState::NONE),
            );
            // Where spans are not exported there is nothing to set.
            let _ = span.set_parent(Context::new().with_remote_span_context(above));
        }
        // Asking for the context begins the trace.
        None => drop(ids::with(trace.number(), || span.context())),
    }
    span
}

/// Who answers?
pub fn route() -> Span {
    info_span!(target: STEP, "route")
}

/// One rung of the ladder.
pub fn rung(name: &'static str) -> Span {
    info_span!(target: STEP, "rung", route.rung = name)
}

/// One agent at work.
pub fn agent(id: &AgentId) -> Span {
    info_span!(target: STEP, "agent", agent.id = id.as_str())
}

/// Somebody who looks on.
pub fn hook(name: &str, at: hook::Point) -> Span {
    info_span!(target: STEP, "hook", hook.name = name, hook.point = at.as_str())
}

pub fn synthesis() -> Span {
    info_span!(target: STEP, "synthesis")
}

/// The table: `load`, `save`, or one of the account's.
pub fn store(operation: &'static str) -> Span {
    info_span!(target: STEP, "store", store.operation = operation)
}

/// Works within a span, which fails where the work does. No async function: that would hold the work twice.
pub fn within<T, E>(
    span: Span,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    let failing = span.clone();
    work.inspect_err(move |_| failing.set_status(Status::error("")))
        .instrument(span)
}

/// Where this code is in its trace; `None` where spans are not exported.
pub fn point() -> Option<Point> {
    let context = Span::current().context();
    let span = context.span();
    let point = span.span_context();
    point.is_valid().then(|| Point {
        span: u64::from_be_bytes(point.span_id().to_bytes()),
        flags: point.trace_flags().to_u8(),
    })
}

/// Says of the turn how it ended.
pub fn ended(
    outcome: Outcome,
    error: Option<Code>,
    agent: Option<&AgentId>,
    source: Option<DecisionSource>,
    arms: &[ArmId],
) {
    if point().is_none() {
        return;
    }
    let span = Span::current();
    span.set_attribute("turn.outcome", format!("{outcome:?}"));
    if let Some(agent) = agent {
        span.set_attribute("route.agent", agent.as_str().to_owned());
    }
    if let Some(source) = source {
        span.set_attribute("route.source", source.as_str());
    }
    if !arms.is_empty() {
        let arms: Vec<String> = arms.iter().map(ToString::to_string).collect();
        span.set_attribute("experiment.arms", arms.join(","));
    }
    if let Some(code) = error {
        failed(code);
    }
}

/// Says of the turn why it failed.
pub fn failed(code: Code) {
    let span = Span::current();
    span.set_attribute("error.type", code.as_str());
    span.set_status(Status::error(code.as_str()));
}
