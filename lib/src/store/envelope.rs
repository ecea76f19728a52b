//! The client's half of the memory: a small signed object in the message state, bound to its owner.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::keyring::Keyring;
use crate::domain::conversation::{Envelope, Recalled};
use crate::domain::ids::Owner;
use crate::domain::message::OpaqueState;
use crate::domain::rules::Caps;

/// What a sealed state holds beside its payload, in bytes, counted like the payload before base64.
const FRAME: usize = 384;
const VERSION: u8 = 1;

/// The keys that sign states. The first one signs; every one of them verifies, so keys can be rotated.
#[derive(Clone)]
pub struct Seal {
    /// Wiped when they are dropped.
    keys: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// The most a sealed state may take as JSON, in bytes.
    cap: usize,
}

/// The state as it travels. The payload is base64, so that no client's JSON library can change or inflate what was signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedState {
    v: u8,
    kid: String,
    payload: String,
    mac: String,
}

/// A new random key in the form [`Seal::parse`] reads. Fails where the operating system has no randomness.
pub fn fresh_key(kid: &str) -> std::io::Result<String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    Ok(format!("{kid}:{}", STANDARD.encode(key)))
}

impl Seal {
    /// Reads `kid:base64` pairs separated by commas; keys have at least 32 bytes. Fails with a sentence.
    pub fn parse(pairs: &str) -> Result<Self, String> {
        let keys = pairs
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (kid, key) = pair
                    .split_once(':')
                    .ok_or("each key must look like kid:base64")?;
                let key = STANDARD
                    .decode(key)
                    .map_err(|_| format!("key {kid} is not base64"))?;
                if key.len() < 32 {
                    return Err(format!(
                        "key {kid} has {} bytes, at least 32 are needed",
                        key.len()
                    ));
                }
                Ok((kid.to_owned(), Zeroizing::new(key)))
            })
            .collect::<Result<Vec<_>, String>>()?;
        if keys.is_empty() {
            return Err("at least one kid:base64 pair is needed".into());
        }
        Ok(Self {
            keys,
            cap: Caps::default().state,
        })
    }

    /// Keeps sealed states to so many bytes.
    #[must_use]
    pub fn capped(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    /// Keys for another purpose, made of these.
    pub fn keyring(&self, purpose: &str) -> Keyring {
        Keyring::derived(&self.keys, purpose)
    }

    /// Signs an envelope for its owner. What makes it too large is left to the store: the agent's state, then the
    /// whole exchange, then the sessions.
    pub fn seal(&self, owner: &Owner, mut envelope: Envelope) -> SealedState {
        let cap = (self.cap * 3 / 4).saturating_sub(FRAME);
        let mut payload = json(&envelope);
        for shrink in [
            (|envelope| {
                if let Some(exchange) = &mut envelope.exchange {
                    exchange.state = None;
                }
            }) as fn(&mut Envelope),
            |envelope| envelope.exchange = None,
            |envelope| envelope.sessions.clear(),
        ] {
            if payload.len() > cap {
                shrink(&mut envelope);
                envelope.stored = true;
                payload = json(&envelope);
            }
        }
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let (kid, key) = self.keys.first().cloned().unwrap_or_default();
        SealedState {
            v: VERSION,
            mac: URL_SAFE_NO_PAD.encode(mac(&key, owner, &payload).finalize().into_bytes()),
            kid,
            payload,
        }
    }

    /// What a message's state turns out to be for this owner. Never an error: what is not good is nothing.
    pub fn open(&self, owner: &Owner, state: Option<&OpaqueState>) -> Recalled {
        let Some(state) = state else {
            return Recalled::Nothing;
        };
        let Ok(sealed) = serde_json::from_str::<SealedState>(state.get()) else {
            return legacy(state);
        };
        let envelope = self.verified(owner, &sealed);
        if envelope.is_none() {
            tracing::warn!(
                security = "state_rejected",
                "a message state without a good signature was ignored"
            );
        }
        envelope.map_or(Recalled::Nothing, Recalled::Sealed)
    }

    fn verified(&self, owner: &Owner, sealed: &SealedState) -> Option<Envelope> {
        let (_, key) = self.keys.iter().find(|(kid, _)| *kid == sealed.kid)?;
        let claimed = URL_SAFE_NO_PAD.decode(&sealed.mac).ok()?;
        (sealed.v == VERSION).then_some(())?;
        // Constant time.
        mac(key, owner, &sealed.payload)
            .verify_slice(&claimed)
            .ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&sealed.payload).ok()?).ok()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|(kid, _)| kid))
            .finish()
    }
}

/// The signature covers the owner, so a state is worth nothing to anybody else.
fn mac(key: &[u8], owner: &Owner, payload: &str) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&[0; 64].into()));
    for part in ["mas-state-v1", owner.tenant(), owner.id(), payload] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}

fn json(envelope: &Envelope) -> String {
    serde_json::to_string(envelope).unwrap_or_default()
}

/// The keys of the reference coordinator: `is_gpa`, `gpa_messages`, `ums_conversation_id`.
fn legacy(state: &OpaqueState) -> Recalled {
    #[derive(Deserialize)]
    struct Legacy<'a> {
        #[serde(default)]
        is_gpa: Option<bool>,
        #[serde(borrow, default)]
        gpa_messages: Option<&'a RawValue>,
        #[serde(default)]
        ums_conversation_id: Option<String>,
    }
    let Ok(legacy) = serde_json::from_str::<Legacy>(state.get()) else {
        return Recalled::Nothing;
    };
    let gpa = (legacy.is_gpa == Some(true)).then(|| legacy.gpa_messages.and_then(OpaqueState::new));
    if gpa.is_none() && legacy.ums_conversation_id.is_none() {
        return Recalled::Nothing;
    }
    Recalled::Legacy {
        gpa,
        ums_session: legacy.ums_conversation_id,
    }
}

#[cfg(test)]
#[path = "envelope/tests/fuzz.rs"]
mod fuzz_tests;
#[cfg(test)]
mod tests;
