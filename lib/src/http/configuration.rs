//! What a request may set of its own: the schema of it, and the values looked at.

use axum::Json;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{App, wrong_method_for};
use crate::coordinator::Coordinator;
use crate::dial::configuration::Configuration;
use crate::dial::explain;
use crate::domain::budget::Budget;
use crate::domain::failure::Failure;
use crate::domain::ids::AgentId;
use crate::domain::overrides::Overrides;
use crate::domain::preference::Stages;
use crate::domain::rules::Synthesis;
use crate::domain::tongue::Tongue;

/// Where the configuration stands in a request.
const PLACE: &str = "custom_fields.configuration";

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
            "agents": {
                "type": "array",
                "description": "No other agents are asked, not even the default one.",
                "items": {"type": "string", "enum": agents},
                "minItems": 1,
                "uniqueItems": true
            },
            "synthesis": {
                "type": "string",
                "description": "When a second model writes the answer: always, unless an agent's own text is made for people, or never.",
                "enum": Synthesis::ALL.map(Synthesis::as_str)
            },
            "stages": {
                "type": "string",
                "description": "What is shown of the agents' work: nothing, their names and how they ended, or everything.",
                "enum": Stages::ALL
            },
            "language": {
                "type": "string",
                "description": "The language of the answer.",
                "enum": Tongue::codes().collect::<Vec<_>>()
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
            },
            "what_if": {
                "type": "boolean",
                "description": "Only tells what would happen: agents that may change something are not asked, and nothing is remembered.",
                "default": false
            }
        },
        "additionalProperties": false
    }))
    .into_response()
}

/// The agent that the request's configuration names.
pub fn choice(
    coordinator: &Coordinator,
    configuration: &Configuration,
) -> Result<Option<AgentId>, Failure> {
    let Some(name) = &configuration.agent else {
        return Ok(None);
    };
    let agent = known(coordinator, name, "agent")?;
    let allowed = configuration.agents.as_ref();
    if allowed.is_some_and(|agents| !agents.contains(name)) {
        return Err(explain::invalid(
            "expected one of agents, since no others are asked",
            format!("{PLACE}.agent"),
        ));
    }
    Ok(Some(agent))
}

/// What else the request's configuration sets for its turn.
pub fn overrides(
    coordinator: &Coordinator,
    configuration: &Configuration,
) -> Result<Overrides, Failure> {
    let agents = configuration.agents.as_ref().map(|names| {
        if names.is_empty() {
            let message = "expected at least one agent";
            return Err(explain::invalid(message, format!("{PLACE}.agents")));
        }
        let names = names.iter();
        names
            .map(|name| known(coordinator, name, "agents"))
            .collect::<Result<Vec<_>, _>>()
    });
    Ok(Overrides {
        agents: agents.transpose()?,
        synthesis: configuration.synthesis,
        stages: configuration.stages,
        language: configuration.language,
    })
}

/// The agent of this name.
fn known(coordinator: &Coordinator, name: &str, field: &str) -> Result<AgentId, Failure> {
    let registry = &coordinator.registry;
    if let Some(card) = registry.get(name) {
        return Ok(card.id.clone());
    }
    let agents: Vec<&str> = registry.iter().map(|card| card.id.as_str()).collect();
    let agents = agents.join(", ");
    let message = format!("there is no such agent, expected one of {agents}");
    Err(explain::invalid(message, format!("{PLACE}.{field}")))
}

/// What the request's configuration allows the turn to use.
pub fn budget(configuration: &Configuration) -> Result<Budget, Failure> {
    let budget = configuration.budget.unwrap_or_default();
    if budget.seconds.is_some() && budget.time().is_none() {
        return Err(explain::invalid(
            "expected a number of seconds above 0",
            format!("{PLACE}.budget.seconds"),
        ));
    }
    Ok(budget)
}
