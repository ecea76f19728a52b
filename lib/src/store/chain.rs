//! Chained lines as values: each is signed together with the signature of the one before it.
//!
//! A chain has lines, numbered from 1, and a head that says how far it goes. Head and lines have signatures of different
//! kinds, so that a head for a shorter chain cannot be made of an earlier line. The lanes of a day are listed in a chain
//! of their own, the *roll* of the day, and the days of a tenant in the roll of the tenant: what is cut off as a whole
//! is missed there.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keyring::Keyring;
use crate::domain::day::Day;
use crate::domain::ids::Timestamp;

/// The chain that lists the others of its scope.
pub const ROLL: &str = "ROLL";

/// Where chains are: a tenant's day, or with no day the tenant itself, where the days are listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub tenant: Arc<str>,
    pub day: Option<Day>,
}

/// One line of a chain, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub chain: Arc<str>,
    /// From 1.
    pub seq: u64,
    /// The signature of the line before; empty in the first.
    pub prev: String,
    /// When the line may go. Signed, so that nothing goes before its time.
    pub until: Timestamp,
    pub body: String,
    pub kid: String,
    pub mac: String,
}

/// How far a chain goes: number and signature of its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub chain: Arc<str>,
    /// 0 while there is no line.
    pub seq: u64,
    pub mac: String,
    pub until: Timestamp,
    pub kid: String,
    pub seal: String,
}

/// What the roll of a tenant says of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub day: Day,
    /// When the day's lines may go.
    pub until: Timestamp,
    /// When the lines of the day listed before may go: whether it is missed when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

/// Names a line outside the table, where nobody who can change the table can change it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    pub tenant: Arc<str>,
    pub day: Day,
    pub chain: Arc<str>,
    pub seq: u64,
    pub mac: String,
}

impl Scope {
    pub fn of_day(tenant: &str, day: Day) -> Self {
        Self {
            tenant: tenant.into(),
            day: Some(day),
        }
    }

    pub fn of_tenant(tenant: &str) -> Self {
        Self {
            tenant: tenant.into(),
            day: None,
        }
    }

    fn day(&self) -> String {
        self.day.map(|day| day.to_string()).unwrap_or_default()
    }
}

impl Line {
    /// Whether the signature is good; `None` when its key is not known.
    pub fn is_good(&self, keys: &Keyring, scope: &Scope) -> Option<bool> {
        let (day, seq, until) = (scope.day(), self.seq.to_string(), self.until.0.to_string());
        keys.verify(&self.kid, &self.parts(scope, &day, &seq, &until), &self.mac)
    }

    fn parts<'a>(
        &'a self,
        scope: &'a Scope,
        day: &'a str,
        seq: &'a str,
        until: &'a str,
    ) -> [&'a str; 9] {
        let (tenant, chain) = (&*scope.tenant, &*self.chain);
        [
            "line", tenant, day, chain, seq, &self.prev, until, &self.kid, &self.body,
        ]
    }
}

impl Head {
    /// A chain without lines.
    pub fn new(keys: &Keyring, scope: &Scope, chain: &str, until: Timestamp) -> Self {
        let mut head = Self {
            chain: chain.into(),
            seq: 0,
            mac: String::new(),
            until,
            kid: keys.kid().to_owned(),
            seal: String::new(),
        };
        head.seal = head.sealed(keys, scope);
        head
    }

    /// The next line, and the head with it.
    pub fn next(
        &self,
        keys: &Keyring,
        scope: &Scope,
        until: Timestamp,
        body: String,
    ) -> (Line, Self) {
        let mut line = Line {
            chain: Arc::clone(&self.chain),
            seq: self.seq + 1,
            prev: self.mac.clone(),
            until,
            body,
            kid: keys.kid().to_owned(),
            mac: String::new(),
        };
        let (day, seq) = (scope.day(), line.seq.to_string());
        line.mac = keys.sign(&line.parts(scope, &day, &seq, &until.0.to_string()));
        let mut head = Self {
            chain: Arc::clone(&self.chain),
            seq: line.seq,
            mac: line.mac.clone(),
            // A head outlives all of its lines.
            until: self.until.max(until),
            kid: line.kid.clone(),
            seal: String::new(),
        };
        head.seal = head.sealed(keys, scope);
        (line, head)
    }

    /// Whether the signature is good; `None` when its key is not known.
    pub fn is_good(&self, keys: &Keyring, scope: &Scope) -> Option<bool> {
        let (day, seq, until) = (scope.day(), self.seq.to_string(), self.until.0.to_string());
        let parts = self.parts(scope, &day, &seq, &until);
        keys.verify(&self.kid, &parts, &self.seal)
    }

    fn sealed(&self, keys: &Keyring, scope: &Scope) -> String {
        let (day, seq, until) = (scope.day(), self.seq.to_string(), self.until.0.to_string());
        keys.sign(&self.parts(scope, &day, &seq, &until))
    }

    fn parts<'a>(
        &'a self,
        scope: &'a Scope,
        day: &'a str,
        seq: &'a str,
        until: &'a str,
    ) -> [&'a str; 8] {
        let (tenant, chain) = (&*scope.tenant, &*self.chain);
        ["head", tenant, day, chain, seq, &self.mac, until, &self.kid]
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tenant,
            day,
            chain,
            seq,
            mac,
        } = self;
        write!(f, "{tenant}/{day}/{chain}/{seq}/{mac}")
    }
}

impl Anchor {
    /// Reads what [`fmt::Display`] wrote. A tenant's name may hold anything, so the end is read first.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(5, '/');
        let (mac, seq, chain) = (parts.next()?, parts.next()?, parts.next()?);
        let (day, tenant) = (parts.next()?, parts.next()?);
        Some(Self {
            tenant: tenant.into(),
            day: day.parse().ok()?,
            chain: chain.into(),
            seq: seq.parse().ok()?,
            mac: mac.to_owned(),
        })
    }
}
