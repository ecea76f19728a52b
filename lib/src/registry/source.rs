//! The document of agents, fetched from where it is.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::remote::{Remote, said};
use crate::gateway::assertion::Signer;
use crate::settings::Place;
use crate::store::{Entries, Kept};

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

/// Where the document is, and how it and agents are asked.
#[derive(Clone, Debug)]
pub struct Source {
    pub place: Place,
    pub remote: Remote,
    /// Origin of DIAL Core, which lists deployments.
    pub core: Option<String>,
    /// Says who asks, to agents that want to know.
    pub signer: Option<Arc<Signer>>,
}

impl Source {
    /// The document, unless it is as it was seen. Fails with a sentence.
    pub async fn fetch(
        &self,
        entries: &Entries,
        seen: Option<&Document>,
    ) -> Result<Option<Document>, String> {
        let found = match &self.place {
            Place::S3 { bucket, object } => {
                let tag = seen.map(|seen| seen.version.as_str());
                let Some(fetched) = self.remote.object(bucket, object, tag).await? else {
                    return Ok(None);
                };
                let text = readable(&fetched.body)?;
                Document {
                    version: fetched.tag.unwrap_or_else(|| digest(text)),
                    text: text.into(),
                }
            }
            Place::Ssm(name) => {
                let parameter = self.remote.parameter(name).await?;
                Document {
                    text: parameter.value.into(),
                    version: parameter.version.to_string(),
                }
            }
            Place::Table => match entries.document().await {
                Ok(Some(kept)) => Document::kept(kept),
                // Nothing was put there yet.
                Ok(None) => Document::of(&self.place.near()?),
                Err(error) => return Err(said(&error)),
            },
            Place::BuiltIn | Place::Text(_) | Place::File(_) => Document::of(&self.place.near()?),
        };
        Ok(Some(found).filter(|found| seen != Some(found)))
    }
}

fn readable(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|_| "the document is no text".to_owned())
}
