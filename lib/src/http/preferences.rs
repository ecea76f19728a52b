//! A person's own preferences over HTTP: shown, set, forgotten.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::clock;
use super::person::{answer, caller, unreachable};
use crate::dial::explain;
use crate::domain::access::{Identity, Role};
use crate::domain::audit::By;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::TurnId;
use crate::domain::preference::{MOST_AGENTS, Preferences};
use crate::domain::sentences;
use crate::store::Changed;

/// The largest body that is read.
const LARGEST: usize = 64 * 1024;

/// `GET /v1/preferences`
pub async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        let identity = caller(&app, &headers, Role::User).await?;
        let coordinator = app.coordinator();
        let loaded = (coordinator.wishes).load(&identity.owner, clock().seconds());
        let (preferences, version) = loaded.await.map_err(|error| unreachable(&error))?;
        Ok(shown(&preferences, version))
    })
    .await
}

/// `PUT /v1/preferences`: all of them, as they are to be.
pub async fn set(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    answer(&parts.headers, async {
        let identity = caller(&app, &parts.headers, Role::User).await?;
        let body = to_bytes(body, LARGEST).await.map_err(|_| {
            Failure::new(
                Code::RequestTooLarge,
                format!("the body did not arrive, or is larger than {LARGEST} bytes"),
                sentences::not_whole(),
            )
        })?;
        let preferences = read(&app, &body)?;
        change(&app, &identity, preferences).await
    })
    .await
}

/// `DELETE /v1/preferences`
pub async fn forget(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        let identity = caller(&app, &headers, Role::User).await?;
        change(&app, &identity, Preferences::default()).await
    })
    .await
}

async fn change(
    app: &App,
    identity: &Identity,
    preferences: Preferences,
) -> Result<Response, Failure> {
    let (owner, turn) = (&identity.owner, TurnId::now());
    let who = app.privacy.accounts.pseudonym(owner, turn, clock());
    let changed = Changed {
        owner,
        turn,
        by: By::Themselves,
        who: Some(who.await.map_err(|error| unreachable(&error))?),
        audit: &app.privacy.audit,
    };
    let coordinator = app.coordinator();
    let changing = (coordinator.wishes).change(changed, |_| preferences.clone());
    match changing.await.map_err(|error| unreachable(&error))? {
        Some((preferences, version)) => Ok(shown(&preferences, version)),
        // The person was erased at this very moment.
        None => Ok(shown(&Preferences::default(), 0)),
    }
}

/// What a body wants, if there are such agents.
fn read(app: &App, body: &[u8]) -> Result<Preferences, Failure> {
    let body = std::str::from_utf8(body).unwrap_or_default();
    let coordinator = app.coordinator();
    let wanted: Preferences =
        serde_json::from_str(body).map_err(|_| explain::explain::<Preferences>(body))?;
    let lists = [
        ("preferred_agents", &wanted.preferred_agents),
        ("blocked_agents", &wanted.blocked_agents),
    ];
    for (name, agents) in lists {
        if agents.len() > MOST_AGENTS {
            let message = format!("at most {MOST_AGENTS} agents can be named");
            return Err(explain::invalid(message, name));
        }
        let registry = &coordinator.registry;
        if !agents
            .iter()
            .all(|agent| registry.get(agent.as_str()).is_some())
        {
            let known: Vec<&str> = registry.iter().map(|card| card.id.as_str()).collect();
            let message = format!(
                "there is no such agent, expected some of {}",
                known.join(", ")
            );
            return Err(explain::invalid(message, name));
        }
    }
    if let Some(agent) = (wanted.preferred_agents.iter()).find(|agent| wanted.blocks(agent)) {
        let message = format!("{agent} cannot be preferred and blocked");
        return Err(explain::invalid(message, "blocked_agents"));
    }
    Ok(wanted)
}

fn shown(preferences: &Preferences, version: u64) -> Response {
    let mut response =
        Json(json!({"preferences": preferences, "version": version})).into_response();
    (response.headers_mut()).insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
