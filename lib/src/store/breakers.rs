//! The breakers of all peers, shared by all instances.

use std::time::Duration;

use super::attributes::string;
use super::cells::Versioned;
use super::requests::Place;
use super::{Error, Table, keys};
use crate::domain::ids::Millis;
use crate::resilience::breaker::Breaker;

/// Longer than any breaker stays open: what nobody has touched since is forgotten.
const KEPT: Duration = Duration::from_hours(24);

/// What the instances tell each other of their peers.
#[derive(Clone, Debug)]
pub struct Breakers {
    table: Table,
}

impl Breakers {
    pub fn of(table: &Table) -> Self {
        Self {
            table: table.clone(),
        }
    }

    /// Every breaker there is: peers and what is known of them.
    pub async fn all(&self, now: Millis) -> Result<Vec<(String, Versioned<Breaker>)>, Error> {
        let mut all = Vec::new();
        let mut place = Place::default();
        let pk = keys::breakers();
        while let Some(items) = self.table.page(&pk, "", &mut place).await? {
            all.extend(items.iter().filter_map(|item| {
                let peer = keys::peer(string(item, "sk")?);
                Some((peer, Versioned::of(item, now.seconds())))
            }));
        }
        Ok(all)
    }

    /// Steps one peer's breaker; see [`Table::step`].
    pub async fn step<A>(
        &self,
        peer: &str,
        now: Millis,
        seen: Versioned<Breaker>,
        step: impl FnMut(&Breaker) -> (Option<Breaker>, A),
    ) -> Result<(Versioned<Breaker>, A), Error> {
        let key = keys::breaker(peer);
        let expires_at = now.plus(KEPT).seconds();
        self.table
            .step(&key, now.seconds(), expires_at, Some(seen), step)
            .await
    }
}
