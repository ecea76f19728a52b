//! A signed token proves whom an identity provider says it is about.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::issuer::{Issuer, Lookup};
use super::keys::KeySet;
use super::{Answer, Refusal, credential, unavailable};
use crate::domain::access::{Algorithm, Identity, JwtRules, Role};
use crate::domain::ids::{Owner, Timestamp};
use crate::resilience::health::Checked;
use crate::upstream::Client;

/// Longer tokens are not looked at.
const TOKEN_CAP: usize = 16 * 1024;
/// Clocks may differ by this many seconds.
const LEEWAY: f64 = 60.0;
/// Longer names do not fit into a key of the table.
const NAME_CAP: usize = 256;

/// The tokens that are taken.
#[derive(Debug)]
pub struct Tokens {
    judge: Arc<Judge>,
}

#[derive(Debug)]
struct Judge {
    rules: JwtRules,
    tenant: Arc<str>,
    issuer: Issuer,
}

/// A token taken apart. Nothing in it is believed before the signature is verified, and of its head only these three
/// are ever read: keys and addresses of keys that it brings along do not exist for us.
struct Token {
    /// Head and claims as they were signed.
    signed: String,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key: String,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// What must be understood to read the token rightly: there is nothing of that kind that we do.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl Tokens {
    pub fn new(rules: &JwtRules, tenant: &Arc<str>, client: &Client) -> Self {
        Self {
            judge: Arc::new(Judge {
                rules: rules.clone(),
                tenant: Arc::clone(tenant),
                issuer: Issuer::new(client.clone(), rules.jwks.clone()),
            }),
        }
    }

    pub(super) fn ask(&self, headers: &HeaderMap, now: Timestamp) -> Option<Answer> {
        // The scheme's name comes on top.
        let bearer = credential(headers, "authorization", TOKEN_CAP + "Bearer ".len())?;
        let token = bearer.and_then(|bearer| self.judge.read(bearer));
        let token = match token {
            Ok(token) => token,
            Err(refusal) => return Some(Answer::Known(Err(refusal))),
        };
        let none = || Refusal::Unknown(unavailable("the callers' tokens cannot be verified"));
        Some(match self.judge.issuer.look(&token.key, token.algorithm) {
            Lookup::In(keys) => Answer::Known(self.judge.verify(&token, &keys, now)),
            Lookup::Unavailable => Answer::Known(Err(none())),
            Lookup::Fetch => {
                let judge = Arc::clone(&self.judge);
                let asking = async move {
                    let keys = judge.issuer.fetch(&token.key, token.algorithm).await;
                    let keys = keys.ok_or_else(none)?;
                    judge.verify(&token, &keys, now)
                };
                Answer::Asking(asking.boxed())
            }
        })
    }

    pub async fn check(&self, within: Duration) -> Checked {
        self.judge.issuer.check(within).await
    }
}

impl Judge {
    fn read(&self, bearer: &str) -> Result<Token, Refusal> {
        let malformed = Refusal::Wrong("this is no bearer token");
        let token = Token::read(bearer).ok_or(malformed)?;
        if self.rules.algorithms.contains(&token.algorithm) {
            Ok(token)
        } else {
            Err(Refusal::Wrong("the algorithm is not among those taken"))
        }
    }

    fn verify(&self, token: &Token, keys: &KeySet, now: Timestamp) -> Result<Identity, Refusal> {
        let key = keys
            .find(&token.key, token.algorithm)
            .ok_or(Refusal::Wrong("the identity provider has no such key"))?;
        if !key.has_signed(token.signed.as_bytes(), &token.signature) {
            return Err(Refusal::Wrong("the signature is wrong"));
        }
        let claims = token.signed.split_once('.').and_then(|(_, claims)| {
            let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
            serde_json::from_slice(&claims).ok()
        });
        let claims = claims.ok_or(Refusal::Wrong("the claims cannot be read"))?;
        identity(&self.rules, &self.tenant, &claims, now)
    }
}

