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
use crate::domain::experiment::ArmId;
use crate::domain::ids::{AgentId, TurnId};
use crate::domain::plan::Plan;
use crate::domain::rulebook::{Held, Rulebook};
use crate::route::Verdict;
use crate::telemetry;

/// `POST /v1/route`: takes a chat request, and gives the decision with what every rung said.
pub async fn explain(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let (id, trace) = (TurnId::now(), trace::of(&parts.headers));
    let span = telemetry::turn(id, &trace);
    let explaining = async {
        let accepted = accept(&app, id, trace, &parts, &mut body).await?;
        let coordinator = accepted.coordinator;
        let explained = Box::pin(coordinator.explain(&accepted.turn, accepted.verification));
        let (verdict, placed) = app.live.beside(explained).await?;
        let rulebook = coordinator.chain.rulebook(Some(&placed));
        let arms = placed.arms(Some(&verdict.decision.plan));
        Ok::<_, ApiError>(shown(&verdict, rulebook, &arms))
    };
    let answer = async {
        match explaining.await {
            Ok(shown) => Json(shown).into_response(),
            Err(refusal) => (refusal.referring(&id.reference()))
                .told_to(&parts.headers)
                .into_response(),
        }
    };
    Box::pin(unpanicked(answer, &id.reference()).instrument(span)).await
}

fn shown(verdict: &Verdict, rulebook: &Rulebook, arms: &[ArmId]) -> Value {
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
            Plan::Steps(steps) => json!({"steps": steps}),
            Plan::About(_) => json!("about"),
            Plan::Refused(refusal) => json!({"refused": refusal.agent.as_str()}),
            Plan::Preferences(_) => json!("preferences"),
            Plan::Blocked(agent) => json!({"blocked": agent.as_str()}),
            Plan::Clarify(agents) => json!({"clarify": agents.each_ref().map(AgentId::as_str)}),
        },
        "decided_by": decision.source.as_str(),
        "confidence": decision.confidence,
        "reason": decision.rationale,
        "additional_instructions": assignment.and_then(|assignment| assignment.instructions.as_deref()),
        "rungs": rungs.collect::<Vec<_>>(),
        "rules": rules(verdict, rulebook),
        "arms": arms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "usage": verdict.tally.sum(),
    })
}

/// What became of every rule.
fn rules(verdict: &Verdict, rulebook: &Rulebook) -> Vec<Value> {
    let judgement = &verdict.judgement;
    let chosen = judgement.choice.as_ref().map(|(number, _)| *number);
    let rules = (1..).zip(rulebook.rules.iter().zip(&judgement.held));
    rules
        .map(|(number, (rule, held))| {
            let (held, reason) = match held {
                Held::Yes => (json!(true), None),
                Held::No => (json!(false), None),
                Held::Failed(why) => (Value::Null, Some(why)),
            };
            json!({
                "rule": number,
                "line": rule.line,
                "if": rule.condition.written(),
                "then": rule.then.to_string(),
                "holds": held,
                "chosen": chosen == Some(number),
                "reason": reason,
            })
        })
        .collect()
}
