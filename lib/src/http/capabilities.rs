//! What we can do, for those who ask; and what our agents can, asked of them.

use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::agents::{admin, invalid, named, refusal};
use super::person::{answer, caller, unreachable};
use super::{App, clock};
use crate::domain::access::Role;
use crate::domain::agent::AgentCard;
use crate::domain::audit::By;
use crate::domain::ids::{AgentId, TurnId};
use crate::registry::{Discovered, Edit, Refused};
use crate::store::Target;

/// So many agents are asked at a time what they can.
const AT_ONCE: usize = 8;
/// How long an agent that was not at its address is not asked again.
const GONE_AGAIN: Duration = Duration::from_mins(5);

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
        self.keep(name, by, &found).await?;
        Ok(found)
    }

    async fn keep(&self, name: &str, by: By, found: &Discovered) -> Result<(), Refused> {
        let dropped = found.dropped();
        if !dropped.is_empty() {
            tracing::warn!(
                agent.id = name,
                capabilities = dropped.join(", "),
                "an agent does not name capabilities any more: it is still asked for them"
            );
            let count = u32::try_from(dropped.len()).unwrap_or(u32::MAX);
            self.coordinator().metrics.dropped(name, count, clock());
        }
        if found.changed() {
            let edit = Edit {
                what: Target::Found(name),
                written: serde_json::to_string(&found.after).ok(),
                // What somebody else has found or accepted meanwhile stays.
                seen: Some(found.seen),
                at: clock(),
                by,
                tenant: self.auth.home(),
                owner: None,
            };
            Box::pin(self.live.edit(edit, &self.privacy.audit)).await?;
        }
        Ok(())
    }

    /// Asks every agent that is to be asked, several at a time. One that is down has said what it said last.
    pub async fn discover_all(&self) {
        let coordinator = self.coordinator();
        let cards = coordinator.registry.iter();
        let cards = cards.filter(|card| card.discover.is_some());
        self.discover_those(cards.cloned().collect()).await;
    }

    async fn discover_those(&self, cards: Vec<AgentCard>) {
        let asked = stream::iter(cards).map(|card| async move {
            let found = Box::pin(self.live.directory().ask(&card, false)).await;
            (card.id, found)
        });
        let mut asked = pin!(asked.buffer_unordered(AT_ONCE));
        while let Some((agent, found)) = asked.next().await {
            let kept = match found {
                Ok(found) => self.keep(agent.as_str(), By::Command, &found).await,
                Err(refused) => Err(refused),
            };
            if let Err(error) = kept {
                tracing::warn!(
                    agent.id = %agent, error = &error as &dyn std::error::Error,
                    "an agent does not say what it can: what it said last counts"
                );
            }
        }
    }

    /// Some work, and beside it what keeps the agents fresh: a look whether they have changed, and a question to those that
    /// were not at their addresses when they were called.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let work = pin!(self.live.beside(work));
        let gone = self.gone();
        if gone.is_empty() {
            return work.await;
        }
        let names: Vec<AgentId> = gone.iter().map(|card| card.id.clone()).collect();
        let asking = Box::pin(self.discover_those(gone));
        match select(work, asking).await {
            Either::Left((done, _)) => {
                // The next turn may have more time.
                let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
                asked.retain(|agent, _| !names.contains(agent));
                done
            }
            Either::Right(((), work)) => work.await,
        }
    }

    /// The agents that were not at their addresses and are to be asked now what they can: each once in a while.
    fn gone(&self) -> Vec<AgentCard> {
        let coordinator = self.coordinator();
        let gateways = &coordinator.agents.gateways;
        let gone = coordinator.registry.iter().filter(|card| {
            let gateway = gateways.get(&card.id);
            card.discover.is_some() && gateway.is_some_and(|gateway| gateway.is_gone())
        });
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| now.duration_since(*at) < GONE_AGAIN);
        let gone = gone.filter(|card| match asked.entry(card.id.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
        });
        gone.cloned().collect()
    }
}
