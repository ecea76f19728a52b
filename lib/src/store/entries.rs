//! The registry's own half: agents that were changed here, each change for as long as the audit log, and documents.

use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use futures_util::FutureExt as _;
use serde::Serialize;

use super::attributes::{Item, count, expires_at, number, string, text};
use super::audit::Audit;
use super::requests::{Place, built, pause};
use super::{Error, Table, keys};
use crate::domain::audit;
use crate::domain::ids::{Millis, Owner, Timestamp};

/// More than these losing against others in a row, and somebody's view is wrong.
const TRIES: u32 = 12;

/// What the table has of the registry. It belongs to the whole service.
#[derive(Clone, Debug)]
pub struct Entries {
    table: Table,
}

/// An agent as it was changed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// The JSON of an agent of the document; `None` for one that was removed.
    pub written: Option<String>,
    /// The registry's version that this change made.
    pub version: u64,
    pub at: Millis,
    /// Who did it, as the audit log has them.
    pub by: String,
}

/// One change, as the history has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub version: u64,
    pub at: Millis,
    pub by: String,
    /// The agent's name; none for the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// It is what the agent said of itself.
    pub found: bool,
    /// What was there, and what is there since; none for nothing.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A document of agents that the table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub text: String,
    pub version: String,
    /// Where it was before.
    pub from: String,
}

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Agent(&'a str),
    /// What an agent said of itself.
    Found(&'a str),
    Document,
}

impl<'a> Target<'a> {
    pub fn agent(self) -> Option<&'a str> {
        match self {
            Self::Agent(name) | Self::Found(name) => Some(name),
            Self::Document => None,
        }
    }
}

/// A change to be made.
#[derive(Clone, Copy, Debug)]
pub struct Changing<'a> {
    pub what: Target<'a>,
    pub written: Option<&'a str>,
    /// The version that the entry must have: 0 where there must be none. Without it any will do.
    pub seen: Option<u64>,
    pub at: Millis,
    pub by: &'a str,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The registry has this version now.
    Done(u64),
    /// Another version is there.
    Other(u64),
}

impl Entries {
    pub fn of(table: &Table) -> Self {
        Self {
            table: table.clone(),
        }
    }

    /// The registry's version, 0 before anything was changed here: one small read.
    pub async fn version(&self) -> Result<u64, Error> {
        let head = self.table.item(keys::registry_head()).await?;
        Ok(head.and_then(|head| count(&head, "version")).unwrap_or(0))
    }

    /// Every agent that was changed here.
    pub async fn all(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for item in self.items(keys::AGENTS).await? {
            entries.push(entry(&item).ok_or(Error::Unreadable(None))?);
        }
        Ok(entries)
    }

    /// What agents said of themselves.
    pub async fn all_found(&self) -> Result<Vec<Entry>, Error> {
        let items = self.items(keys::FOUND).await?;
        Ok(items.iter().filter_map(entry).collect())
    }

    pub async fn get(&self, name: &str) -> Result<Option<Entry>, Error> {
        self.entry(keys::agent(name)).await
    }

    pub async fn found(&self, agent: &str) -> Result<Option<Entry>, Error> {
        self.entry(keys::found(agent)).await
    }

    async fn entry(&self, key: keys::Key) -> Result<Option<Entry>, Error> {
        let found = self.table.item(key).await?;
        found
            .map(|item| entry(&item).ok_or(Error::Unreadable(None)))
            .transpose()
    }

    /// The changes of one agent that are still kept, the newest first: so many of those `before` a version. Where there may
    /// be more, the version before which they are.
    pub async fn history(
        &self,
        agent: &str,
        before: Option<u64>,
        most: usize,
        now: Timestamp,
    ) -> Result<(Vec<Change>, Option<u64>), Error> {
        let (mut changes, mut start) = (Vec::new(), None);
        // What every version is below.
        let before = before.unwrap_or(u64::MAX).min(keys::VERSIONS);
        let (first, last) = (
            keys::change(0).sk,
            keys::change(before.saturating_sub(1)).sk,
        );
        loop {
            let page = (self.table.client().query())
                .table_name(&self.table.name)
                .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":pk", text(keys::registry()))
                .expression_attribute_values(":first", text(&first))
                .expression_attribute_values(":last", text(&last))
                .scan_index_forward(false)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .boxed()
                .await?;
            let kept = page.items().iter().filter(|item| expires_at(item) > now);
            for change in kept.filter_map(change) {
                if change.agent.as_deref() != Some(agent) {
                    continue;
                }
                let version = change.version;
                changes.push(change);
                if changes.len() >= most {
                    return Ok((changes, Some(version)));
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok((changes, None));
            }
        }
    }

    /// The document that is kept here.
    pub async fn document(&self) -> Result<Option<Kept>, Error> {
        Ok(self
            .table
            .item(keys::document())
            .await?
            .as_ref()
            .and_then(kept))
    }

    /// The last good copy of a document from elsewhere.
    pub async fn copy(&self) -> Result<Option<Kept>, Error> {
        Ok(self.table.item(keys::copy()).await?.as_ref().and_then(kept))
    }

