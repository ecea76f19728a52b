//! Who may do what: verified identities, their roles, and the rules by which callers prove themselves.

use std::sync::Arc;

use super::failure::{Code, Failure};
use super::ids::{Owner, Secret};
use super::sentences;

/// What a caller may do. Every verified caller is a user; the others are granted, and each opens only its own doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Chats; exports and erases the own data.
    User,
    /// Sees how the service does.
    Operator,
    /// Reads and verifies the audit log of the own tenant.
    Auditor,
    /// Exports and erases any person of the own tenant.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::User, Self::Operator, Self::Auditor, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// The role of this name; `None` for a name that is no role, so that nothing is granted by mistake.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A caller that has proved who it is. Deny by default: what is not listed is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub owner: Owner,
    pub roles: Vec<Role>,
}

impl Identity {
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Anybody of the own tenant, for those who may act for all of it.
    pub fn anybody(&self, id: &str) -> Result<Owner, Failure> {
        self.require(Role::Admin)?;
        Ok(self.owner.colleague(id))
    }

    /// Whoever lacks the role is refused: the door of everything that needs one.
    pub fn require(&self, role: Role) -> Result<(), Failure> {
        if self.has(role) {
            return Ok(());
        }
        Err(Failure::new(
            Code::Forbidden,
            format!("this needs the role {}", role.as_str()),
            sentences::not_allowed(),
        ))
    }
}

/// One way of proving oneself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// DIAL Core is asked about the per-request key.
    Dial,
    /// A secret that the caller and we share.
    Secret,
    /// A signed token of an identity provider.
    Jwt,
    /// Everybody is trusted: development only.
    None,
}

/// A secret that proves a caller. Several of one name are valid at once, so that it can be rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSecret {
    /// Whom it proves: the owner's id.
    pub name: String,
    pub role: Role,
    pub secret: Secret,
}

/// A signature algorithm that a token may have. Symmetric ones are not among them: whoever can verify could sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    pub issuer: String,
    pub audience: String,
    /// Where the issuer's public keys are. Nothing in a token can name another place.
    pub jwks: String,
    pub algorithms: Vec<Algorithm>,
    /// The claims that name the owner, the tenant (none: the one of the settings) and the roles.
    pub owner: String,
    pub tenant: Option<String>,
    pub roles: String,
}

/// How callers are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callers {
    /// Any of these is enough; the first that holds says who it is.
    pub ways: Vec<Way>,
    /// Whose data it is where the credentials do not say.
    pub tenant: Arc<str>,
    pub secrets: Vec<SharedSecret>,
    pub jwt: Option<JwtRules>,
}
