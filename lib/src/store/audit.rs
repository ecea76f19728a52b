//! Writing the audit log: each process has lanes of its own, so that no two writers ever wait for each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_dynamodb::types::builders::PutBuilder;

use super::attributes::{Item, count, expires_at, number, string, text};
use super::chain::{Anchor, Head, Line, Listed, ROLL, Scope};
use super::keyring::Keyring;
use super::requests::{built, pause};
use super::{Error, Table, keys};
use crate::domain::audit::Entry;
use crate::domain::day::Day;
use crate::domain::ids::{Clock, Millis, Owner, Timestamp, TurnId};

/// More than these losing against others in a row, and somebody's view is wrong.
const TRIES: u32 = 12;

/// The audit log. One for the whole process.
#[derive(Clone, Debug)]
pub struct Audit {
    pub(super) table: Table,
    pub(super) keys: Keyring,
    /// How long lines are kept after the end of their day.
    ttl: Duration,
    pub(super) clock: Clock,
    lanes: Arc<Lanes>,
}

/// The lanes of this process.
#[derive(Debug)]
struct Lanes {
    /// This process among all of them.
    me: TurnId,
    opened: AtomicU64,
    /// Those that nobody writes to now.
    free: Mutex<HashMap<Scope, Vec<Lane>>>,
    /// Held while opening one, so that many turns that begin at once do not open one each.
    opening: tokio::sync::Mutex<()>,
}

/// A chain that nobody else writes to. Whoever takes it has it alone; if it is not given back, it is not written to
/// again: whether its last line found its place is unknown then, and either way it is in order.
#[derive(Debug)]
pub struct Lane {
    scope: Scope,
    head: Head,
}

/// A line that is ready to be written.
#[derive(Debug)]
pub struct Next {
    line: Line,
    head: Head,
    day: Day,
    anchor: Anchor,
}

