//! One outbound call before it is made: address, headers, body, limits.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::connections::Trust;
use crate::domain::ids::Secret;
use crate::domain::trace::{TRACE_ID, TRACEPARENT, TRACESTATE, Trace};
use crate::domain::turn::{Caller, DEPTH};
use crate::resilience::retry::Repeat;
use crate::telemetry;

/// Sent to DIAL Core when the caller named none: GPA and some adapters pass it on and need it.
const DEFAULT_API_VERSION: &str = "2025-01-01-preview";

/// What is escaped in one path segment or query value; dots, dashes and underscores of ids stay readable.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One value as one segment of a path.
pub fn segment(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, SEGMENT)
}

/// The API version to send on, ready for a query.
pub fn api_version(caller: &Caller) -> String {
    let version = caller.api_version.as_deref();
    segment(version.unwrap_or(DEFAULT_API_VERSION)).to_string()
}

/// How long a call may take, apart from the connection's own limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the first byte of the body.
    pub first_byte: Duration,
    /// Between two reads of the body.
    pub idle: Duration,
    /// The end of the turn.
    pub until: Instant,
}

/// One call to make, as often as `repeat` allows.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    /// JSON, for a method that has a body.
    pub body: Option<Bytes>,
    pub limits: Limits,
    pub repeat: Repeat,
    pub trust: Trust,
}

impl Call {
    pub fn post(url: String, body: Vec<u8>, limits: Limits) -> Self {
        Self {
            method: Method::POST,
            url,
            headers: HeaderMap::new(),
            body: Some(body.into()),
            limits,
            repeat: Repeat::Unsent,
            trust: Trust::Configured,
        }
    }

    pub fn get(url: String, limits: Limits) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            limits,
            repeat: Repeat::Freely,
            trust: Trust::Configured,
        }
    }

    /// Deleting twice is deleting.
    pub fn delete(url: String, limits: Limits) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(url, limits)
        }
    }

    /// A chat completion of a deployment through DIAL Core, with the caller's per-request key: the only place it goes.
    pub fn deployment(
        core: &str,
        name: &str,
        caller: &Caller,
        body: Vec<u8>,
        limits: Limits,
    ) -> Self {
        let name = segment(name);
        let version = api_version(caller);
        let call = Self::post(
            format!("{core}/openai/deployments/{name}/chat/completions?api-version={version}"),
            body,
            limits,
        )
        .traced(caller);
        match &caller.key {
            Some(key) => call.secret("api-key", "", key),
            None => call,
        }
    }

    /// Says what of the call may be repeated; without it a POST may change something and a GET does not.
    #[must_use]
    pub fn repeated(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Marks a call to an agent outside DIAL Core: it goes only where agents may be.
    #[must_use]
    pub fn guarded(mut self) -> Self {
        self.trust = Trust::Guarded;
        self
    }

    /// Passes the caller's trace on, and that there is one coordinator more in it.
    #[must_use]
    pub fn traced(self, caller: &Caller) -> Self {
        let depth = caller.depth.saturating_add(1).to_string();
        let call = self.header(DEPTH, &depth);
        match &caller.trace {
            Some(trace) => call.within(trace),
            None => call,
        }
    }

    /// Says to which trace the call belongs: below the span at work, where spans are recorded.
    #[must_use]
    pub fn within(self, trace: &Trace) -> Self {
        let call = self
            .header(TRACEPARENT, &trace.parent(telemetry::point()))
            .header(TRACE_ID, trace.id());
        match trace.state() {
            Some(state) => call.header(TRACESTATE, state),
            None => call,
        }
    }

    /// Adds a header; a value that cannot be one is left out rather than sent altered.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds headers that are known by their texts, such as those of a signature; as credentials, since some are.
    #[must_use]
    pub fn signed(mut self, headers: &[(String, Secret)]) -> Self {
        for (name, value) in headers {
            if let (Ok(name), Ok(mut value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value.expose()),
            ) {
                value.set_sensitive(true);
                self.headers.insert(name, value);
            }
        }
        self
    }

    /// Adds a credential, marked so that it is never printed.
    #[must_use]
    pub fn secret(mut self, name: &'static str, prefix: &str, value: &Secret) -> Self {
        let value = Zeroizing::new(format!("{prefix}{}", value.expose()));
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
}
