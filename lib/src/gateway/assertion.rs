//! Who calls an agent, and for whom: a signed statement that is worth something for a minute, to that agent alone.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::domain::ids::{Clock, Owner, Secret};
use crate::domain::turn::AgentTask;

/// How long an assertion is worth anything.
const LIFE: Duration = Duration::from_mins(1);

/// Signs assertions.
pub struct Signer {
    /// The first signs, all are published.
    signing: Vec<Key>,
    /// Hashes the users' names. It is made of the last key, so that a new one in front changes nobody's name.
    subjects: hmac::Key,
    issuer: String,
    clock: Clock,
    /// What makes each assertion's id its own: the process, and how many it has signed.
    process: u64,
    signed: AtomicU64,
}

struct Key {
    id: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// Reads `kid:base64` pairs of 32 bytes each. `process` is random.
    pub fn parse(pairs: &str, issuer: &str, process: u64, clock: Clock) -> Result<Self, String> {
        let mut signing: Vec<Key> = Vec::new();
        let mut last = None;
        for pair in pairs
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (id, seed) = pair
                .split_once(':')
                .ok_or("each key must look like kid:base64")?;
            let seed = Zeroizing::new(
                (STANDARD.decode(seed)).map_err(|_| format!("key {id} is not base64"))?,
            );
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
                .map_err(|_| format!("key {id} has {} bytes, 32 are needed", seed.len()))?;
            if signing.iter().any(|key| key.id == id) {
                return Err(format!("key {id} is listed twice"));
            }
            signing.push(Key {
                id: id.to_owned(),
                pair,
            });
            last = Some(seed);
        }
        let last = last.ok_or("at least one kid:base64 pair is needed")?;
        let derived = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &last),
            b"mas-assertion-subject-v1",
        );
        Ok(Self {
            signing,
            subjects: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            issuer: issuer.to_owned(),
            clock,
            process,
            signed: AtomicU64::new(0),
        })
    }

    /// The public keys, as agents fetch them.
    pub fn published(&self) -> Value {
        let keys = self.signing.iter().map(|key| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id,
                "x": URL_SAFE_NO_PAD.encode(key.pair.public_key()),
            })
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    /// A statement to one agent, about one task where there is one.
    pub fn sign(&self, audience: &str, task: Option<&AgentTask>) -> Option<Secret> {
        let key = self.signing.first()?;
        let now = self.clock.now().seconds();
        let count = self.signed.fetch_add(1, Ordering::Relaxed);
        let mut claims = json!({
            "iss": self.issuer, "aud": audience, "iat": now, "exp": now.plus(LIFE),
            "jti": format!("{:016x}-{count:x}", self.process),
        });
        if let (Some(claims), Some(task)) = (claims.as_object_mut(), task) {
            claims.insert("turn".into(), task.turn.to_string().into());
            if let Some(owner) = task.caller.owner.get() {
                claims.insert("sub".into(), self.subject(audience, owner).into());
                claims.insert("tenant".into(), owner.tenant().into());
            }
        }
        let head = json!({"alg": "EdDSA", "typ": "JWT", "kid": key.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(signed.as_bytes()));
        Some(Secret::new(&format!("{signed}.{signature}")))
    }

    /// The same person is somebody else to every agent, so that agents cannot put together what each knows.
    fn subject(&self, audience: &str, owner: &Owner) -> String {
        let mut context = hmac::Context::with_key(&self.subjects);
        for part in [audience, owner.tenant(), owner.id()] {
            // Its length before it, so that no part can reach into its neighbour.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.sign())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.signing.iter().map(|key| &key.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_refused_with_the_reason() {
        let key = STANDARD.encode([7; 32]);
        for (pairs, part) in [
            (String::new(), "at least one"),
            ("nokid".into(), "kid:base64"),
            ("k1:***".into(), "not base64"),
            ("k1:AAEC".into(), "3 bytes"),
            (format!("k1:{key},k1:{key}"), "twice"),
        ] {
            let problem = Signer::parse(&pairs, "mas", 1, Clock::default()).unwrap_err();
            assert!(problem.contains(part), "{pairs}: {problem}");
        }
    }

    #[test]
    fn a_person_keeps_the_name_that_an_agent_knows_when_a_new_key_signs() {
        let (old, new) = (STANDARD.encode([7; 32]), STANDARD.encode([8; 32]));
        let signer = |pairs: &str| Signer::parse(pairs, "mas", 1, Clock::default()).unwrap();
        let before = signer(&format!("k1:{old}"));
        let after = signer(&format!("k2:{new},k1:{old}"));
        let owner = Owner::new("bank", "alice");
        assert_eq!(before.subject("a", &owner), after.subject("a", &owner));
        assert_ne!(before.subject("a", &owner), before.subject("b", &owner));
        assert_ne!(
            before.subject("a", &owner),
            before.subject("a", &Owner::new("ban", "kalice"))
        );
        assert_eq!(after.published()["keys"][0]["kid"], "k2");
        assert_eq!(format!("{after:?}"), r#"["k2", "k1"]"#);
    }
}
