//! A request as a Function URL hands it to its function: payload format 2.0.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::clock;

const HOST: &str = "sandbox.lambda-url.eu-central-1.on.aws";
const CALLER: &str = "192.0.2.1";

/// A request on its way to a function.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct FunctionUrlEvent {
    pub method: String,
    pub path: String,
    /// Without its question mark.
    pub query: String,
    /// Names in any case; those that the service itself adds need not be given.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl FunctionUrlEvent {
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    pub fn delete(path: &str) -> Self {
        Self {
            method: "DELETE".to_owned(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// A request with a JSON body.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            method: "POST".to_owned(),
            path: path.to_owned(),
            body: body.into(),
            ..Self::default()
        }
        .header("content-type", "application/json")
    }

    /// Sets a header, in place of an earlier one of that name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = name.to_lowercase();
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The event of one invocation.
    pub(super) fn json(&self, request: &str) -> Value {
        let headers = self.all_headers();
        let agent = headers.get("user-agent").cloned().unwrap_or_default();
        let mut event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "sandbox",
                "domainName": HOST,
                "domainPrefix": "sandbox",
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": CALLER,
                    "userAgent": agent,
                },
                "requestId": request,
                "routeKey": "$default",
                "stage": "$default",
                // The real ones fit 64 bits for a while.
                "timeEpoch": u64::try_from(clock::now().as_millis()).unwrap_or(u64::MAX),
            },
            "isBase64Encoded": false,
        });
        if let (Some(event), false) = (event.as_object_mut(), self.body.is_empty()) {
            let (body, encoded) = self.body();
            event.insert("body".to_owned(), body.into());
            event.insert("isBase64Encoded".to_owned(), encoded.into());
        }
        event
    }

    fn all_headers(&self) -> Map<String, Value> {
        let length = self.body.len().to_string();
        let mut headers: Map<String, Value> = [
            ("host", HOST),
            ("user-agent", "sandbox"),
            ("x-forwarded-for", CALLER),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
        ]
        .into_iter()
        .chain((!self.body.is_empty()).then_some(("content-length", length.as_str())))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
        for (name, value) in &self.headers {
            headers.insert(name.to_lowercase(), value.as_str().into());
        }
        headers
    }

    /// Text stays text if its type says so; all else is sent in base 64.
    fn body(&self) -> (String, bool) {
        let declared = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let textual = declared.is_some_and(|(_, value)| {
            value.starts_with("text/") || value.starts_with("application/json")
        });
        match std::str::from_utf8(&self.body) {
            Ok(text) if textual => (text.to_owned(), false),
            _ => (BASE64_STANDARD.encode(&self.body), true),
        }
    }
}
