//! Who calls? DIAL Core is asked about the per-request key; nothing the client says decides.

use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::coordinator::Verification;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, Secret};
use crate::resilience::health::{Checked, Part};
use crate::upstream::{self, Call, Client, Limits, Trust};

/// Longer keys are not keys.
const KEY_CAP: usize = 4096;
/// DIAL Core answers this question from memory.
const WITHIN: Duration = Duration::from_secs(5);
/// One tenant until there is a source that proves another.
const TENANT: &str = "default";

/// How callers are verified.
#[derive(Debug)]
pub enum Auth {
    Dial(Introspection),
    /// Everybody is the same person. Development only.
    None,
}

/// Asking DIAL Core whose key this is.
#[derive(Debug)]
pub struct Introspection {
    pub client: Client,
    /// Origin of DIAL Core.
    pub core: String,
    /// Our deployment ids. The path says nothing: it is the caller's.
    pub deployments: Vec<String>,
}

/// The per-request key of a request: one header, plain ASCII, not empty.
pub fn key(headers: &HeaderMap) -> Option<Secret> {
    let mut keys = headers.get_all("api-key").iter();
    let (Some(only), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let key = only.to_str().ok()?.trim();
    (1..=KEY_CAP).contains(&key.len()).then(|| Secret::new(key))
}

impl Auth {
    /// Starts the verification. A request without any key is refused at once.
    pub fn verify(&self, key: Option<&Secret>) -> Result<Verification, Failure> {
        match self {
            Self::None => Ok(std::future::ready(Ok(Owner::new(TENANT, "development"))).boxed()),
            Self::Dial(introspection) => {
                let key = key.ok_or_else(|| {
                    Failure::new(
                        Code::Unauthorized,
                        "one Api-Key header is required",
                        "You are not signed in.",
                    )
                })?;
                Ok(introspection.owner(key))
            }
        }
    }

    /// Whether callers can be verified now; `None` where nobody is asked.
    pub async fn check(&self, within: Duration) -> Option<Checked> {
        let Self::Dial(introspection) = self else {
            return None;
        };
        let begun = Instant::now();
        let url = format!("{}/health", introspection.core);
        let asked = upstream::probe(
            &introspection.client,
            Trust::Configured,
            url,
            begun + within,
        )
        .await;
        Some(Checked {
            name: "dial-core".into(),
            part: Part::Gatekeeper,
            up: asked.is_ok(),
            latency: begun.elapsed(),
            problem: asked.err().map(|error| error.to_string()),
        })
    }
}

impl Introspection {
    fn owner(&self, key: &Secret) -> Verification {
        let call = Call::get(
            format!("{}/v1/bucket", self.core),
            Limits {
                first_byte: WITHIN,
                idle: WITHIN,
                until: Instant::now() + WITHIN,
            },
        )
        .secret("api-key", "", key);
        let client = self.client.clone();
        let ours = self.deployments.clone();
        async move {
            match client.body(call).await {
                Ok(body) if serde_json::from_slice::<IgnoredAny>(&body).is_ok() => {
                    owner(&body, &ours)
                }
                // An answer that is no JSON is not Core's.
                Ok(_) => Err(unavailable()),
                Err(upstream::Error::Status {
                    status: 401 | 403, ..
                }) => Err(invalid("DIAL Core does not know this key")),
                // One person's trouble with Core's limits must not look like the whole service's.
                Err(upstream::Error::Status { status: 429, .. }) => Err(Failure::new(
                    Code::InternalError,
                    "DIAL Core's rate limit for this key is used up",
                    "Too many requests were made. Please try again in a minute.",
                )),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "DIAL Core cannot be asked about a caller"
                    );
                    Err(unavailable())
                }
            }
        }
        .boxed()
    }
}

/// `appdata` is `<bucket of the person>/appdata/<deployment the key was issued for>`; a project's own key has none.
fn owner(body: &[u8], ours: &[String]) -> Result<Owner, Failure> {
    #[derive(Deserialize)]
    struct Bucket {
        #[serde(default)]
        appdata: Option<String>,
    }
    let appdata = serde_json::from_slice::<Bucket>(body)
        .ok()
        .and_then(|bucket| bucket.appdata)
        .ok_or_else(|| invalid("this is not a per-request key of DIAL Core"))?;
    let (person, deployment) = appdata
        .split_once("/appdata/")
        .filter(|(person, _)| !person.is_empty())
        .ok_or_else(|| invalid("this is not a per-request key of DIAL Core"))?;
    let deployment = percent_decode_str(deployment).decode_utf8_lossy();
    if ours.iter().any(|id| *id == deployment) {
        Ok(Owner::new(TENANT, person))
    } else {
        Err(invalid(
            "this key was issued for another deployment; MAS_DEPLOYMENT names ours",
        ))
    }
}

fn unavailable() -> Failure {
    Failure::new(
        Code::ServiceUnavailable,
        "DIAL Core cannot be asked about the caller",
        "The service cannot be used at the moment. Please try again soon.",
    )
}

fn invalid(message: &str) -> Failure {
    Failure::new(
        Code::InvalidCredentials,
        message,
        "Your sign-in was not accepted.",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_plain_key_is_a_key() {
        let keys = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("api-key", HeaderValue::from_bytes(value).unwrap());
            }
            key(&headers)
        };
        assert_eq!(keys(&[b" k1 "]), Some(Secret::new("k1")));
        assert_eq!(keys(&[]), None);
        assert_eq!(keys(&[b""]), None);
        assert_eq!(keys(&[b"  "]), None);
        assert_eq!(keys(&[b"k1", b"k2"]), None);
        assert_eq!(keys(&["ключ".as_bytes()]), None);
        assert_eq!(keys(&[&[b'k'; KEY_CAP + 1]]), None);
    }

    #[test]
    fn the_owner_is_the_head_of_appdata_and_its_tail_must_be_us() {
        let ours = ["mas-coordinator".to_owned()];
        let read = |body: &str, ours: &[String]| {
            owner(body.as_bytes(), ours).map_err(|failure| failure.code)
        };
        let alice = Ok(Owner::new("default", "3xA"));
        let refused = Err(Code::InvalidCredentials);
        assert_eq!(
            read(
                r#"{"bucket":"b","appdata":"3xA/appdata/mas-coordinator"}"#,
                &ours
            ),
            alice
        );
        assert_eq!(
            read(
                r#"{"bucket":"b","appdata":"3xA/appdata/mas%2Dcoordinator"}"#,
                &ours
            ),
            alice
        );
        assert_eq!(
            read(r#"{"bucket":"b","appdata":"3xA/appdata/other"}"#, &ours),
            refused
        );
        assert_eq!(
            read(
                r#"{"bucket":"b","appdata":"/appdata/mas-coordinator"}"#,
                &ours
            ),
            refused
        );
        assert_eq!(read(r#"{"bucket":"b"}"#, &ours), refused);
        assert_eq!(read("nonsense", &ours), refused);
    }
}
