//! The registry over HTTP: who looks after the service sees its agents, an admin changes them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::person::{answer, caller, unreachable};
use super::{App, clock, now};
use crate::domain::access::{Identity, Role};
use crate::domain::agent::{AgentCard, Endpoint};
use crate::domain::audit::By;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::TurnId;
use crate::domain::sentences;
use crate::registry::{Edit, Refused, difference};
use crate::store::{Change, Entry, Target};

/// So many changes are told at a time.
const CHANGES: usize = 50;

/// The agent of a path.
type Named = Result<Path<String>, PathRejection>;

/// `GET /v1/agents`
pub async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        reader(&app, &headers).await?;
        app.live.refresh(false).await;
        let entries = app.live.directory().entries().all().await;
        let entries = entries.map_err(|error| unreachable(&error))?;
        let registry = &app.coordinator().registry;
        let agents = registry.iter().map(|card| {
            let entry = entries.iter().find(|entry| entry.name == card.id.as_str());
            let mut agent = shown(&app, card, entry);
            if card.id == registry.default_agent().id
                && let Some(agent) = agent.as_object_mut()
            {
                agent.insert("default".into(), true.into());
            }
            agent
        });
        let agents: Vec<Value> = agents.collect();
        Ok(Json(json!({"version": registry.version(), "agents": agents})).into_response())
    })
    .await
}

/// `GET /v1/agents/{name}`
pub async fn show(State(app): State<Arc<App>>, headers: HeaderMap, name: Named) -> Response {
    answer(&headers, async {
        let identity = reader(&app, &headers).await?;
        app.live.refresh(false).await;
        one(&app, &identity, &named(name)?).await
    })
    .await
}

/// `PUT /v1/agents/{name}`
pub async fn put(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    name: Named,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    answer(&headers, async {
        let identity = admin(&app, &headers).await?;
        let name = named(name)?;
        let body = body.map_err(|_| invalid("the body cannot be read"))?;
        let written = Edit::entry(&name, &body).map_err(refusal)?;
        edit(&app, &identity, &headers, &name, Some(written)).await?;
        one(&app, &identity, &name).await
    })
    .await
}

/// `DELETE /v1/agents/{name}`
pub async fn remove(State(app): State<Arc<App>>, headers: HeaderMap, name: Named) -> Response {
    answer(&headers, async {
        let identity = admin(&app, &headers).await?;
        let name = named(name)?;
        let version = edit(&app, &identity, &headers, &name, None).await?;
        Ok(Json(json!({"removed": name, "version": version})).into_response())
    })
    .await
}

/// Which changes are asked for: those before a version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    #[serde(default)]
    before: Option<u64>,
}

/// `GET /v1/agents/{name}/history`: the newest changes, and with `next` where the others are.
pub async fn history(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    name: Named,
    page: Result<Query<Page>, QueryRejection>,
) -> Response {
    answer(&headers, async {
        let identity = reader(&app, &headers).await?;
        let name = named(name)?;
        let page = page.map_err(|_| invalid("expected before=VERSION or nothing"))?;
        let entries = app.live.directory().entries();
        let changes = entries.history(&name, page.before, CHANGES, now()).await;
        let (changes, next) = changes.map_err(|error| unreachable(&error))?;
        let changes: Vec<Value> = changes.iter().map(told).collect();
        let changes = hidden(changes.into(), &identity);
        Ok(Json(json!({"agent": name, "changes": changes, "next": next})).into_response())
    })
    .await
}

/// A change as it is told.
fn told(change: &Change) -> Value {
    let what = match (&change.before, &change.after) {
        _ if change.found => "found",
        (None, _) => "added",
        (_, Some(_)) => "changed",
        (_, None) => "removed",
    };
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    json!({"version": change.version, "at": change.at, "by": change.by, "what": what,
           "diff": difference(before, after)})
}

