//! People's data over HTTP: everybody exports and erases the own, an admin that of anybody in the tenant.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::{App, clock, now};
use crate::domain::access::{Identity, Role};
use crate::domain::audit::By;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, TurnId};
use crate::domain::sentences;
use crate::store;

/// The person of a path.
type Named = Result<Path<String>, PathRejection>;

/// `GET /v1/person/export`
pub async fn export_own(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        let identity = caller(&app, &headers, Role::User).await?;
        export(&app, &identity, &identity.owner).await
    })
    .await
}

/// `DELETE /v1/person`
pub async fn erase_own(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    answer(&headers, async {
        let identity = caller(&app, &headers, Role::User).await?;
        erase(&app, &identity, &identity.owner).await
    })
    .await
}

/// `GET /v1/persons/{owner}/export`
pub async fn export_other(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    owner: Named,
) -> Response {
    answer(&headers, async {
        let identity = caller(&app, &headers, Role::Admin).await?;
        export(&app, &identity, &of_tenant(&identity, owner)?).await
    })
    .await
}

/// `DELETE /v1/persons/{owner}`
pub async fn erase_other(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    owner: Named,
) -> Response {
    answer(&headers, async {
        let identity = caller(&app, &headers, Role::Admin).await?;
        Box::pin(erase(&app, &identity, &of_tenant(&identity, owner)?)).await
    })
    .await
}

async fn export(app: &App, identity: &Identity, owner: &Owner) -> Result<Response, Failure> {
    let by = by(app, identity, owner).await?;
    let bundle = app
        .privacy()
        .export(owner, by)
        .await
        .map_err(|error| unreachable(&error))?;
    Ok(lines(bundle))
}

async fn erase(app: &App, identity: &Identity, owner: &Owner) -> Result<Response, Failure> {
    let by = by(app, identity, owner).await?;
    let erased = app.privacy().erase(owner, TurnId::now(), by).await;
    Ok(Json(erased.map_err(|error| unreachable(&error))?).into_response())
}

/// Who calls, if they may.
pub(super) async fn caller(
    app: &App,
    headers: &HeaderMap,
    role: Role,
) -> Result<Identity, Failure> {
    app.auth.verify(headers, role, now())?.await
}

/// Who does it, as the log has them.
pub(super) async fn by(app: &App, identity: &Identity, owner: &Owner) -> Result<By, Failure> {
    if identity.owner == *owner {
        return Ok(By::Themselves);
    }
    let accounts = &app.privacy.accounts;
    let named = accounts.pseudonym(&identity.owner, TurnId::now(), clock());
    Ok(By::Person(
        named.await.map_err(|error| unreachable(&error))?,
    ))
}

/// Nobody reaches beyond the own tenant: it comes with the caller's credentials, and the path names the person alone.
fn of_tenant(identity: &Identity, owner: Named) -> Result<Owner, Failure> {
    match owner {
        Ok(Path(id)) if !id.is_empty() => identity.anybody(&id),
        _ => Err(Failure::new(
            Code::InvalidRequest,
            "the path names no person",
            sentences::unreadable_address(),
        )
        .at("owner")),
    }
}

/// JSON Lines that nobody on the way keeps.
pub(super) fn lines(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn unreachable(error: &store::Error) -> Failure {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the table cannot do what was asked"
    );
    Failure::new(
        Code::ServiceUnavailable,
        "the table cannot be reached",
        sentences::unusable(),
    )
}

/// The answer, or the refusal with a reference that the log has, too.
pub(super) async fn answer(
    headers: &HeaderMap,
    work: impl Future<Output = Result<Response, Failure>>,
) -> Response {
    let reference = TurnId::now().reference();
    match work.await {
        Ok(response) => response,
        Err(failure) => ApiError::from(failure)
            .referring(&reference)
            .told_to(headers)
            .into_response(),
    }
}
