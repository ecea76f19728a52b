//! The document of agents, fetched from where it is.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use crate::domain::ids::Clock;
use crate::resilience::retry::Repeat;
use crate::settings::{Env, Place, document};
use crate::store::aws::{Service, Signed};
use crate::store::secrets::{self, Vault};
use crate::store::{Entries, Kept};
use crate::upstream::{Call, Client, Limits};

/// How long a service of AWS may take.
const WITHIN: Duration = Duration::from_secs(3);

/// A document, and what names this version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub text: Arc<str>,
    pub version: String,
}

impl Document {
    /// A document that nobody else has named.
    pub fn of(text: &str) -> Self {
        Self {
            version: digest(text),
            text: text.into(),
        }
    }

    pub fn kept(kept: Kept) -> Self {
        Self {
            text: kept.text.into(),
            version: kept.version,
        }
    }
}

/// Eight letters that tell texts apart.
pub fn digest(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let first = digest.first_chunk().copied().unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(first))
}

/// Where the document is, and how it is reached.
#[derive(Clone, Debug)]
pub struct Source {
    pub place: Place,
    /// For a place that is a service of AWS.
    pub service: Option<Service>,
    /// Where the credentials are that a document refers to.
    pub vault: Vault,
    pub client: Client,
    /// Origin of DIAL Core, which lists deployments.
    pub core: Option<String>,
    pub clock: Clock,
}

impl Source {
    /// The document, unless it is as it was seen. Fails with a sentence.
    pub async fn fetch(
        &self,
        entries: &Entries,
        seen: Option<&Document>,
    ) -> Result<Option<Document>, String> {
        let found = match (&self.place, &self.service) {
            (Place::S3 { bucket, object }, Some(service)) => {
                let request = service.object(bucket, object, self.clock.now()).await?;
                let tag = seen.map(|seen| seen.version.as_str());
                let fetched = self.client.fetch(call(request), tag).await;
                let Some(fetched) = fetched.map_err(|error| said(&error))? else {
                    return Ok(None);
                };
                let text = readable(&fetched.body)?;
                Document {
                    version: fetched.tag.unwrap_or_else(|| digest(text)),
                    text: text.into(),
                }
            }
            (Place::Ssm(name), Some(service)) => {
                let request = service.parameter(name, self.clock.now()).await?;
                let body = self.client.body(call(request)).await;
                parameter(&body.map_err(|error| said(&error))?)?
            }
            (Place::Table, _) => match entries.document().await {
                Ok(Some(kept)) => Document::kept(kept),
                // Nothing was put there yet.
                Ok(None) => Document::of(&self.place.near()?),
                Err(error) => return Err(said(&error)),
            },
            _ => Document::of(&self.place.near()?),
        };
        Ok(Some(found).filter(|found| seen != Some(found)))
    }

    /// Fetches the credentials that a document refers to, for whoever reads it with this environment. What cannot be had
    /// stays as it was, and a document that needs it is refused.
    pub async fn credentials(&self, text: &str, env: &mut Env) {
        let keys = document::references(text);
        if keys.is_empty() {
            return;
        }
        let fetched = async {
            let named = secrets::named(keys)?;
            let fetched = timeout(WITHIN, secrets::fetch(&named, &self.vault)).await;
            let fetched = fetched.unwrap_or_else(|_| Err("they did not come in time".into()))?;
            let names = named.into_iter().map(|(name, _)| name);
            Ok::<_, String>(names.zip(fetched))
        };
        match fetched.await {
            Ok(fetched) => fetched.for_each(|(name, secret)| env.set(&name, secret.expose())),
            Err(problem) => tracing::warn!(
                problem,
                "the credentials that the document of agents refers to cannot be had"
            ),
        }
    }
}

fn parameter(body: &[u8]) -> Result<Document, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        parameter: Parameter,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Parameter {
        value: String,
        version: u64,
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "the answer holds no parameter".to_owned())?;
    Ok(Document {
        text: answer.parameter.value.into(),
        version: answer.parameter.version.to_string(),
    })
}

fn readable(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|_| "the document is no text".to_owned())
}

/// A read, whatever its method: it may be made again.
fn call(request: Signed) -> Call {
    let limits = Limits {
        first_byte: WITHIN,
        idle: WITHIN,
        until: Instant::now() + WITHIN,
    };
    let call = match request.body {
        Some(body) => Call::post(request.url, body, limits),
        None => Call::get(request.url, limits),
    };
    call.signed(&request.headers).repeated(Repeat::Freely)
}

/// An error with its causes, in one sentence.
pub fn said(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}
