//! Every person's preferences: read beside the memory, written with a line of the audit log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};

use super::attributes::number;
use super::audit::{Lane, Next};
use super::cells::Versioned;
use super::requests::{Reason, key_of, pause};
use super::{Accounts, Audit, Error, Table, keys};
use crate::domain::audit::{By, Entry};
use crate::domain::ids::{Owner, Timestamp, TurnId};
use crate::domain::preference::Preferences;

/// How long preferences stay after they were changed last.
const KEPT: Duration = Duration::from_hours(2 * 365 * 24);
/// More owners than these are not remembered between turns; their preferences are read again.
const KNOWN: usize = 1000;
/// More changes at the same moment, and somebody's view is wrong.
const TRIES: u32 = 8;

/// The preferences of all owners. One for the whole process.
#[derive(Clone, Debug)]
pub struct Wishes {
    table: Table,
    accounts: Accounts,
    seen: Seen,
}

/// Preferences as a process saw them last, so that a turn need not wait for them before it begins. All its threads see
/// the same.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<HashMap<Owner, Preferences>>>);

/// Who changes what, when.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    pub owner: &'a Owner,
    pub turn: TurnId,
    pub by: By,
    /// The owner's pseudonym.
    pub who: Option<TurnId>,
    pub audit: &'a Audit,
}

impl Wishes {
    pub fn of(table: &Table, accounts: &Accounts, seen: Seen) -> Self {
        Self {
            table: table.clone(),
            accounts: accounts.clone(),
            seen,
        }
    }

    /// As this process saw them last; nothing set where it never did.
    pub fn seen(&self, owner: &Owner) -> Preferences {
        self.lock().get(owner).cloned().unwrap_or_default()
    }

    /// As they are now, where that need not be read: this process has seen those whose mark this is.
    pub fn marked(&self, owner: &Owner, mark: Option<u64>) -> Option<Preferences> {
        let seen = self.seen(owner);
        (mark == Some(seen.mark())).then_some(seen)
    }

    /// Whether a turn that enters now will most likely find those that this process has seen.
    pub fn are_known(&self, owner: &Owner) -> bool {
        self.marked(owner, self.accounts.wishes(owner)).is_some()
    }

    /// As they are now, and their version: 0 where nothing was ever set.
    pub async fn load(&self, owner: &Owner, now: Timestamp) -> Result<(Preferences, u64), Error> {
        let found: Versioned<Preferences> = self.table.cell(&keys::preferences(owner), now).await?;
        self.remember(owner, &found.value);
        Ok((found.value, found.version))
    }

    /// Changes them, and gives what they are then. `None` where the owner was erased meanwhile: nothing is written then.
    /// What is the same as before is no change, and no line of the log.
    pub async fn change(
        &self,
        changed: Changed<'_>,
        step: impl Fn(&Preferences) -> Preferences,
    ) -> Result<Option<(Preferences, u64)>, Error> {
        let Changed { owner, audit, .. } = changed;
        let key = keys::preferences(owner);
        for attempt in 0..TRIES {
            pause(attempt).await;
            let now = audit.clock.now();
            let old: Versioned<Preferences> = self.table.cell(&key, now.seconds()).await?;
            let value = step(&old.value);
            let names = value.differences(&old.value);
            if names.is_empty() {
                self.remember(owner, &value);
                return Ok(Some((value, old.version)));
            }
            let entry = Entry::Preferences {
                at: now,
                by: changed.by,
                who: changed.who,
                changed: names.into_iter().map(Into::into).collect(),
            };
            let new = Versioned {
                value,
                version: old.version + 1,
            };
            (self.accounts)
                .wish(owner, changed.turn, new.value.mark(), now)
                .await?;
            let lane = audit.take(owner.tenant()).await?;
            let next = audit.next(&lane, &entry)?;
            let mut items = vec![
                self.table.not_erased(owner, changed.turn)?,
                self.written(owner, &new, now.plus(KEPT).seconds())?,
            ];
            items.extend(audit.items(&lane, &next, changed.who.map(|_| owner))?);
            match self.table.transact(items).await? {
                None => {
                    audit.written(lane, next);
                    self.remember(owner, &new.value);
                    let forgotten = new.value == Preferences::default();
                    return Ok(Some((new.value, if forgotten { 0 } else { new.version })));
                }
                Some(reasons) => {
                    if Self::is_over(audit, (lane, next), &reasons) {
                        return Ok(None);
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// Whether it can never be written. The lane goes on where it was not in the way.
    fn is_over(audit: &Audit, (lane, _): (Lane, Next), reasons: &[Reason]) -> bool {
        let of_line = reasons.iter().skip(2);
        if of_line.into_iter().all(|reason| *reason == Reason::None) {
            audit.give_back(lane);
        }
        reasons.first() == Some(&Reason::Condition)
    }

    /// Preferences that say nothing are none.
    fn written(
        &self,
        owner: &Owner,
        new: &Versioned<Preferences>,
        expires_at: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let key = keys::preferences(owner);
        if new.value != Preferences::default() {
            return self.table.swapped(&key, new, expires_at);
        }
        let [(pk, partition), (sk, name)] = key_of(key);
        let delete = Delete::builder()
            .table_name(&self.table.name)
            .key(pk, partition)
            .key(sk, name)
            .condition_expression("version = :seen")
            .expression_attribute_values(":seen", number(new.version - 1))
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    fn remember(&self, owner: &Owner, preferences: &Preferences) {
        let mut seen = self.lock();
        // Most people set none, and need no place.
        if *preferences == Preferences::default() {
            seen.remove(owner);
            return;
        }
        if seen.len() >= KNOWN && !seen.contains_key(owner) {
            seen.clear();
        }
        seen.insert(owner.clone(), preferences.clone());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Preferences>> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
