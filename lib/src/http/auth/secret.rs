//! A shared secret proves a service that was given it.

use std::fmt;

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Refusal, credential};
use crate::domain::access::{Identity, Role, SharedSecret};
use crate::domain::ids::Owner;

const HEADER: &str = "x-mas-secret";
/// Longer ones are not looked at.
const SECRET_CAP: usize = 4096;

/// The secrets that are valid now, several of one name among them while it is rotated.
pub struct Secrets(Vec<Known>);

struct Known {
    /// Of the secret, so that comparing takes the same time whatever its length.
    digest: [u8; 32],
    identity: Identity,
}

impl Secrets {
    pub fn new(secrets: &[SharedSecret], tenant: &str) -> Self {
        let known = secrets.iter().map(|shared| Known {
            digest: Sha256::digest(shared.secret.expose()).into(),
            identity: Identity {
                owner: Owner::new(tenant, &format!("service:{}", shared.name)),
                roles: roles(shared.role),
            },
        });
        Self(known.collect())
    }

    pub(super) fn ask(&self, headers: &HeaderMap) -> Option<Result<Identity, Refusal>> {
        let secret = credential(headers, HEADER, SECRET_CAP)?;
        Some(secret.and_then(|secret| {
            let found = self.matching(secret);
            found.ok_or(Refusal::Wrong("no such secret"))
        }))
    }

    /// Compares with every one, so that the time tells nothing about which it was.
    fn matching(&self, secret: &str) -> Option<Identity> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.digest.ct_eq(&digest)) {
                found = found.or(Some(&known.identity));
            }
        }
        found.cloned()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|known| known.identity.owner.id());
        f.debug_list().entries(names).finish()
    }
}

fn roles(role: Role) -> Vec<Role> {
    match role {
        Role::User => vec![Role::User],
        more => vec![Role::User, more],
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::domain::ids::Secret;

    const OLD: &str = "old-0123456789abcdef0123456789abcdef";
    const NEW: &str = "new-0123456789abcdef0123456789abcdef";

    fn secrets() -> Secrets {
        let shared = |name: &str, role, secret| SharedSecret {
            name: name.into(),
            role,
            secret: Secret::new(secret),
        };
        let list = [
            shared("core", Role::User, OLD),
            shared("core", Role::User, NEW),
            shared("ops", Role::Operator, "ops-0123456789abcdef0123456789abcd"),
        ];
        Secrets::new(&list, "acme")
    }

    fn asked(values: &[&[u8]]) -> Option<Result<Identity, Refusal>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        secrets().ask(&headers)
    }

    #[test]
    fn two_secrets_of_one_name_are_the_same_service() {
        let core = Identity {
            owner: Owner::new("acme", "service:core"),
            roles: vec![Role::User],
        };
        assert_eq!(asked(&[OLD.as_bytes()]), Some(Ok(core.clone())));
        assert_eq!(asked(&[NEW.as_bytes()]), Some(Ok(core)));
    }

    #[test]
    fn a_secret_may_carry_one_more_role() {
        let ops = asked(&[b"ops-0123456789abcdef0123456789abcd"]);
        assert_eq!(ops.unwrap().unwrap().roles, [Role::User, Role::Operator]);
    }

    #[test]
    fn what_is_not_exactly_one_of_them_is_refused() {
        assert_eq!(asked(&[]), None);
        let louder = OLD.to_uppercase();
        let wrong: [&[&[u8]]; 7] = [
            &[b""],
            &[b"x"],
            &[&OLD.as_bytes()[1..]],
            &[louder.as_bytes()],
            &[OLD.as_bytes(), OLD.as_bytes()],
            &["old-пароль-0123456789abcdef0123456789".as_bytes()],
            &[&[b'x'; SECRET_CAP + 1]],
        ];
        for values in wrong {
            assert!(matches!(asked(values), Some(Err(Refusal::Wrong(_)))));
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(
            format!("{:?}", secrets()),
            r#"["service:core", "service:core", "service:ops"]"#
        );
    }
}
