//! Failures as HTTP answers: the only place that knows status codes.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::language;
use crate::dial::chunk::ErrorBody;
use crate::domain::failure::{Code, Failure};
use crate::domain::language::Language;
use crate::telemetry;

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    failure: Failure,
    allow: Option<&'static str>,
    language: Language,
}

impl ApiError {
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Tells people in the language that the caller asks for.
    #[must_use]
    pub fn told_to(mut self, headers: &HeaderMap) -> Self {
        self.language = language::asked_for(headers).unwrap_or_default();
        self
    }
}

impl ApiError {
    /// Logs the refusal under a reference and gives the reference to the caller.
    #[must_use]
    pub fn referring(mut self, reference: &str) -> Self {
        tracing::info!(
            error.code = self.failure.code.as_str(),
            error.reference = reference,
            "refused"
        );
        telemetry::failed(self.failure.code);
        self.failure.message.push_str(", reference ");
        self.failure.message.push_str(reference);
        self
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            allow: None,
            language: Language::default(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody::of(&self.failure, self.language));
        // Nothing that has a status of choice is refused here: it takes a turn to find out.
        let statuses = Statuses::default();
        let mut response = answer(self.failure.code, None, &statuses, body);
        if let Some(allow) = self.allow {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// The statuses that are a matter of who calls.
#[derive(Clone, Copy, Debug)]
pub struct Statuses {
    /// For a caller over a limit: 403, or 429 where the callers are not DIAL Core.
    pub rate_limit: StatusCode,
    /// For an agent that failed: 424, or 500.
    pub failed_agent: StatusCode,
    /// The longest wait that is asked for.
    pub retry_after: Duration,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            rate_limit: StatusCode::FORBIDDEN,
            failed_agent: StatusCode::FAILED_DEPENDENCY,
            retry_after: Duration::from_mins(1),
        }
    }
}

impl Statuses {
    /// Takes 403 or 429, and 424 or 500; anything else is the default.
    pub fn new(rate_limit: u16, failed_agent: u16, retry_after: Duration) -> Self {
        let default = Self::default();
        Self {
            rate_limit: if rate_limit == 429 {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                default.rate_limit
            },
            failed_agent: if failed_agent == 500 {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                default.failed_agent
            },
            retry_after,
        }
    }
}

/// An error answer of this code with this body. Clients are told not to repeat: what failed here may have changed
/// something, and a mistake of theirs stays one.
pub fn answer(
    code: Code,
    retry_after: Option<Duration>,
    statuses: &Statuses,
    body: impl IntoResponse,
) -> Response {
    let mut response = (status(code, statuses), body).into_response();
    let headers = response.headers_mut();
    let wait = match code {
        Code::ServiceUnavailable => Some(Duration::from_secs(5)),
        _ => retry_after,
    };
    if let Some(wait) = wait {
        let seconds = wait.min(statuses.retry_after).as_secs_f64().ceil();
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            headers.insert(RETRY_AFTER, value);
        }
    }
    if code != Code::ServiceUnavailable {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// DIAL Core takes 429, 502, 503 and 504 for a failing application and shuts it for everybody, so no single caller's
/// or agent's trouble has one of these; 503 alone is sent, when the whole service cannot work.
fn status(code: Code, statuses: &Statuses) -> StatusCode {
    match code {
        Code::Unauthorized | Code::InvalidCredentials => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::InvalidRequest | Code::DuplicateRequest | Code::RecursionLimitExceeded => {
            StatusCode::BAD_REQUEST
        }
        Code::RateLimitExceeded => statuses.rate_limit,
        Code::UnsupportedParameter => StatusCode::UNPROCESSABLE_ENTITY,
        Code::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Code::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::AgentUnavailable | Code::AgentTimeout => statuses.failed_agent,
        Code::DeadlineExceeded | Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// When an error object of ours says that it may be tried again.
pub fn retry_after_of(error: &serde_json::Value) -> Option<Duration> {
    let seconds = error.get("retry_after")?.as_str()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The code that an error object of ours names.
pub fn code_of(error: &serde_json::Value) -> Code {
    let named = error.get("code").and_then(serde_json::Value::as_str);
    Code::ALL
        .into_iter()
        .find(|code| Some(code.as_str()) == named)
        .unwrap_or(Code::InternalError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status_and_none_that_would_shut_the_application() {
        let table: Vec<String> = Code::ALL
            .into_iter()
            .map(|code| {
                format!(
                    "{} {} {}",
                    status(code, &Statuses::default()).as_u16(),
                    code.kind(),
                    code.as_str()
                )
            })
            .collect();
        assert_eq!(
            table,
            [
                "401 authentication_error unauthorized",
                "401 authentication_error invalid_credentials",
                "403 permission_error forbidden",
                "400 invalid_request_error invalid_request",
                "422 invalid_request_error unsupported_parameter",
                "413 invalid_request_error request_too_large",
                "415 invalid_request_error unsupported_media_type",
                "404 invalid_request_error not_found",
                "405 invalid_request_error method_not_allowed",
                "412 invalid_request_error precondition_failed",
                "403 rate_limit_error rate_limit_exceeded",
                "400 invalid_request_error duplicate_request",
                "400 invalid_request_error recursion_limit_exceeded",
                "424 runtime_error agent_unavailable",
                "424 runtime_error agent_timeout",
                "500 runtime_error deadline_exceeded",
                "503 runtime_error service_unavailable",
                "500 internal_server_error internal_error",
            ]
        );
    }
}
