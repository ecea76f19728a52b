//! A person's rights: everything that is kept of them in one signed bundle, and all of it erased.

mod bundle;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use crate::domain::audit::{By, Entry, PersonEntry};
use crate::domain::ids::{AgentId, Clock, Owner, TurnId};
use crate::gateway::{self, Gateways};
use crate::store::keyring::Keyring;
use crate::store::{self, Accounts, Audit, Person, Table};
pub use bundle::{Manifest, Refused, verify};

/// How long an agent may take to delete one conversation.
const WITHIN: Duration = Duration::from_secs(5);
/// How many of them at once.
const AT_ONCE: usize = 4;

/// What exporting and erasing need.
#[derive(Clone, Debug)]
pub struct Privacy {
    pub table: Table,
    pub accounts: Accounts,
    pub audit: Audit,
    pub gateways: Gateways,
    /// Sign the bundles.
    pub keys: Keyring,
    /// How long a turn that was under way could still write.
    pub retention: Duration,
    pub clock: Clock,
}

/// What an erasure did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// How many things of each kind are gone. Of `sessions` those that their agents have deleted, too.
    pub counts: BTreeMap<&'static str, u64>,
    /// Sessions that an agent could not delete: erasing again tries them again.
    pub sessions_left: u64,
}

impl Privacy {
    /// Everything of a person, as JSON Lines. The log has it before anybody else does.
    pub async fn export(&self, owner: &Owner, by: By) -> Result<String, store::Error> {
        let now = self.clock.now();
        let records = Person::of(&self.table, owner)
            .records(now.seconds())
            .await?;
        let who = self.accounts.find(owner, now).await?;
        let bundle = bundle::write(&self.keys, owner, now.seconds(), &records)?;
        let entry = Entry::Export(PersonEntry {
            at: now,
            by,
            who: who.pseudonym,
            counts: named(&bundle.counts),
        });
        let about = who.pseudonym.map(|_| owner);
        self.audit.append(owner.tenant(), &entry, about).await?;
        Ok(bundle.text)
    }

    /// Erases a person: what was written up to this turn is gone, and what is under way will not be written. It can be
    /// done again, and goes on where it was broken off.
    pub async fn erase(&self, owner: &Owner, turn: TurnId, by: By) -> Result<Erased, store::Error> {
        let now = self.clock.now();
        let person = Person::of(&self.table, owner);
        let (who, turn) = self.accounts.erase(owner, turn, now).await?;
        // First the mark: what is written before it is found below, what comes after it is refused.
        person
            .bury(turn, now.seconds().plus(self.retention))
            .await?;
        let mut counts = person.erase().await?;
        let sessions = person.sessions().await?;
        let all = sessions.len() as u64;
        let forgotten: Vec<_> = stream::iter(sessions)
            .map(|(agent, session)| self.forget(&person, agent, session))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let done = forgotten.into_iter().filter(|done| *done).count() as u64;
        counts.insert("sessions", done);
        let entry = Entry::Erasure(PersonEntry {
            at: now,
            by,
            who,
            counts: named(&counts),
        });
        self.audit.append(owner.tenant(), &entry, None).await?;
        Ok(Erased {
            counts,
            sessions_left: all - done,
        })
    }

    /// First the agent's side, then ours: what the agent still has must stay known.
    async fn forget(&self, person: &Person, agent: AgentId, session: String) -> bool {
        let asked = match self.gateways.get(&agent) {
            Some(gateway) => gateway.forget(&session, WITHIN).await,
            None => Err(gateway::Error::Unknown),
        };
        let error: Box<dyn std::error::Error + Send + Sync> = match asked {
            Ok(()) => match person.drop_session(&agent, &session).await {
                Ok(()) => return true,
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        };
        tracing::warn!(agent.id = %agent, error = &*error as &dyn std::error::Error, "a session is not erased");
        false
    }
}

fn named(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<Cow<'static, str>, u64> {
    counts
        .iter()
        .map(|(kind, count)| (Cow::Borrowed(*kind), *count))
        .collect()
}