/// One agent as it is now. Its tag is the version that the table has of it; 0 where it stands in the document alone.
async fn one(app: &App, identity: &Identity, name: &str) -> Result<Response, Failure> {
    let entry = app.live.directory().entries().get(name).await;
    let entry = entry.map_err(|error| unreachable(&error))?;
    let registry = &app.coordinator().registry;
    let card = registry.get(name).ok_or_else(unknown)?;
    let mut agent = shown(app, card, entry.as_ref());
    let written = entry.as_ref().and_then(|entry| entry.written.as_deref());
    let written = written.and_then(|written| serde_json::from_str(written).ok());
    if let (Some(written), Some(agent)) = (written, agent.as_object_mut()) {
        agent.insert("entry".into(), hidden(written, identity));
    }
    let tag = format!("\"{}\"", entry.map_or(0, |entry| entry.version));
    let mut response = Json(agent).into_response();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

/// What is told of an agent: never its credential, and of its addresses no queries, which may hold one.
fn shown(app: &App, card: &AgentCard, entry: Option<&Entry>) -> Value {
    let endpoints = card.endpoints.iter().map(|endpoint| match endpoint {
        Endpoint::Deployment(name) => name.clone(),
        Endpoint::Url(url) => format!("{}://{}", url.scheme(), endpoint.place()),
    });
    json!({
        "name": card.id,
        "protocol": card.protocol,
        "endpoints": endpoints.collect::<Vec<_>>(),
        "model": card.model,
        "has_key": card.key.is_some(),
        "assertion": card.assertion,
        "audience": card.audience,
        "description": card.description,
        "capabilities": card.capabilities,
        "missing": app.live.directory().missing(card.id.as_str()),
        "discover": card.discover,
        "priority": card.priority,
        "effect": card.effect,
        "approval": card.approval,
        "answers": if card.ready { "ready" } else { "raw" },
        "fallback": card.fallback,
        "preview": card.preview,
        "accepts": card.accepts,
        "listed": card.listed,
        "source": if entry.is_some() { "table" } else { "document" },
        "version": entry.map_or(0, |entry| entry.version),
        "changed_at": entry.map(|entry| entry.at),
        "changed_by": entry.map(|entry| entry.by.as_str()),
    })
}

/// An entry as it was written: but for those who may write it, without the queries of addresses.
fn hidden(value: Value, identity: &Identity) -> Value {
    if identity.has(Role::Admin) {
        return value;
    }
    match value {
        Value::String(text) => match text.split_once('?') {
            Some((address, _)) if address.contains("://") => format!("{address}?[hidden]").into(),
            _ => text.into(),
        },
        Value::Array(values) => {
            let values = values.into_iter().map(|value| hidden(value, identity));
            values.collect()
        }
        Value::Object(members) => {
            let members = members.into_iter();
            members
                .map(|(name, value)| (name, hidden(value, identity)))
                .collect()
        }
        other => other,
    }
}

/// Makes a change, if it can be made and the request's conditions hold. Gives back the registry's new version.
async fn edit(
    app: &App,
    identity: &Identity,
    headers: &HeaderMap,
    name: &str,
    written: Option<String>,
) -> Result<u64, Failure> {
    let privacy = app.privacy();
    let named = (privacy.accounts).pseudonym(&identity.owner, TurnId::now(), clock());
    let pseudonym = named.await.map_err(|error| unreachable(&error))?;
    let edit = Edit {
        what: Target::Agent(name),
        written,
        seen: seen(headers)?,
        at: clock(),
        by: By::Person(pseudonym),
        tenant: identity.owner.tenant(),
        owner: Some(&identity.owner),
    };
    let editing = Box::pin(app.live.edit(edit, &privacy.audit));
    editing.await.map_err(refusal)
}

/// The version that a change is for: `If-Match`, or `If-None-Match: *` for an agent that nobody has written yet.
fn seen(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(0)),
        (Some(tag), None) => {
            let version = tag.trim().trim_matches('"').parse();
            version.map(Some).map_err(|_| moved("no version of ours"))
        }
        _ => Err(invalid(
            "If-None-Match may be * alone, and not beside If-Match",
        )),
    }
}

pub(super) fn named(name: Named) -> Result<String, Failure> {
    match name {
        Ok(Path(name)) => Ok(name),
        Err(_) => Err(invalid("the path names no agent")),
    }
}

/// Somebody of the service's own tenant who looks after it.
pub(super) async fn reader(app: &App, headers: &HeaderMap) -> Result<Identity, Failure> {
    let identity = caller(app, headers, Role::User).await?;
    let roles = [Role::Operator, Role::Auditor, Role::Admin];
    if !roles.into_iter().any(|role| identity.has(role)) {
        identity.require(Role::Operator)?;
    }
    at_home(app, identity)
}

pub(super) async fn admin(app: &App, headers: &HeaderMap) -> Result<Identity, Failure> {
    let identity = caller(app, headers, Role::Admin).await?;
    at_home(app, identity)
}

fn at_home(app: &App, identity: Identity) -> Result<Identity, Failure> {
    if app.auth.is_home(&identity) {
        return Ok(identity);
    }
    Err(Failure::new(
        Code::Forbidden,
        "the agents belong to the service's own tenant",
        sentences::not_allowed(),
    ))
}

pub(super) fn refusal(refused: Refused) -> Failure {
    match refused {
        Refused::Invalid(problem) => invalid(&problem),
        Refused::Unknown => unknown(),
        Refused::Other(version) => moved(&format!("version {version} is there")),
        Refused::Silent(problem) => Failure::new(
            Code::AgentUnavailable,
            format!("the agent does not say what it can: {problem}"),
            sentences::agent_out_of_reach(),
        ),
        Refused::Store(error) => unreachable(&error),
    }
}

pub(super) fn invalid(problem: &str) -> Failure {
    Failure::new(Code::InvalidRequest, problem, sentences::agent_unusable())
}

fn moved(what: &str) -> Failure {
    Failure::new(
        Code::PreconditionFailed,
        format!("the condition does not hold: {what}"),
        sentences::agent_changed(),
    )
}

fn unknown() -> Failure {
    Failure::new(
        Code::NotFound,
        "there is no such agent",
        sentences::no_such_agent(),
    )
}