impl Audit {
    /// `me` tells this process from all others: a new id.
    pub fn new(table: &Table, keys: Keyring, ttl: Duration, clock: Clock, me: TurnId) -> Self {
        Self {
            table: table.clone(),
            keys,
            ttl,
            clock,
            lanes: Arc::new(Lanes {
                me,
                opened: AtomicU64::new(0),
                free: Mutex::default(),
                opening: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// A text as the log has it: a keyed hash.
    pub fn hash(&self, tenant: &str, text: &str) -> String {
        self.keys.sign(&["text", tenant, text])
    }

    /// Until when what happens at a moment is kept.
    pub fn kept_until(&self, at: Millis) -> Timestamp {
        Day::of(at).end().plus(self.ttl)
    }

    /// Sees to it that there is a lane to write to, so that writing does not have to wait for one.
    pub async fn prepare(&self, tenant: &str) {
        if let Ok(lane) = self.take(tenant).await {
            self.give_back(lane);
        }
    }

    /// A lane of today.
    pub(super) async fn take(&self, tenant: &str) -> Result<Lane, Error> {
        let scope = Scope::of_day(tenant, Day::of(self.clock.now()));
        let free = || self.free().get_mut(&scope).and_then(Vec::pop);
        if let Some(lane) = free() {
            return Ok(lane);
        }
        let _opening = self.lanes.opening.lock().await;
        match free() {
            Some(lane) => Ok(lane),
            None => self.open(scope).await,
        }
    }

    /// Lets others write to a lane.
    pub(super) fn give_back(&self, lane: Lane) {
        let mut free = self.free();
        // Lanes of earlier days are not written to any more.
        free.retain(|scope, _| scope.tenant != lane.scope.tenant || scope.day >= lane.scope.day);
        free.entry(lane.scope.clone()).or_default().push(lane);
    }

    /// The line for an entry, and what has to be written with it, all or nothing.
    pub(super) fn next(&self, lane: &Lane, entry: &Entry) -> Result<Next, Error> {
        let body = serde_json::to_string(entry).map_err(|error| Error::Unreadable(Some(error)))?;
        let (head, scope) = (&lane.head, &lane.scope);
        let (line, head) = head.next(&self.keys, scope, head.until, body);
        let day = scope.day.ok_or(Error::Unreadable(None))?;
        let anchor = Anchor {
            tenant: Arc::clone(&scope.tenant),
            day,
            chain: Arc::clone(&line.chain),
            seq: line.seq,
            mac: line.mac.clone(),
        };
        Ok(Next {
            line,
            head,
            day,
            anchor,
        })
    }

    /// What writes a line. `owner` is whom it is about: they are told so when they ask for their data.
    pub(super) fn items(
        &self,
        lane: &Lane,
        next: &Next,
        owner: Option<&Owner>,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let mut items = self.appended(&lane.scope, Some(&lane.head), &next.line, &next.head)?;
        if let Some(owner) = owner {
            let (line, day) = (&next.line, next.day);
            let key = keys::reference(owner, day, &line.chain, line.seq);
            let put = self.table.put(key, line.until);
            items.push(built(put)?);
        }
        Ok(items)
    }

    /// The line is written: the lane goes on from it.
    pub(super) fn written(&self, lane: Lane, next: Next) -> Anchor {
        self.give_back(Lane {
            head: next.head,
            ..lane
        });
        next.anchor
    }

    /// Writes one line alone.
    pub async fn append(
        &self,
        tenant: &str,
        entry: &Entry,
        owner: Option<&Owner>,
    ) -> Result<Anchor, Error> {
        for attempt in 0..TRIES {
            pause(attempt).await;
            let lane = self.take(tenant).await?;
            let next = self.next(&lane, entry)?;
            if self
                .table
                .transact(self.items(&lane, &next, owner)?)
                .await?
                .is_none()
            {
                return Ok(self.written(lane, next));
            }
        }
        Err(Error::Contended)
    }

    /// A new lane: listed in the day's roll and begun in one step. The day's first lane opens the day.
    async fn open(&self, scope: Scope) -> Result<Lane, Error> {
        let opened = self.lanes.opened.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{opened}", self.lanes.me);
        for attempt in 0..TRIES {
            pause(attempt).await;
            let Some(roll) = self.head(&scope, ROLL).await? else {
                self.open_day(&scope).await?;
                continue;
            };
            let head = Head::new(&self.keys, &scope, &name, roll.until);
            let (line, next) = roll.next(&self.keys, &scope, roll.until, name.clone());
            let mut items = self.appended(&scope, Some(&roll), &line, &next)?;
            items.push(self.put_head(&scope, None, &head)?);
            if self.table.transact(items).await?.is_none() {
                return Ok(Lane { scope, head });
            }
        }
        Err(Error::Contended)
    }

    /// Lists the day in the tenant's roll and begins the day's, unless another process was faster.
    async fn open_day(&self, scope: &Scope) -> Result<(), Error> {
        let Some(day) = scope.day else {
            return Ok(());
        };
        let of_tenant = Scope::of_tenant(&scope.tenant);
        // Everything of a day goes at the same time.
        let until = day.end().plus(self.ttl);
        let known = self.head(&of_tenant, ROLL).await?;
        let listed = Listed {
            day,
            until,
            before: known.as_ref().map(|head| head.until),
        };
        let body =
            serde_json::to_string(&listed).map_err(|error| Error::Unreadable(Some(error)))?;
        let old = known
            .clone()
            .unwrap_or_else(|| Head::new(&self.keys, &of_tenant, ROLL, until));
        let (line, next) = old.next(&self.keys, &of_tenant, until, body);
        let mut items = self.appended(&of_tenant, known.as_ref(), &line, &next)?;
        let roll = Head::new(&self.keys, scope, ROLL, until);
        items.push(self.put_head(scope, None, &roll)?);
        self.table.transact(items).await?;
        Ok(())
    }

    /// The head of a chain, if there is one.
    async fn head(&self, scope: &Scope, chain: &str) -> Result<Option<Head>, Error> {
        let found = self.table.item(keys::head(scope, chain)).await?;
        let now = self.clock.now().seconds();
        Ok(found
            .filter(|item| expires_at(item) > now)
            .and_then(|item| head_of(&item)))
    }

    /// A line and the head that it makes. Both fail if anybody else was there.
    fn appended(
        &self,
        scope: &Scope,
        old: Option<&Head>,
        line: &Line,
        head: &Head,
    ) -> Result<Vec<TransactWriteItem>, Error> {
        let put = (self
            .table
            .put(keys::line(scope, &line.chain, line.seq), line.until))
        .item("chain", text(&*line.chain))
        .item("seq", number(line.seq))
        .item("prev", text(line.prev.clone()))
        .item("body", text(line.body.clone()))
        .item("kid", text(line.kid.clone()))
        .item("mac", text(line.mac.clone()));
        Ok(vec![
            built(self.fresh(put))?,
            self.put_head(scope, old, head)?,
        ])
    }

    fn put_head(
        &self,
        scope: &Scope,
        old: Option<&Head>,
        head: &Head,
    ) -> Result<TransactWriteItem, Error> {
        let put = (self.table.put(keys::head(scope, &head.chain), head.until))
            .item("chain", text(&*head.chain))
            .item("seq", number(head.seq))
            .item("mac", text(head.mac.clone()))
            .item("kid", text(head.kid.clone()))
            .item("seal", text(head.seal.clone()));
        built(match old {
            Some(old) => put
                .condition_expression("seal = :seal")
                .expression_attribute_values(":seal", text(old.seal.clone())),
            None => self.fresh(put),
        })
    }

    /// Written only where nothing is, or nothing that has not expired.
    fn fresh(&self, put: PutBuilder) -> PutBuilder {
        put.condition_expression("attribute_not_exists(pk) OR expires_at <= :now")
            .expression_attribute_values(":now", number(self.clock.now().seconds().0))
    }

    fn free(&self) -> MutexGuard<'_, HashMap<Scope, Vec<Lane>>> {
        (self.lanes.free.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head that an item holds.
pub(super) fn head_of(item: &Item) -> Option<Head> {
    Some(Head {
        chain: string(item, "chain")?.into(),
        seq: count(item, "seq")?,
        mac: string(item, "mac")?.to_owned(),
        until: expires_at(item),
        kid: string(item, "kid")?.to_owned(),
        seal: string(item, "seal")?.to_owned(),
    })
}

/// The line that an item holds.
pub(super) fn line_of(item: &Item) -> Option<Line> {
    Some(Line {
        chain: string(item, "chain")?.into(),
        seq: count(item, "seq")?,
        prev: string(item, "prev")?.to_owned(),
        until: expires_at(item),
        body: string(item, "body")?.to_owned(),
        kid: string(item, "kid")?.to_owned(),
        mac: string(item, "mac")?.to_owned(),
    })
}
