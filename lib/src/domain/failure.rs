//! What went wrong, in the words a client may see: a public code, a sentence for developers, one for people.

use std::time::Duration;

use super::phrase::Phrase;
use super::sentences;

/// Every public error code. The same list serves JSON errors before the first byte and error events after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No credentials came with the request.
    Unauthorized,
    /// The credentials are wrong, expired or were issued for another deployment.
    InvalidCredentials,
    /// The caller is known and may not do this.
    Forbidden,
    /// The body is not JSON or not a chat request; `param` names the place.
    InvalidRequest,
    /// The request asks for something this application does not do, such as several choices.
    UnsupportedParameter,
    /// The body or the list of messages is too long.
    RequestTooLarge,
    /// The body is not declared as JSON, or is compressed.
    UnsupportedMediaType,
    /// There is nothing at this path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// What was to be changed has been changed by somebody else since it was read.
    PreconditionFailed,
    /// The caller has used up what one person may: requests, turns at once, tokens or money of the day.
    RateLimitExceeded,
    /// The same request of the same conversation is being answered.
    DuplicateRequest,
    /// Agents call the coordinator again and again.
    RecursionLimitExceeded,
    /// The chosen agent could not be reached, refused, or broke off.
    AgentUnavailable,
    /// The chosen agent was silent for too long.
    AgentTimeout,
    /// The turn's time was used up.
    DeadlineExceeded,
    /// The whole service cannot work now; DIAL Core is unreachable, for example.
    ServiceUnavailable,
    /// A mistake of ours.
    InternalError,
}

impl Code {
    /// All of them, for documentation and for the test that pins the list.
    pub const ALL: [Self; 18] = [
        Self::Unauthorized,
        Self::InvalidCredentials,
        Self::Forbidden,
        Self::InvalidRequest,
        Self::UnsupportedParameter,
        Self::RequestTooLarge,
        Self::UnsupportedMediaType,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::PreconditionFailed,
        Self::RateLimitExceeded,
        Self::DuplicateRequest,
        Self::RecursionLimitExceeded,
        Self::AgentUnavailable,
        Self::AgentTimeout,
        Self::DeadlineExceeded,
        Self::ServiceUnavailable,
        Self::InternalError,
    ];

    /// The `code` of the error body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::InvalidCredentials => "invalid_credentials",
            Self::Forbidden => "forbidden",
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedParameter => "unsupported_parameter",
            Self::RequestTooLarge => "request_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PreconditionFailed => "precondition_failed",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::DuplicateRequest => "duplicate_request",
            Self::RecursionLimitExceeded => "recursion_limit_exceeded",
            Self::AgentUnavailable => "agent_unavailable",
            Self::AgentTimeout => "agent_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ServiceUnavailable => "service_unavailable",
            Self::InternalError => "internal_error",
        }
    }

    /// The `type` of the error body.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Unauthorized | Self::InvalidCredentials => "authentication_error",
            Self::Forbidden => "permission_error",
            Self::InvalidRequest
            | Self::UnsupportedParameter
            | Self::RequestTooLarge
            | Self::UnsupportedMediaType
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::PreconditionFailed
            | Self::DuplicateRequest
            | Self::RecursionLimitExceeded => "invalid_request_error",
            Self::RateLimitExceeded => "rate_limit_error",
            Self::AgentUnavailable
            | Self::AgentTimeout
            | Self::DeadlineExceeded
            | Self::ServiceUnavailable => "runtime_error",
            Self::InternalError => "internal_server_error",
        }
    }
}

/// A failure as it is told: `message` for developers, `display` for people. Neither holds user data or internals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    pub display: Phrase,
    /// Path of the offending field, for example `messages.0.role`.
    pub param: Option<String>,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>, display: impl Into<Phrase>) -> Self {
        Self {
            code,
            message: message.into(),
            display: display.into(),
            param: None,
            retry_after: None,
        }
    }

    /// Says when it may be tried again.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// A mistake of ours. What really happened goes to the log, under the reference.
    pub fn internal(reference: &str) -> Self {
        Self::new(
            Code::InternalError,
            format!("internal error, reference {reference}"),
            sentences::internal(reference),
        )
    }
}