impl Token {
    /// `None` for what is no token that could be verified here.
    fn read(bearer: &str) -> Option<Self> {
        let (scheme, token) = bearer.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let token = token.trim_start();
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        // Five parts are an encrypted token.
        if claims.contains('.') {
            return None;
        }
        let head = URL_SAFE_NO_PAD.decode(head).ok()?;
        if !head.starts_with(b"{") {
            return None;
        }
        let head: Head = serde_json::from_slice(&head).ok()?;
        if head.crit {
            return None;
        }
        Some(Self {
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            algorithm: (Algorithm::ALL.into_iter()).find(|it| it.as_str() == head.alg)?,
            key: head.kid?,
        })
    }
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

/// Whom verified claims are about, if they are meant for us and now.
fn identity(
    rules: &JwtRules,
    tenant: &str,
    claims: &Map<String, Value>,
    now: Timestamp,
) -> Result<Identity, Refusal> {
    check(rules, claims, now).map_err(Refusal::Wrong)?;
    let tenant = match &rules.tenant {
        Some(claim) => name(claims.get(claim)).ok_or(Refusal::Wrong("no tenant is named"))?,
        None => tenant,
    };
    let owner = name(claims.get(&rules.owner)).ok_or(Refusal::Wrong("no owner is named"))?;
    let granted = roles(claims.get(&rules.roles))
        .ok_or(Refusal::Wrong("the roles are neither a list nor a text"))?;
    Ok(Identity {
        owner: Owner::new(tenant, &format!("jwt:{owner}")),
        roles: granted,
    })
}

fn check(
    rules: &JwtRules,
    claims: &Map<String, Value>,
    now: Timestamp,
) -> Result<(), &'static str> {
    if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err("another issuer");
    }
    let for_us = match claims.get("aud") {
        Some(Value::String(only)) => *only == rules.audience,
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string) && several.iter().any(|it| *it == *rules.audience)
        }
        _ => false,
    };
    if !for_us {
        return Err("another audience");
    }
    // Whole seconds of this century are exact in a float, and providers write fractions too.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let now = now.0 as f64;
    let expires = time(claims, "exp")?.ok_or("it never expires")?;
    if now >= expires + LEEWAY {
        return Err("it has expired");
    }
    for claim in ["nbf", "iat"] {
        if time(claims, claim)?.is_some_and(|begins| begins > now + LEEWAY) {
            return Err("it is not valid yet");
        }
    }
    Ok(())
}

fn time(claims: &Map<String, Value>, claim: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err("a time is not a number"),
    }
}

/// A name that can be part of a key and of a log line.
fn name(claim: Option<&Value>) -> Option<&str> {
    let name = claim?.as_str()?;
    let plain = (1..=NAME_CAP).contains(&name.len()) && !name.chars().any(char::is_control);
    plain.then_some(name)
}

