//! What a request may set of its own: the schema of it, and the values looked at.

use axum::Json;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{App, wrong_method_for};
use crate::coordinator::Coordinator;
use crate::dial::explain;
use crate::dial::request::Configuration;
use crate::domain::budget::Budget;
use crate::domain::failure::Failure;
use crate::domain::ids::AgentId;

/// `/openai/deployments/{any id}/configuration`: the schema of what a request may set of its own.
pub fn schema(app: &App, method: &Method) -> Response {
    if method != Method::GET {
        return wrong_method_for("GET").into_response();
    }
    let coordinator = app.coordinator();
    let registry = coordinator.registry.iter();
    let agents: Vec<&str> = registry.map(|card| card.id.as_str()).collect();
    Json(json!({
        "type": "object",
        "properties": {
            "agent": {
                "type": "string",
                "description": "The agent that is to answer; without it the coordinator decides.",
                "enum": agents
            },
            "budget": {
                "type": "object",
                "description": "What this turn may use; it never raises a limit of the service. What does not fit is left out, and said to be.",
                "properties": {
                    "seconds": {"type": "number", "exclusiveMinimum": 0},
                    "dollars": {"type": "number", "minimum": 0, "maximum": 1_000_000},
                    "tokens": {"type": "integer", "minimum": 0}
                },
                "additionalProperties": false
            }
        },
        "additionalProperties": false
    }))
    .into_response()
}

/// The agent that the request's configuration names.
pub fn choice(
    coordinator: &Coordinator,
    configuration: Configuration,
) -> Result<Option<AgentId>, Failure> {
    let Some(name) = configuration.agent else {
        return Ok(None);
    };
    let registry = &coordinator.registry;
    if let Some(card) = registry.get(&name) {
        return Ok(Some(card.id.clone()));
    }
    let agents: Vec<&str> = registry.iter().map(|card| card.id.as_str()).collect();
    let expected = format!(
        "there is no such agent, expected one of {}",
        agents.join(", ")
    );
    Err(explain::invalid(
        expected,
        "custom_fields.configuration.agent",
    ))
}

/// What the request's configuration allows the turn to use.
pub fn budget(configuration: &Configuration) -> Result<Budget, Failure> {
    let budget = configuration.budget.unwrap_or_default();
    if budget.seconds.is_some() && budget.time().is_none() {
        return Err(explain::invalid(
            "expected a number of seconds above 0",
            "custom_fields.configuration.budget.seconds",
        ));
    }
    Ok(budget)
}