    /// Keeps a copy of a document that was taken, unless it is there.
    pub async fn keep_copy(&self, copy: &Kept) -> Result<(), Error> {
        let put = (self.table.put_for_good(keys::copy()))
            .item("text", text(&copy.text))
            .item("version", text(&copy.version))
            .item("from", text(&copy.from))
            .condition_expression("attribute_not_exists(version) OR version <> :version")
            .expression_attribute_values(":version", text(&copy.version));
        self.table.transact(vec![built(put)?]).await?;
        Ok(())
    }

    /// Makes one change, with its line in the history and in the audit log, all or nothing.
    pub async fn change(
        &self,
        changing: Changing<'_>,
        log: &Audit,
        tenant: &str,
        owner: Option<&Owner>,
        entry: impl Fn(u64) -> audit::Entry,
    ) -> Result<Put, Error> {
        for attempt in 0..TRIES {
            pause(attempt).await;
            let head = self.version().await?;
            let (version, before) = self.before(changing).await?;
            if changing.seen.is_some_and(|seen| seen != version) {
                return Ok(Put::Other(version));
            }
            let next = head + 1;
            let until = log.kept_until(changing.at);
            let mut items = self.written(changing, head, before.as_deref(), until)?;
            let lane = log.take(tenant).await?;
            let line = log.next(&lane, &entry(next))?;
            items.extend(log.items(&lane, &line, owner)?);
            // A lane that is not given back is not written to again: whoever lost takes another one.
            if self.table.transact(items).await?.is_none() {
                log.written(lane, line);
                return Ok(Put::Done(next));
            }
        }
        Err(Error::Contended)
    }

    /// The version and the text of what is there.
    async fn before(&self, changing: Changing<'_>) -> Result<(u64, Option<String>), Error> {
        Ok(match changing.what {
            Target::Agent(name) | Target::Found(name) => {
                let found = match changing.what {
                    Target::Agent(_) => self.get(name).await?,
                    _ => self.found(name).await?,
                };
                found.map_or((0, None), |entry| (entry.version, entry.written))
            }
            Target::Document => {
                let found = self.document().await?;
                found.map_or((0, None), |kept| {
                    (kept.version.parse().unwrap_or(0), Some(kept.text))
                })
            }
        })
    }

    /// What writes a change of the version before. The head's condition keeps all else as it was read.
    fn written(
        &self,
        changing: Changing<'_>,
        head: u64,
        before: Option<&str>,
        until: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let next = head + 1;
        let stamped = |put: PutBuilder| {
            put.item("at", number(changing.at.0))
                .item("by", text(changing.by))
        };
        let put = match changing.what {
            Target::Agent(name) | Target::Found(name) => {
                let key = match changing.what {
                    Target::Agent(_) => keys::agent(name),
                    _ => keys::found(name),
                };
                let put = stamped(self.table.put_for_good(key))
                    .item("name", text(name))
                    .item("version", number(next));
                with(put, "written", changing.written)
            }
            Target::Document => {
                let put = (self.table.put_for_good(keys::document()))
                    .item("version", text(next.to_string()))
                    .item("from", text("table"));
                with(put, "text", changing.written)
            }
        };
        let history = stamped(self.table.put(keys::change(next), until))
            .item("version", number(next))
            .condition_expression("attribute_not_exists(pk)");
        let history = with(history, "agent", changing.what.agent());
        let said = matches!(changing.what, Target::Found(_)).then_some("said");
        let history = with(history, "found", said);
        // A document may be long, and what was before it is in the history anyway.
        let before = before.filter(|_| changing.what != Target::Document);
        let history = with(with(history, "before", before), "after", changing.written);
        let top = self
            .table
            .put_for_good(keys::registry_head())
            .item("version", number(next));
        let top = if head == 0 {
            top.condition_expression("attribute_not_exists(pk)")
        } else {
            top.condition_expression("version = :seen")
                .expression_attribute_values(":seen", number(head))
        };
        [put, history, top].into_iter().map(built).collect()
    }

    async fn items(&self, prefix: &str) -> Result<Vec<Item>, Error> {
        let (mut items, mut place) = (Vec::new(), Place::default());
        let pk = keys::registry();
        while let Some(page) = self.table.page(&pk, prefix, &mut place).await? {
            items.extend(page);
        }
        Ok(items)
    }
}

/// An attribute that may be missing.
fn with(put: PutBuilder, name: &str, value: Option<&str>) -> PutBuilder {
    match value {
        Some(value) => put.item(name, text(value)),
        None => put,
    }
}

fn entry(item: &Item) -> Option<Entry> {
    Some(Entry {
        name: string(item, "name")?.to_owned(),
        written: string(item, "written").map(str::to_owned),
        version: count(item, "version")?,
        at: Millis(count(item, "at")?),
        by: string(item, "by")?.to_owned(),
    })
}

fn change(item: &Item) -> Option<Change> {
    let text = |name| string(item, name).map(str::to_owned);
    Some(Change {
        version: count(item, "version")?,
        at: Millis(count(item, "at")?),
        by: text("by")?,
        agent: text("agent"),
        found: item.contains_key("found"),
        before: text("before"),
        after: text("after"),
    })
}

fn kept(item: &Item) -> Option<Kept> {
    Some(Kept {
        text: string(item, "text")?.to_owned(),
        version: string(item, "version")?.to_owned(),
        from: string(item, "from")?.to_owned(),
    })
}
