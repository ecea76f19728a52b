//! DIAL Core is asked whose per-request key this is.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::{Answer, DEVELOPMENT, KEY_CAP, Refusal, credential, unavailable};
use crate::domain::access::{Identity, Role};
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, Secret};
use crate::domain::sentences;
use crate::domain::trace::Trace;
use crate::http::trace;
use crate::resilience::health::{Checked, Part};
use crate::upstream::{self, Call, Client, Limits, Trust};

/// DIAL Core answers this question from memory.
const WITHIN: Duration = Duration::from_secs(5);
/// Names of people that are longer do not fit into a key of the table.
const PERSON_CAP: usize = 512;

/// Asking DIAL Core whose key this is.
#[derive(Debug)]
pub struct Introspection {
    pub client: Client,
    /// Origin of DIAL Core.
    pub core: String,
    /// Our deployment ids. The path says nothing: it is the caller's.
    pub deployments: Arc<[String]>,
    pub tenant: Arc<str>,
}

impl Introspection {
    pub(super) fn ask(&self, headers: &HeaderMap) -> Option<Answer> {
        Some(match credential(headers, "api-key", KEY_CAP)? {
            Ok(key) => self.identity(&Secret::new(key), trace::read(headers)),
            Err(refusal) => Answer::Known(Err(refusal)),
        })
    }

    pub async fn check(&self, within: Duration) -> Checked {
        let begun = Instant::now();
        let url = format!("{}/health", self.core);
        let asked = upstream::probe(&self.client, Trust::Configured, url, begun + within).await;
        Checked {
            name: "dial-core".into(),
            part: Part::Gatekeeper,
            up: asked.is_ok(),
            latency: begun.elapsed(),
            problem: asked.err().map(|error| error.to_string()),
        }
    }

    fn identity(&self, key: &Secret, trace: Option<Trace>) -> Answer {
        let url = format!("{}/v1/bucket", self.core);
        let client = self.client.clone();
        let (ours, tenant) = (Arc::clone(&self.deployments), Arc::clone(&self.tenant));
        let key = key.clone();
        let asking = async move {
            let limits = Limits {
                first_byte: WITHIN,
                idle: WITHIN,
                until: Instant::now() + WITHIN,
            };
            let mut call = Call::get(url, limits).secret("api-key", "", &key);
            if let Some(trace) = &trace {
                call = call.within(trace);
            }
            match client.body(call).await {
                Ok(body) if serde_json::from_slice::<IgnoredAny>(&body).is_ok() => {
                    identity(&body, &ours, &tenant)
                }
                // An answer that is no JSON is not Core's.
                Ok(_) => Err(Refusal::Unknown(unavailable(UNASKED))),
                Err(upstream::Error::Status {
                    status: 401 | 403, ..
                }) => Err(Refusal::Wrong("DIAL Core does not know this key")),
                // One person's trouble with Core's limits must not look like the whole service's.
                Err(upstream::Error::Status { status: 429, .. }) => {
                    Err(Refusal::Unknown(Failure::new(
                        Code::InternalError,
                        "DIAL Core's rate limit for this key is used up",
                        sentences::too_many_requests(),
                    )))
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "DIAL Core cannot be asked about a caller"
                    );
                    Err(Refusal::Unknown(unavailable(UNASKED)))
                }
            }
        };
        Answer::Asking(asking.boxed())
    }
}

const UNASKED: &str = "DIAL Core cannot be asked about the caller";

/// `appdata` is `<bucket of the person>/appdata/<deployment the key was issued for>`; a project's own key has none.
fn identity(body: &[u8], ours: &[String], tenant: &str) -> Result<Identity, Refusal> {
    #[derive(Deserialize)]
    struct Bucket {
        #[serde(default)]
        appdata: Option<String>,
    }
    let foreign = || Refusal::Wrong("this is not a per-request key of DIAL Core");
    let appdata = serde_json::from_slice::<Bucket>(body)
        .ok()
        .and_then(|bucket| bucket.appdata)
        .ok_or_else(foreign)?;
    let (person, deployment) = appdata
        .split_once("/appdata/")
        .filter(|(person, _)| (1..=PERSON_CAP).contains(&person.len()))
        .ok_or_else(foreign)?;
    let deployment = percent_decode_str(deployment).decode_utf8_lossy();
    if !ours.iter().any(|id| *id == deployment) {
        return Err(Refusal::Wrong(
            "this key was issued for another deployment; MAS_DEPLOYMENT names ours",
        ));
    }
    Ok(Identity {
        owner: Owner::new(tenant, &id(person)),
        roles: vec![Role::User],
    })
}

/// A bucket's name as it is, as it always was. The ids of all other ways hold a colon, so a name that could be one of
/// theirs is marked.
fn id(person: &str) -> Cow<'_, str> {
    if person.contains(':') || person == DEVELOPMENT {
        Cow::Owned(format!("dial:{person}"))
    } else {
        Cow::Borrowed(person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_head_of_appdata_and_its_tail_must_be_us() {
        let ours = ["mas-coordinator".to_owned()];
        let read = |body: &str| {
            let read = identity(body.as_bytes(), &ours, "acme");
            read.map(|identity| identity.owner).ok()
        };
        let owner = |id| Some(Owner::new("acme", id));
        for (body, expected) in [
            (
                r#"{"bucket":"b","appdata":"3xA/appdata/mas-coordinator"}"#,
                owner("3xA"),
            ),
            (
                r#"{"bucket":"b","appdata":"3xA/appdata/mas%2Dcoordinator"}"#,
                owner("3xA"),
            ),
            (r#"{"bucket":"b","appdata":"3xA/appdata/other"}"#, None),
            (
                r#"{"bucket":"b","appdata":"/appdata/mas-coordinator"}"#,
                None,
            ),
            (r#"{"bucket":"b"}"#, None),
            ("nonsense", None),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
    }

    #[test]
    fn no_name_of_a_bucket_is_an_id_of_another_way() {
        for person in ["jwt:alice", "service:core", "dial:x", "development"] {
            assert_eq!(id(person), format!("dial:{person}"));
        }
        assert_eq!(id("3xA"), "3xA");
    }
}
