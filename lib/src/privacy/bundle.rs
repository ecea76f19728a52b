//! The form of an export: one line that says what follows and is signed, then a line for each record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::ids::{Owner, Timestamp};
use crate::store::keyring::Keyring;
use crate::store::{self, Record};

const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub tenant: String,
    pub owner: String,
    /// Seconds since 1970.
    pub made_at: Timestamp,
    /// How many records of each kind.
    pub counts: BTreeMap<String, u64>,
    /// Of everything after the first line.
    pub sha256: String,
    pub kid: String,
    pub signature: String,
}

/// A bundle as text.
pub struct Bundle {
    pub text: String,
    pub counts: BTreeMap<&'static str, u64>,
}

/// Why a bundle is not what was exported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the first line is no manifest")]
    NoManifest,
    #[error("the bundle has format {0}, this program reads format {FORMAT}")]
    Format(u32),
    #[error("the key {0:?} is not known here, so nothing can be said")]
    UnknownKey(String),
    #[error("the manifest is not as it was signed")]
    Manifest,
    #[error("the records are not those that were exported")]
    Records,
    #[error("the manifest counts other records than there are")]
    Counts,
}

pub fn write(
    keys: &Keyring,
    owner: &Owner,
    made_at: Timestamp,
    records: &[Record],
) -> Result<Bundle, store::Error> {
    let mut body = String::new();
    let mut counts = BTreeMap::new();
    for record in records {
        let line = serde_json::to_string(record);
        body.push_str(&line.map_err(|error| store::Error::Unreadable(Some(error)))?);
        body.push('\n');
        *counts.entry(record.kind()).or_default() += 1;
    }
    let mut manifest = Manifest {
        format: FORMAT,
        tenant: owner.tenant().to_owned(),
        owner: owner.id().to_owned(),
        made_at,
        counts: (counts.iter())
            .map(|(kind, count)| ((*kind).to_owned(), *count))
            .collect(),
        sha256: digest(&body),
        kid: keys.kid().to_owned(),
        signature: String::new(),
    };
    manifest.signature = keys.sign(&[&manifest.signed()]);
    let line = serde_json::to_string(&manifest);
    let line = line.map_err(|error| store::Error::Unreadable(Some(error)))?;
    let text = format!("{line}\n{body}");
    Ok(Bundle { text, counts })
}

/// Whether a bundle is as it was exported.
pub fn verify(keys: &Keyring, text: &str) -> Result<Manifest, Refused> {
    let (first, body) = text.split_once('\n').ok_or(Refused::NoManifest)?;
    let manifest: Manifest = serde_json::from_str(first).map_err(|_| Refused::NoManifest)?;
    if manifest.format != FORMAT {
        return Err(Refused::Format(manifest.format));
    }
    match keys.verify(&manifest.kid, &[&manifest.signed()], &manifest.signature) {
        None => return Err(Refused::UnknownKey(manifest.kid)),
        Some(false) => return Err(Refused::Manifest),
        Some(true) => {}
    }
    if digest(body) != manifest.sha256 {
        return Err(Refused::Records);
    }
    let counts = counted(body);
    if counts != manifest.counts {
        return Err(Refused::Counts);
    }
    Ok(manifest)
}

/// How many records of each kind there are.
fn counted(body: &str) -> BTreeMap<String, u64> {
    #[derive(Deserialize)]
    struct Tagged {
        kind: String,
    }
    let mut counts = BTreeMap::new();
    for line in body.lines() {
        let kind =
            serde_json::from_str(line).map_or_else(|_| String::new(), |Tagged { kind }| kind);
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

impl Manifest {
    /// What is signed: everything but the signature.
    fn signed(&self) -> String {
        let unsigned = Self {
            signature: String::new(),
            ..self.clone()
        };
        serde_json::to_string(&unsigned).unwrap_or_default()
    }
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
