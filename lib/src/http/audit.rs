//! The audit log over HTTP: an auditor reads and checks a day of the own tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::person::{answer, caller, lines, unreachable};
use super::{App, clock};
use crate::domain::access::Role;
use crate::domain::audit::{By, Entry};
use crate::domain::day::Day;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, TurnId};
use crate::domain::sentences;

/// The day of a path.
type Named = Result<Path<Day>, PathRejection>;

/// `GET /v1/audit/{day}`
pub async fn show(State(app): State<Arc<App>>, headers: HeaderMap, day: Named) -> Response {
    answer(&headers, async {
        let (auditor, day) = asked(&app, &headers, day).await?;
        let mut text = String::new();
        let audit = &app.privacy.audit;
        let shown = audit.show(auditor.tenant(), day, |line| {
            if let Ok(line) = serde_json::to_string(&line) {
                text.push_str(&line);
                text.push('\n');
            }
        });
        shown.await.map_err(|error| unreachable(&error))?;
        Ok(lines(text))
    })
    .await
}

/// `GET /v1/audit/{day}/verify`
pub async fn verify(State(app): State<Arc<App>>, headers: HeaderMap, day: Named) -> Response {
    answer(&headers, async {
        let (auditor, day) = asked(&app, &headers, day).await?;
        let audit = &app.privacy.audit;
        let checked = audit.verify(auditor.tenant(), day..=day, &[], |_, _| {});
        let report = checked.await.map_err(|error| unreachable(&error))?;
        Ok(Json(json!({"day": day, "fine": report.is_fine(), "report": report})).into_response())
    })
    .await
}

/// Who asks for which day. The log says so before anything of it is shown.
async fn asked(app: &App, headers: &HeaderMap, day: Named) -> Result<(Owner, Day), Failure> {
    let auditor = caller(app, headers, Role::Auditor).await?.owner;
    let Ok(Path(day)) = day else {
        return Err(Failure::new(
            Code::InvalidRequest,
            "the path names no day such as 2026-11-20",
            sentences::unreadable_address(),
        )
        .at("day"));
    };
    let privacy = &app.privacy;
    let named = privacy.accounts.pseudonym(&auditor, TurnId::now(), clock());
    let entry = Entry::Read {
        at: clock(),
        by: By::Person(named.await.map_err(|error| unreachable(&error))?),
        what: day.to_string(),
    };
    let written = privacy
        .audit
        .append(auditor.tenant(), &entry, Some(&auditor));
    written.await.map_err(|error| unreachable(&error))?;
    Ok((auditor, day))
}
