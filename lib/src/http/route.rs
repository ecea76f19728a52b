//! What the routing would do: the ladder's answer to a request, without any agent.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::chat::{accept, unpanicked};
use super::error::ApiError;
use super::{App, trace};
use crate::domain::ids::{AgentId, TurnId};
use crate::domain::plan::Plan;
use crate::route::Verdict;
use crate::telemetry;

/// `POST /v1/route`: takes a chat request, and gives the decision with what every rung said.
pub async fn explain(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let (id, trace) = (TurnId::now(), trace::of(&parts.headers));
    let span = telemetry::turn(id, &trace);
    let explaining = async {
        let accepted = accept(&app, id, trace, &parts, &mut body).await?;
        let explained =
            Box::pin((accepted.coordinator).explain(&accepted.turn, accepted.verification));
        Ok::<_, ApiError>(app.live.beside(explained).await?)
    };
    let answer = async {
        match explaining.await {
            Ok(verdict) => Json(shown(&verdict)).into_response(),
            Err(refusal) => refusal.referring(&id.reference()).into_response(),
        }
    };
    Box::pin(unpanicked(answer, &id.reference()).instrument(span)).await
}

fn shown(verdict: &Verdict) -> Value {
    let decision = &verdict.decision;
    let assignment = decision.assignment();
    let rungs = verdict.rungs.iter().map(|rung| {
        json!({
            "rung": rung.name,
            "verdict": rung.verdict,
            "reason": rung.reason,
            "duration_ms": std::time::Duration::from_micros(rung.micros).as_secs_f64() * 1000.0,
        })
    });
    json!({
        "agent": assignment.map(|assignment| assignment.agent.as_str()),
        "plan": match &decision.plan {
            Plan::Single(_) => json!("single"),
            Plan::About(_) => json!("about"),
            Plan::Clarify(agents) => json!({"clarify": agents.each_ref().map(AgentId::as_str)}),
        },
        "decided_by": decision.source.as_str(),
        "confidence": decision.confidence,
        "reason": decision.rationale,
        "additional_instructions": assignment.and_then(|assignment| assignment.instructions.as_deref()),
        "rungs": rungs.collect::<Vec<_>>(),
        "usage": verdict.tally.sum(),
    })
}
