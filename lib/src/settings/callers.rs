//! How callers are verified, from the environment.

use url::{Host, Url};

use super::parse::{Group, list, parsed, shown};
use super::{Env, Error};
use crate::domain::access::{Algorithm, Callers, JwtRules, Role, SharedSecret, Way};
use crate::domain::ids::Secret;

/// Shorter secrets can be guessed.
const SECRET_MIN: usize = 32;

pub fn read(env: &Env) -> Result<Callers, Error> {
    let ways = parsed(
        env,
        "MAS_AUTH",
        vec![Way::Dial],
        "dial, secret, jwt, or several of them separated by commas; or none, for development",
        ways,
    )?;
    let callers = Callers {
        tenant: env.get("MAS_TENANT").unwrap_or("default").into(),
        secrets: secrets(env)?,
        jwt: jwt(env)?,
        ways,
    };
    let wants = |way, name, missing: bool| {
        if callers.ways.contains(&way) && missing {
            let problem = "MAS_AUTH names this way, so it must be set".into();
            return Err(Error::Refused { name, problem });
        }
        Ok(())
    };
    wants(Way::Secret, "MAS_AUTH_SECRETS", callers.secrets.is_empty())?;
    wants(Way::Jwt, "MAS_JWT", callers.jwt.is_none())?;
    Ok(callers)
}

fn ways(text: &str) -> Option<Vec<Way>> {
    let ways: Vec<Way> = list(text)
        .map(|way| match way {
            "dial" => Some(Way::Dial),
            "secret" => Some(Way::Secret),
            "jwt" => Some(Way::Jwt),
            "none" => Some(Way::None),
            _ => None,
        })
        .collect::<Option<_>>()?;
    // Trusting everybody beside a check would make the check worth nothing.
    let plain = !ways.contains(&Way::None) || ways.len() == 1;
    (plain && !ways.is_empty()).then_some(ways)
}

/// `name:secret` or `name/role:secret`, separated by commas. The values are never repeated in an error.
fn secrets(env: &Env) -> Result<Vec<SharedSecret>, Error> {
    let wrong = |problem: String| Error::Refused {
        name: "MAS_AUTH_SECRETS",
        problem,
    };
    list(env.get("MAS_AUTH_SECRETS").unwrap_or_default())
        .enumerate()
        .map(|(at, pair)| {
            let at = at + 1;
            let (who, secret) = pair.split_once(':').ok_or_else(|| {
                wrong(format!("entry {at} must look like name:secret or name/role:secret"))
            })?;
            let (name, role) = match who.split_once('/') {
                Some((name, role)) => (name, Role::named(role)),
                None => (who, Some(Role::User)),
            };
            let role = role.ok_or_else(|| {
                wrong(format!("entry {at}: the role must be user, operator, auditor or admin"))
            })?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                return Err(wrong(format!(
                    "entry {at}: a name has 1 to 64 letters, digits, dots, dashes or underscores"
                )));
            }
            if secret.len() < SECRET_MIN || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(format!(
                    "entry {at}: a secret has at least {SECRET_MIN} visible ASCII characters; `openssl rand -hex 32` makes one"
                )));
            }
            Ok(SharedSecret {
                name: name.to_owned(),
                role,
                secret: Secret::new(secret),
            })
        })
        .collect()
}

fn jwt(env: &Env) -> Result<Option<JwtRules>, Error> {
    const NAME: &str = "MAS_JWT";
    let known = [
        "issuer",
        "audience",
        "jwks",
        "algorithms",
        "owner",
        "tenant",
        "roles",
    ];
    let group = Group::read(env, NAME, &known)?;
    if env.get(NAME).is_none() {
        return Ok(None);
    }
    let refused = |problem: String| Error::Refused {
        name: NAME,
        problem,
    };
    let required = |name: &str| {
        let value = group.text(name).map(str::to_owned);
        value.ok_or_else(|| refused(format!("{name} is missing")))
    };
    let algorithms = (group.text("algorithms").unwrap_or("RS256+ES256").split('+'))
        .map(|name| {
            let found = Algorithm::ALL.into_iter().find(|it| it.as_str() == name);
            found.ok_or_else(|| {
                refused(format!(
                    "algorithm {name:?}, expected RS256, ES256 or EdDSA, joined by +"
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    let jwks = required("jwks")?;
    let safe = Url::parse(&jwks).is_ok_and(|url| match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        // Keys that come over a plain connection are anybody's, except on this machine.
        ("http", Some(Host::Domain(name))) => name == "localhost",
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    });
    if !safe {
        return Err(refused(format!(
            "jwks is {:?}, expected an https address",
            shown(&jwks)
        )));
    }
    Ok(Some(JwtRules {
        issuer: required("issuer")?,
        audience: required("audience")?,
        jwks,
        algorithms,
        owner: group.text("owner").unwrap_or("sub").to_owned(),
        tenant: group.text("tenant").map(str::to_owned),
        roles: group.text("roles").unwrap_or("roles").to_owned(),
    }))
}
