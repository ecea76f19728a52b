//! Experiments over HTTP: who looks after the service sees what they have shown, an admin begins one anew.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::agents::{admin, reader};
use super::person::{answer, unreachable};
use super::{App, clock};
use crate::domain::audit::{By, Entry};
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::TurnId;
use crate::domain::sentences;

/// `GET /v1/experiments`
pub async fn report(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        reader(&app, &headers).await?;
        app.live.refresh(false).await;
        let reports = app.coordinator().experiments.report().await;
        let reports = reports.map_err(|error| unreachable(&error))?;
        Ok(Json(json!({"experiments": reports})).into_response())
    })
    .await
}

/// `DELETE /v1/experiments/{name}`: forgets what was counted, so that it begins anew.
pub async fn reset(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    answer(&headers, async {
        let identity = admin(&app, &headers).await?;
        let experiments = app.coordinator().experiments.clone();
        let Some(name) = name
            .ok()
            .map(|Path(name)| name)
            .filter(|name| experiments.has(name))
        else {
            return Err(Failure::new(
                Code::NotFound,
                "there is no such experiment",
                sentences::nothing_here(),
            ));
        };
        let (privacy, owner) = (app.privacy(), &identity.owner);
        let named = privacy.accounts.pseudonym(owner, TurnId::now(), clock());
        let entry = Entry::Experiment {
            at: clock(),
            by: By::Person(named.await.map_err(|error| unreachable(&error))?),
            name: name.clone(),
        };
        // The log says so before it is done.
        let written = privacy.audit.append(owner.tenant(), &entry, Some(owner));
        written.await.map_err(|error| unreachable(&error))?;
        let reset = experiments.reset(&name).await;
        reset.map_err(|error| unreachable(&error))?;
        Ok(Json(json!({"reset": name})).into_response())
    })
    .await
}
