//! The client's half of the memory: a small signed object in the message state, bound to its owner.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::keyring::Keyring;
use crate::domain::conversation::{Envelope, Recalled};
use crate::domain::ids::Owner;
use crate::domain::message::OpaqueState;
use crate::domain::rules::Caps;

/// What a sealed state holds beside its payload, in bytes, counted like the payload before base64.
const FRAME: usize = 384;
const VERSION: u8 = 1;

/// What signs states.
#[derive(Clone, Debug)]
pub struct Seal {
    keys: Keyring,
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

impl Seal {
    /// Reads the keys, see [`Keyring::parse`].
    pub fn parse(pairs: &str) -> Result<Self, String> {
        Ok(Self {
            keys: Keyring::parse(pairs)?,
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
        self.keys.derived(purpose)
    }

    /// Signs an envelope for its owner. What makes it too large is left to the store: the agents' states, then the
    /// whole exchanges, then the sessions.
    pub fn seal(&self, owner: &Owner, mut envelope: Envelope) -> SealedState {
        let cap = (self.cap * 3 / 4).saturating_sub(FRAME);
        let mut payload = json(&envelope);
        for shrink in [
            (|envelope| {
                for exchange in &mut envelope.exchanges {
                    exchange.state = None;
                }
            }) as fn(&mut Envelope),
            |envelope| envelope.exchanges.clear(),
            |envelope| envelope.sessions.clear(),
        ] {
            if payload.len() > cap {
                shrink(&mut envelope);
                envelope.stored = true;
                payload = json(&envelope);
            }
        }
        let payload = URL_SAFE_NO_PAD.encode(payload);
        SealedState {
            v: VERSION,
            mac: self.keys.sign(&signed(owner, &payload)),
            kid: self.keys.kid().to_owned(),
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
        let signed = signed(owner, &sealed.payload);
        let good = self.keys.verify(&sealed.kid, &signed, &sealed.mac);
        (sealed.v == VERSION && good == Some(true)).then_some(())?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&sealed.payload).ok()?).ok()
    }
}

/// The signature covers the owner, so a state is worth nothing to anybody else.
fn signed<'a>(owner: &'a Owner, payload: &'a str) -> [&'a str; 4] {
    ["mas-state-v1", owner.tenant(), owner.id(), payload]
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