/// Everybody is a user. What else is named is granted if it is one of our roles, `operator` or `mas.operator`.
fn roles(claim: Option<&Value>) -> Option<Vec<Role>> {
    let names: Vec<&str> = match claim {
        None => Vec::new(),
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(names)) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        Some(_) => return None,
    };
    let mut roles = vec![Role::User];
    for name in names {
        let role = Role::named(name.strip_prefix("mas.").unwrap_or(name));
        roles.extend(role.filter(|role| !roles.contains(role)));
    }
    Some(roles)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn rules() -> JwtRules {
        JwtRules {
            issuer: "https://login.example.com".into(),
            audience: "mas".into(),
            jwks: "https://login.example.com/keys".into(),
            algorithms: vec![Algorithm::Es256],
            owner: "sub".into(),
            tenant: None,
            roles: "roles".into(),
        }
    }

    fn judged(changes: &Value, rules: &JwtRules) -> Result<Identity, Refusal> {
        let mut claims =
            json!({"iss": rules.issuer, "aud": "mas", "sub": "alice", "exp": NOW.0 + 300});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        identity(rules, "acme", claims.as_object().unwrap(), NOW)
    }

    #[test]
    fn verified_claims_name_owner_tenant_and_roles() {
        let alice = |tenant, roles| {
            let owner = Owner::new(tenant, "jwt:alice");
            Ok(Identity { owner, roles })
        };
        let user = vec![Role::User];
        assert_eq!(judged(&json!({}), &rules()), alice("acme", user.clone()));
        let several = json!({"aud": ["other", "mas"], "nbf": NOW.0, "iat": 1_799_999_999.5});
        assert_eq!(judged(&several, &rules()), alice("acme", user.clone()));
        let elsewhere = JwtRules {
            tenant: Some("org".into()),
            ..rules()
        };
        assert_eq!(
            judged(&json!({"org": "globex"}), &elsewhere),
            alice("globex", user.clone())
        );
        for (named, granted) in [
            (
                json!(["auditor", "mas.operator", "auditor"]),
                vec![Role::User, Role::Auditor, Role::Operator],
            ),
            (json!("openid mas.admin"), vec![Role::User, Role::Admin]),
            (
                json!(["Admin", "administrator", "mas.mas.admin", "x.admin", ""]),
                user.clone(),
            ),
            (json!([]), user.clone()),
            (json!(""), user.clone()),
        ] {
            assert_eq!(
                judged(&json!({ "roles": named }), &rules()),
                alice("acme", granted)
            );
        }
    }

    #[test]
    fn clocks_may_differ_by_a_minute() {
        for (claim, good, bad) in [
            ("exp", NOW.0 - 59, NOW.0 - 60),
            ("nbf", NOW.0 + 60, NOW.0 + 61),
            ("iat", NOW.0 + 60, NOW.0 + 61),
        ] {
            assert!(judged(&json!({ claim: good }), &rules()).is_ok(), "{claim}");
            assert!(judged(&json!({ claim: bad }), &rules()).is_err(), "{claim}");
        }
    }

    #[test]
    fn claims_of_the_wrong_type_are_refused() {
        let elsewhere = JwtRules {
            tenant: Some("org".into()),
            ..rules()
        };
        for wrong in [
            json!({"org": null}),
            json!({"org": ""}),
            json!({"org": ["a"]}),
            json!({"org": "a\u{0}b"}),
            json!({"org": "x".repeat(NAME_CAP + 1)}),
        ] {
            assert!(judged(&wrong, &elsewhere).is_err(), "{wrong}");
        }
        for wrong in [
            json!({"iss": ["https://login.example.com"]}),
            json!({"aud": {"mas": true}}),
            json!({"aud": ["mas", 5]}),
            json!({"aud": []}),
            json!({"exp": "2000000000"}),
            json!({"exp": null}),
            json!({"nbf": null}),
            json!({"iat": "0"}),
            json!({"sub": 5}),
            json!({"sub": ""}),
            json!({"sub": "a\nb"}),
            json!({"roles": 5}),
            json!({"roles": null}),
            json!({"roles": ["admin", 5]}),
        ] {
            assert!(judged(&wrong, &rules()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_heads_that_can_be_verified_are_read() {
        let read = |head: &str| {
            let head = URL_SAFE_NO_PAD.encode(head);
            Token::read(&format!("Bearer {head}.e30.AAAA")).is_some()
        };
        assert!(read(
            r#"{"alg":"ES256","kid":"1","typ":"JWT","jku":"https://x","x5c":[]}"#
        ));
        for head in [
            r#"{"alg":"none","kid":"1"}"#,
            r#"{"alg":"HS256","kid":"1"}"#,
            r#"{"alg":"es256","kid":"1"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"ES256","kid":5}"#,
            r#"{"alg":"ES256","kid":"1","crit":["exp"]}"#,
            r#"{"alg":"ES256","kid":"1","crit":null}"#,
            r#"{"alg":"none","alg":"ES256","kid":"1"}"#,
            r#"["ES256","1"]"#,
            "",
        ] {
            assert!(!read(head), "{head}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,200}") {
            let _ = Token::read(&text);
            let _ = Token::read(&format!("Bearer {text}"));
        }
    }
}
