//! What we can do, for those who ask; and what our agents can, asked of them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::agents::{admin, invalid, named, refusal};
use super::person::{answer, caller, unreachable};
use super::{App, clock};
use crate::domain::access::Role;
use crate::domain::audit::By;
use crate::domain::ids::TurnId;
use crate::registry::{Discovered, Edit, Refused};
use crate::store::Target;

/// `GET /capabilities`: our name, our version, and what our agents can.
pub async fn ours(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        caller(&app, &headers, Role::User).await?;
        app.live.refresh(false).await;
        let registry = &app.coordinator().registry;
        let listed = registry.iter().filter(|card| card.listed);
        let agents = listed.map(|card| {
            json!({"name": card.id, "description": card.description, "capabilities": card.capabilities})
        });
        let agents: Vec<_> = agents.collect();
        Ok(Json(json!({
            "name": "MAS Coordinator",
            "version": env!("CARGO_PKG_VERSION"),
            "registry": registry.version(),
            "agents": agents,
        }))
        .into_response())
    })
    .await
}

/// `POST /v1/agents/{name}/discover`: asks the agent now. `{"accept_dropped": true}` forgets what it does not name any more.
pub async fn discover(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        #[serde(default)]
        accept_dropped: bool,
    }
    answer(&headers, async {
        let identity = admin(&app, &headers).await?;
        let name = named(name)?;
        let body = body.map_err(|_| invalid("the body cannot be read"))?;
        let wish = match body.as_ref() {
            [] => Wish::default(),
            body => serde_json::from_slice(body)
                .map_err(|_| invalid("expected {\"accept_dropped\": true} or nothing"))?,
        };
        let accounts = app.privacy().accounts;
        let pseudonym = accounts.pseudonym(&identity.owner, TurnId::now(), clock());
        let by = By::Person(pseudonym.await.map_err(|error| unreachable(&error))?);
        let found = app.discover(&name, by, wish.accept_dropped).await;
        let found = found.map_err(refusal)?;
        Ok(Json(json!({
            "agent": name,
            "changed": found.changed(),
            "added": found.added(),
            "dropped": found.dropped(),
            "missing": found.after.missing,
            "capabilities": found.after.capabilities,
        }))
        .into_response())
    })
    .await
}

impl App {
    /// Asks an agent what it can, and keeps what it says. What it does not say any more raises an alarm, and stays.
    pub async fn discover(
        &self,
        name: &str,
        by: By,
        accepting: bool,
    ) -> Result<Discovered, Refused> {
        let coordinator = self.coordinator();
        let card = coordinator.registry.get(name).ok_or(Refused::Unknown)?;
        let asking = self.live.directory().ask(card, accepting);
        let found = Box::pin(asking).await?;
        let dropped = found.dropped();
        if !dropped.is_empty() {
            tracing::warn!(
                agent.id = name,
                capabilities = dropped.join(", "),
                "an agent does not name capabilities any more: it is still asked for them"
            );
            let count = u32::try_from(dropped.len()).unwrap_or(u32::MAX);
            coordinator.metrics.dropped(name, count, clock());
        }
        if found.changed() {
            let edit = Edit {
                what: Target::Found(name),
                written: serde_json::to_string(&found.after).ok(),
                seen: None,
                at: clock(),
                by,
                tenant: self.auth.home(),
                owner: None,
            };
            Box::pin(self.live.edit(edit, &self.privacy.audit)).await?;
        }
        Ok(found)
    }

    /// Asks every agent that is to be asked, one after the other. One that is down has said what it said last.
    pub async fn discover_all(&self) {
        let coordinator = self.coordinator();
        let asked = (coordinator.registry.iter()).filter(|card| card.discover.is_some());
        for card in asked {
            let discovering = self.discover(card.id.as_str(), By::Command, false);
            if let Err(error) = Box::pin(discovering).await {
                tracing::warn!(
                    agent.id = %card.id, error = &error as &dyn std::error::Error,
                    "an agent does not say what it can: what it said last counts"
                );
            }
        }
    }
}
