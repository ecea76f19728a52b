//! Where an identity provider's keys come from: one configured address, asked seldom and never twice at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::keys::KeySet;
use crate::domain::access::Algorithm;
use crate::resilience::health::{Checked, Part};
use crate::upstream::{self, Call, Client, Limits};

/// The provider may take this long.
const WITHIN: Duration = Duration::from_secs(5);
/// How long keys are taken for valid without asking again.
const FRESH: Duration = Duration::from_mins(10);
/// How long they are used while the provider does not answer: long enough for any repair, and not for ever.
const STALE: Duration = Duration::from_hours(24);
/// An unknown key id costs the provider no more than one request in this time, and so does its silence.
const PAUSE: Duration = Duration::from_mins(1);
/// The same while there are no keys at all, when every caller waits for them.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// The keys of one identity provider.
#[derive(Debug)]
pub struct Issuer {
    client: Client,
    /// Nothing in a token can name another address.
    address: String,
    known: Mutex<Known>,
    /// Held while asking, so that those who come meanwhile share the answer. Whoever leaves lets the next one ask.
    asking: tokio::sync::Mutex<()>,
}

/// What is known, and when it was asked for: a value and its steps.
#[derive(Debug, Default)]
struct Known {
    set: Option<(Instant, Arc<KeySet>)>,
    failed_at: Option<Instant>,
    /// When an unknown id last made us ask.
    widened_at: Option<Instant>,
}

/// Where to look a key up.
#[derive(Debug, PartialEq)]
pub enum Lookup {
    In(Arc<KeySet>),
    /// The keys have to be fetched first.
    Fetch,
    /// There are no keys and none to be had.
    Unavailable,
}

