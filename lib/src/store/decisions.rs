//! Routing decisions that may be used again, by a keyed hash of what was asked.

use futures_util::FutureExt as _;

use super::attributes::{count, expires_at, number, string, text};
use super::keyring::Keyring;
use super::{Error, Table, keys};
use crate::domain::ids::{AgentId, Millis};

/// All tenants' decisions.
#[derive(Clone, Debug)]
pub struct Decisions {
    table: Table,
    /// Nobody who reads the table can try out what was asked.
    keys: Keyring,
}

/// A decision as it was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub agent: AgentId,
    /// The model's own certainty, in percent.
    pub percent: Option<u64>,
    pub at: Millis,
    pub until: Millis,
}

impl Decisions {
    pub fn of(table: &Table, keys: Keyring) -> Self {
        Self {
            table: table.clone(),
            keys,
        }
    }

    /// The name of what was asked: the same for the same parts of the same tenant.
    pub fn name(&self, parts: &[&str]) -> String {
        self.keys.sign(parts)
    }

    pub async fn find(
        &self,
        tenant: &str,
        name: &str,
        now: Millis,
    ) -> Result<Option<Decision>, Error> {
        let found = self.table.item(keys::decision(tenant, name)).await?;
        Ok(found.and_then(|item| {
            let decision = Decision {
                agent: AgentId::new(string(&item, "agent")?),
                percent: count(&item, "percent"),
                at: Millis(count(&item, "at")?),
                until: Millis(expires_at(&item).0.saturating_mul(1000)),
            };
            (decision.until > now).then_some(decision)
        }))
    }

    pub async fn put(&self, tenant: &str, name: &str, decision: &Decision) -> Result<(), Error> {
        let key = keys::decision(tenant, name);
        let mut put = (self.table.client().put_item())
            .table_name(&self.table.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
            .item("agent", text(decision.agent.as_str()))
            .item("at", number(decision.at.0))
            .item("expires_at", number(decision.until.seconds().0));
        if let Some(percent) = decision.percent {
            put = put.item("percent", number(percent));
        }
        put.send().boxed().await?;
        Ok(())
    }

    /// Writes one over that nobody finds: whoever serves turns may not delete.
    pub async fn remove(&self, tenant: &str, name: &str) -> Result<(), Error> {
        let over = Decision {
            agent: AgentId::new("-"),
            percent: None,
            at: Millis(0),
            until: Millis(1000),
        };
        self.put(tenant, name, &over).await
    }
}
