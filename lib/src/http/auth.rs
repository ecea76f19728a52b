//! Who calls? The configured ways are tried in their order; nothing else that a request says decides.

mod dial;
mod issuer;
mod keys;
mod secret;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::coordinator::Verification;
use crate::domain::access::{Callers, Identity, Role, Way};
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, Secret, Timestamp};
use crate::domain::sentences;
use crate::resilience::health::{Checked, Part};
use crate::upstream::Client;
use dial::Introspection;
use secret::Secrets;
use token::Tokens;

/// Longer keys are not keys.
const KEY_CAP: usize = 4096;

/// How callers are verified.
#[derive(Debug)]
pub struct Auth {
    ways: Vec<Verifier>,
    /// The tenant that the service itself belongs to.
    home: Arc<str>,
}

/// One way in which a caller can prove itself.
#[derive(Debug)]
enum Verifier {
    Dial(Introspection),
    Secret(Secrets),
    Jwt(Tokens),
    /// Everybody is the same person. Development only.
    Anybody(Identity),
}

/// What a way says about a request that has credentials for it.
enum Answer {
    Known(Result<Identity, Refusal>),
    /// Somebody has to be asked; nothing is sent before this is polled.
    Asking(BoxFuture<'static, Result<Identity, Refusal>>),
}

/// Why a way does not say who calls.
#[derive(Debug, PartialEq)]
enum Refusal {
    /// The credentials are wrong. The reason is for the log: all wrong credentials get the same answer.
    Wrong(&'static str),
    /// It cannot be found out now. No other way is tried then, or the same caller would be somebody else for as long as
    /// this one is out of order.
    Unknown(Failure),
}

impl Auth {
    /// `core` is DIAL Core's origin and `deployments` our ids there: the path of a request says nothing, it is the caller's.
    pub fn new(
        callers: &Callers,
        client: &Client,
        core: Option<&str>,
        deployments: &[String],
    ) -> Self {
        let ways = callers.ways.iter().map(|way| match way {
            Way::Dial => Some(Verifier::Dial(Introspection {
                client: client.clone(),
                core: core?.to_owned(),
                deployments: deployments.into(),
                tenant: Arc::clone(&callers.tenant),
            })),
            Way::Secret => Some(Verifier::Secret(Secrets::new(
                &callers.secrets,
                &callers.tenant,
            ))),
            Way::Jwt => (callers.jwt.as_ref())
                .map(|rules| Verifier::Jwt(Tokens::new(rules, &callers.tenant, client))),
            Way::None => Some(Verifier::Anybody(Identity {
                owner: Owner::new(&callers.tenant, DEVELOPMENT),
                roles: Role::ALL.into(),
            })),
        });
        Self {
            ways: ways.flatten().collect(),
            home: Arc::clone(&callers.tenant),
        }
    }

    /// The tenant that the service itself belongs to.
    pub fn home(&self) -> &str {
        &self.home
    }

    /// What belongs to the whole service is for its own tenant: whoever may do it in another one may not do it here.
    pub fn is_home(&self, identity: &Identity) -> bool {
        identity.owner.tenant() == &*self.home
    }

    /// Starts the verification of a caller who needs this role. What can be refused without asking anybody is refused
    /// at once.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        role: Role,
        now: Timestamp,
    ) -> Result<Verification, Failure> {
        let mut tried = false;
        let mut open = Vec::new();
        for way in &self.ways {
            let Some(answer) = way.ask(headers, now) else {
                continue;
            };
            tried = true;
            match answer {
                Answer::Known(known) if open.is_empty() => {
                    if let Some(settled) = settled(way.name(), known, role) {
                        return settled.map(|identity| std::future::ready(Ok(identity)).boxed());
                    }
                }
                later => open.push((way.name(), later)),
            }
        }
        match (tried, open.is_empty()) {
            (false, _) => Err(unauthorized()),
            (true, true) => Err(invalid()),
            (true, false) => Ok(first(open, role).boxed()),
        }
    }

    /// The ways in which callers can prove themselves, by their names.
    pub fn ways(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.ways.iter().map(Verifier::name)
    }

    /// Whether callers can be verified now: whoever has to be asked for it.
    pub async fn check(&self, within: Duration) -> Vec<Checked> {
        let asked = self.ways.iter().filter_map(|way| way.check(within));
        let mut checks = join_all(asked).await;
        // While one way is left, somebody can be verified.
        if checks.len() < self.ways.len() || checks.iter().any(|check| check.up) {
            for check in &mut checks {
                check.part = Part::Helper;
            }
        }
        checks
    }
}

impl Verifier {
    fn name(&self) -> &'static str {
        match self {
            Self::Dial(_) => "dial",
            Self::Secret(_) => "secret",
            Self::Jwt(_) => "jwt",
            Self::Anybody(_) => "none",
        }
    }