impl Issuer {
    pub fn new(client: Client, address: String) -> Self {
        Self {
            client,
            address,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// What is known now, without asking.
    pub fn look(&self, id: &str, algorithm: Algorithm) -> Lookup {
        self.with(|known| known.look(id, algorithm, Instant::now()))
    }

    /// The keys, asked for if that has not just been done by another; `None` when there are none to be had.
    pub async fn fetch(&self, id: &str, algorithm: Algorithm) -> Option<Arc<KeySet>> {
        let _asking = self.asking.lock().await;
        match self.look(id, algorithm) {
            Lookup::In(set) => return Some(set),
            Lookup::Unavailable => return None,
            Lookup::Fetch => {}
        }
        let limits = Limits {
            first_byte: WITHIN,
            idle: WITHIN,
            until: Instant::now() + WITHIN,
        };
        let call = Call::get(self.address.clone(), limits);
        let problem: Box<dyn std::error::Error> = match self.client.body(call).await {
            Ok(body) => match KeySet::read(&body) {
                Some(set) => {
                    return Some(self.with(|known| known.arrived(set, Instant::now())));
                }
                None => "the answer is no set of keys".into(),
            },
            Err(error) => error.into(),
        };
        tracing::error!(
            error = &*problem,
            "the keys of the identity provider cannot be had"
        );
        self.with(|known| known.failed(Instant::now()))
    }

    pub async fn check(&self, within: Duration) -> Checked {
        let begun = Instant::now();
        let asked = upstream::probe(&self.client, self.address.clone(), begun + within).await;
        Checked {
            name: "identity-provider".into(),
            part: Part::Gatekeeper,
            up: asked.is_ok(),
            latency: begun.elapsed(),
            problem: asked.err().map(|error| error.to_string()),
        }
    }

    fn with<T>(&self, step: impl FnOnce(&mut Known) -> T) -> T {
        step(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn look(&self, id: &str, algorithm: Algorithm, now: Instant) -> Lookup {
        let lately = |at: Option<Instant>, pause| at.is_some_and(|at| now < at + pause);
        match &self.set {
            Some((at, set)) if now < *at + FRESH => {
                let settled = set.find(id, algorithm).is_some()
                    || lately(self.widened_at, PAUSE)
                    || lately(self.failed_at, PAUSE);
                if settled {
                    Lookup::In(Arc::clone(set))
                } else {
                    Lookup::Fetch
                }
            }
            Some((at, set)) if now < *at + STALE && lately(self.failed_at, PAUSE) => {
                Lookup::In(Arc::clone(set))
            }
            _ if lately(self.failed_at, SHORT_PAUSE) => Lookup::Unavailable,
            _ => Lookup::Fetch,
        }
    }

    fn arrived(&mut self, set: KeySet, now: Instant) -> Arc<KeySet> {
        // A set that was still fresh was asked for because of an id that it does not have.
        if (self.set.as_ref()).is_some_and(|(at, _)| now < *at + FRESH) {
            self.widened_at = Some(now);
        }
        let set = Arc::new(set);
        self.set = Some((now, Arc::clone(&set)));
        self.failed_at = None;
        set
    }

    /// What is left: the keys there were, unless they are too old.
    fn failed(&mut self, now: Instant) -> Option<Arc<KeySet>> {
        self.failed_at = Some(now);
        let (_, set) = (self.set.as_ref()).filter(|(at, _)| now < *at + STALE)?;
        Some(Arc::clone(set))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn set(ids: &[&str]) -> KeySet {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let keys: Vec<_> = (ids.iter())
            .map(|id| json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x}))
            .collect();
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn look(known: &Known, id: &str, now: Instant) -> &'static str {
        match known.look(id, Algorithm::EdDsa, now) {
            Lookup::In(set) if set.find(id, Algorithm::EdDsa).is_some() => "found",
            Lookup::In(_) => "unknown",
            Lookup::Fetch => "fetch",
            Lookup::Unavailable => "unavailable",
        }
    }

    #[test]
    fn keys_are_used_for_ten_minutes_and_then_asked_for_again() {
        let start = Instant::now();
        let mut known = Known::default();
        assert_eq!(look(&known, "a", start), "fetch");
        known.arrived(set(&["a"]), start);
        assert_eq!(look(&known, "a", start + FRESH - SECOND), "found");
        assert_eq!(look(&known, "a", start + FRESH), "fetch");
    }

    #[test]
    fn unknown_ids_make_us_ask_once_a_minute() {
        let start = Instant::now();
        let mut known = Known::default();
        known.arrived(set(&["a"]), start);
        assert_eq!(look(&known, "b", start + SECOND), "fetch");
        known.arrived(set(&["a"]), start + SECOND);
        for id in ["b", "c", "https://attacker.example/keys"] {
            assert_eq!(look(&known, id, start + PAUSE), "unknown", "{id}");
            assert_eq!(look(&known, id, start + SECOND + PAUSE), "fetch", "{id}");
        }
        assert_eq!(look(&known, "a", start + PAUSE), "found");
    }

    #[test]
    fn a_silent_provider_is_asked_once_a_minute_and_old_keys_go_on_for_a_day() {
        let start = Instant::now();
        let mut known = Known::default();
        known.arrived(set(&["a"]), start);
        let later = start + FRESH;
        assert!(known.failed(later).is_some());
        assert_eq!(look(&known, "a", later + PAUSE - SECOND), "found");
        assert_eq!(look(&known, "b", later + PAUSE - SECOND), "unknown");
        assert_eq!(look(&known, "a", later + PAUSE), "fetch");
        let much_later = start + STALE;
        assert_eq!(known.failed(much_later), None);
        assert_eq!(look(&known, "a", much_later), "unavailable");
    }

    #[test]
    fn without_any_keys_the_provider_is_asked_again_after_a_second() {
        let start = Instant::now();
        let mut known = Known::default();
        assert_eq!(known.failed(start), None);
        assert_eq!(look(&known, "a", start), "unavailable");
        assert_eq!(look(&known, "a", start + SHORT_PAUSE), "fetch");
        known.arrived(set(&["a"]), start + SHORT_PAUSE);
        assert_eq!(look(&known, "a", start + SHORT_PAUSE), "found");
    }
}
