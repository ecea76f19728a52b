//! Names of things: who, which conversation, which turn, when; and secrets that do not print.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

/// An agent's name as the registry has it, for example `GPA`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(Arc<str>);

impl AgentId {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose data this is. Only verified credentials make one; it starts every key of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    tenant: Arc<str>,
    id: Arc<str>,
}

impl Owner {
    pub fn new(tenant: &str, id: &str) -> Self {
        Self {
            tenant: tenant.into(),
            id: id.into(),
        }
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Somebody else of the same tenant.
    #[must_use]
    pub fn colleague(&self, id: &str) -> Self {
        Self {
            tenant: Arc::clone(&self.tenant),
            id: id.into(),
        }
    }
}

impl Owner {
    /// A number that tells owners apart and cannot be turned back into one.
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Our own name of a conversation, unique within its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConversationId(Arc<str>);

impl ConversationId {
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One turn of a conversation. Ids are time-ordered: a later turn has a greater id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TurnId(Uuid);

impl TurnId {
    /// Makes a new id from the wall clock and randomness; called at the door only.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The name of something that is no turn of ours, and takes the place of one.
    pub fn of_digest(digest: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(digest))
    }

    /// Eight characters a person can read out and an operator can search the log for.
    pub fn reference(&self) -> String {
        let hex = self.0.simple().to_string();
        hex.get(24..).unwrap_or_default().to_owned()
    }
}

impl TurnId {
    /// Forty random bits that never leave the prompts of this turn: no agent can guess them.
    pub fn nonce(&self) -> String {
        let hex = self.0.simple().to_string();
        [hex.get(13..16), hex.get(17..24)]
            .map(Option::unwrap_or_default)
            .concat()
    }
}

impl TurnId {
    /// Sixty-two random bits.
    pub fn random(&self) -> u64 {
        self.0.as_u64_pair().1
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

/// Milliseconds since 1970, for what several instances compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long ago `earlier` was; nothing if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub fn seconds(self) -> Timestamp {
        Timestamp(self.0 / 1000)
    }
}

/// Tells the time. Where it comes from is decided at the door, so that tests can hold it. A process that was frozen, as
/// functions are between two requests, sees the wall clock alone go on.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    pub fn new(now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> Millis {
        (self.0)()
    }
}

/// A clock that stands still: for a process that is never frozen.
impl Default for Clock {
    fn default() -> Self {
        Self::new(Millis::default)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A credential: it can be used, not printed, and it is wiped from memory when nobody needs it any more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub fn new(value: &str) -> Self {
        Self(Arc::new(Zeroizing::new(value.to_owned())))
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn a_secret_is_of_a_type_that_wipes_itself() {
        fn wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        let Secret(value) = Secret::new("hunter2");
        wiped(&*value);
    }

    #[test]
    fn a_later_turn_has_a_greater_id() {
        let first = TurnId::now();
        let second = TurnId::now();
        assert!(first < second);
        assert_eq!(first.reference().len(), 8);
        assert_eq!(first.nonce().len(), 10);
    }
}