    /// `None` when the request has no credentials for this way.
    fn ask(&self, headers: &HeaderMap, now: Timestamp) -> Option<Answer> {
        match self {
            Self::Dial(introspection) => introspection.ask(headers),
            Self::Secret(secrets) => secrets.ask(headers).map(Answer::Known),
            Self::Jwt(tokens) => tokens.ask(headers, now),
            Self::Anybody(identity) => Some(Answer::Known(Ok(identity.clone()))),
        }
    }

    fn check(&self, within: Duration) -> Option<BoxFuture<'_, Checked>> {
        match self {
            Self::Dial(introspection) => Some(introspection.check(within).boxed()),
            Self::Jwt(tokens) => Some(tokens.check(within).boxed()),
            Self::Secret(_) | Self::Anybody(_) => None,
        }
    }
}

/// The per-request key of a request, which calls through DIAL Core are made with.
pub fn key(headers: &HeaderMap) -> Option<Secret> {
    let key = credential(headers, "api-key", KEY_CAP)?;
    key.ok().map(Secret::new)
}

/// Whose id no verified caller has: that of everybody, where nobody is verified.
const DEVELOPMENT: &str = "development";

/// The first way that verifies, of those that could not be settled at once.
async fn first(open: Vec<(&'static str, Answer)>, role: Role) -> Result<Identity, Failure> {
    for (way, answer) in open {
        let known = match answer {
            Answer::Known(known) => known,
            Answer::Asking(asking) => asking.await,
        };
        if let Some(settled) = settled(way, known, role) {
            return settled;
        }
    }
    Err(invalid())
}

/// `None` when the next way is to be tried.
fn settled(
    way: &'static str,
    known: Result<Identity, Refusal>,
    role: Role,
) -> Option<Result<Identity, Failure>> {
    match known {
        Ok(identity) => Some(identity.require(role).map(|()| identity)),
        Err(Refusal::Unknown(failure)) => Some(Err(failure)),
        Err(Refusal::Wrong(reason)) => {
            tracing::info!(
                security = "caller_refused",
                auth.way = way,
                reason,
                "credentials were not accepted"
            );
            None
        }
    }
}

/// A credential: one header of this name, plain ASCII, neither empty nor longer than `cap`. `None` when there is no such
/// header. Nothing is ever taken from the query, which lands in other people's logs.
fn credential<'a>(
    headers: &'a HeaderMap,
    name: &str,
    cap: usize,
) -> Option<Result<&'a str, Refusal>> {
    let mut values = headers.get_all(name).iter();
    let only = values.next()?;
    let text = only.to_str().map(str::trim);
    Some(match text {
        Ok(text) if values.next().is_none() && (1..=cap).contains(&text.len()) => Ok(text),
        _ => Err(Refusal::Wrong(
            "the header is empty, doubled, too long or not plain ASCII",
        )),
    })
}

fn unauthorized() -> Failure {
    Failure::new(
        Code::Unauthorized,
        "no credentials came with the request",
        sentences::not_signed_in(),
    )
}

/// One answer for everything that is wrong with credentials: what exactly it was helps only those who guess.
fn invalid() -> Failure {
    Failure::new(
        Code::InvalidCredentials,
        "the credentials were not accepted",
        sentences::not_accepted(),
    )
}

fn unavailable(message: &str) -> Failure {
    Failure::new(Code::ServiceUnavailable, message, sentences::unusable())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_one_plain_key_is_a_key() {
        let keys = |values: &[&[u8]]| key(&headers("api-key", values));
        assert_eq!(keys(&[b" k1 "]), Some(Secret::new("k1")));
        assert_eq!(keys(&[]), None);
        assert_eq!(keys(&[b""]), None);
        assert_eq!(keys(&[b"  "]), None);
        assert_eq!(keys(&[b"k1", b"k2"]), None);
        assert_eq!(keys(&["ключ".as_bytes()]), None);
        assert_eq!(keys(&[&[b'k'; KEY_CAP + 1]]), None);
    }

    #[test]
    fn a_verified_caller_without_the_role_is_forbidden() {
        let identity = Identity {
            owner: Owner::new("acme", "jwt:alice"),
            roles: vec![Role::User, Role::Auditor],
        };
        for role in Role::ALL {
            let settled = settled("jwt", Ok(identity.clone()), role).unwrap();
            let expected = match role {
                Role::User | Role::Auditor => Ok(identity.clone()),
                Role::Operator | Role::Admin => Err(Code::Forbidden),
            };
            assert_eq!(
                settled.map_err(|failure| failure.code),
                expected,
                "{role:?}"
            );
        }
    }
}
