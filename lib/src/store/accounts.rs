//! The accounts of owners: in the table, and in this instance while the table cannot be reached.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::TransactWriteItem;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::cells::Versioned;
use super::{Error, Table, keys};
use crate::domain::ids::{Millis, Owner, TurnId};
use crate::domain::rules::Quotas;
use crate::policy::{Account, Entry, Refusal, Used};

/// More owners than these are not remembered between turns; their accounts are read again.
const KNOWN: usize = 1000;

/// Every owner's account. One for the whole process.
#[derive(Clone, Debug)]
pub struct Accounts {
    table: Table,
    quotas: Quotas,
    ttl: Duration,
    known: Known,
}

/// What this process knows of its owners' accounts. All its threads know the same, and wait for each other.
#[derive(Clone, Debug, Default)]
pub struct Known {
    seen: Arc<Mutex<HashMap<Owner, Seen>>>,
    queues: Arc<Mutex<HashMap<Owner, Queue>>>,
    /// Turns that have ended of late.
    over: Arc<Mutex<VecDeque<TurnId>>>,
}

/// A turn that has ended, and what it used.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    pub turn: TurnId,
    pub used: Used,
    pub now: Millis,
}

/// A turn on its way out of an account. Until it is dropped, the owner's other turns in this process wait.
#[derive(Debug)]
pub(super) struct Leaving {
    turn: TurnId,
    account: Versioned<Account>,
    pub(super) item: TransactWriteItem,
    _queue: OwnedMutexGuard<()>,
}

/// Turns of one owner in this process write one after another: meeting in the table, each would write several times.
type Queue = Arc<tokio::sync::Mutex<()>>;

/// As many turns are remembered for a moment after they have ended.
const OVER: usize = 256;

/// Who has queued for so long goes on all the same: the table may be hanging.
const QUEUE: Duration = Duration::from_millis(500);

/// An account as this instance last saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    account: Versioned<Account>,
    /// Changed while the table could not be reached: counted here alone.
    alone: bool,
}

impl Accounts {
    pub fn of(table: &Table, quotas: Quotas, ttl: Duration, known: Known) -> Self {
        Self {
            table: table.clone(),
            quotas,
            // The day's sums must outlive the day.
            ttl: ttl.max(Duration::from_hours(48)),
            known,
        }
    }

    /// Takes a turn into its owner's account. Without the table it is counted here alone.
    pub async fn enter(&self, owner: &Owner, entry: &Entry) -> Result<Account, Refusal> {
        // A table that took the end of a turn and lost it must not keep its owner out.
        let over = |turn: &TurnId| self.over().contains(turn);
        let enter = |account: &Account| match account.without(over).enter(entry, &self.quotas) {
            Ok(next) => (Some(next), Ok(())),
            Err(refusal) => (None, Err(refusal)),
        };
        let entered = self.step(owner, entry.now, enter).await;
        let (account, answer) = entered.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the owner's account cannot be reached: it is counted here alone"
            );
            self.alone(owner, enter)
        });
        answer.map(|()| account)
    }

    /// Takes a turn that has ended out of its owner's account, and counts what it used. The table has so long to hear of
    /// it; after that it is counted here alone, or the turn would stand in its owner's way until its time is over.
    pub async fn leave(&self, owner: &Owner, leave: Leave, within: Duration) {
        let Leave { turn, used, now } = leave;
        let left = self.step(owner, now, |account| (account.leave(turn, used, now), ()));
        if let Err(error) = timeout(within, left).await.unwrap_or(Err(Error::Slow)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the owner's account cannot be reached"
            );
            self.alone(owner, |account| (account.leave(turn, used, now), ()));
        }
    }

    /// What takes a turn that has ended out of its owner's account, to be written with something else. `None` where the
    /// account must be looked at first: then [`Accounts::leave`] does it.
    pub(super) async fn leaving(
        &self,
        owner: &Owner,
        leave: Leave,
    ) -> Result<Option<Leaving>, Error> {
        let queue = self.queue(owner);
        let Ok(turn) = timeout(QUEUE, queue.lock_owned()).await else {
            return Ok(None);
        };
        let known = self.lock().get(owner).cloned().unwrap_or_default();
        if known.alone || known.account.version == 0 {
            return Ok(None);
        }
        let Leave {
            turn: id,
            used,
            now,
        } = leave;
        // Erased meanwhile, and another turn has entered since: the mark must be looked at.
        if (known.account.value.erased).is_some_and(|erased| erased >= id) {
            return Ok(None);
        }
        let Some(value) = known.account.value.leave(id, used, now) else {
            return Ok(None);
        };
        let account = Versioned {
            value,
            version: known.account.version + 1,
        };
        let expires_at = now.plus(self.ttl).seconds();
        let item = self
            .table
            .swapped(&keys::account(owner), &account, expires_at)?;
        Ok(Some(Leaving {
            turn: id,
            account,
            item,
            _queue: turn,
        }))
    }

    /// The turn has left with what was written.
    pub(super) fn left(&self, owner: &Owner, leaving: Leaving) {
        self.remember(owner, leaving.account, false);
        let mut over = self.over();
        if over.len() >= OVER {
            over.pop_front();
        }
        over.push_back(leaving.turn);
    }

    /// Marks everything up to this turn as erased. Gives back the pseudonym that nobody can map any more, and up to which
    /// turn the mark reaches.
    pub async fn erase(
        &self,
        owner: &Owner,
        turn: TurnId,
        now: Millis,
    ) -> Result<(Option<TurnId>, TurnId), Error> {
        let mut pseudonym = None;
        let (account, ()) = self
            .step(owner, now, |account| {
                pseudonym = account.pseudonym;
                (Some(account.erase(turn)), ())
            })
            .await?;
        Ok((pseudonym, account.erased.unwrap_or(turn)))
    }

    /// Says which preferences are to be written in a turn, before they are: whoever enters from now on looks for them.
    pub(super) async fn wish(
        &self,
        owner: &Owner,
        turn: TurnId,
        mark: u64,
        now: Millis,
    ) -> Result<(), Error> {
        let wishing = |account: &Account| (account.wishing(turn, mark), ());
        self.step(owner, now, wishing).await?;
        Ok(())
    }

    /// The mark of an owner's preferences, as this process last knew.
    pub(super) fn wishes(&self, owner: &Owner) -> Option<u64> {
        self.lock().get(owner)?.account.value.wishes
    }

    /// An owner's account as it is now.
    pub async fn find(&self, owner: &Owner, now: Millis) -> Result<Account, Error> {
        let (account, ()) = self.step(owner, now, |_| (None, ())).await?;
        Ok(account)
    }

    /// What stands for this owner in the audit log; `fresh` if nothing does yet.
    pub async fn pseudonym(
        &self,
        owner: &Owner,
        fresh: TurnId,
        now: Millis,
    ) -> Result<TurnId, Error> {
        let named = |account: &Account| (account.named(fresh), ());
        let (account, ()) = self.step(owner, now, named).await?;
        Ok(account.pseudonym.unwrap_or(fresh))
    }

    async fn step<A>(
        &self,
        owner: &Owner,
        now: Millis,
        step: impl FnMut(&Account) -> (Option<Account>, A),
    ) -> Result<(Account, A), Error> {
        let queue = self.queue(owner);
        let _turn = timeout(QUEUE, queue.lock()).await;
        let known = {
            let seen = self.lock();
            seen.get(owner)
                .filter(|seen| !seen.alone)
                .map(|seen| seen.account.clone())
        };
        let key = keys::account(owner);
        let expires_at = now.plus(self.ttl).seconds();
        let (account, answer) = self
            .table
            .step(&key, now.seconds(), expires_at, known, step)
            .await?;
        self.remember(owner, account.clone(), false);
        Ok((account.value, answer))
    }

    /// The same step on what this instance knows.
    fn alone<A>(
        &self,
        owner: &Owner,
        step: impl FnOnce(&Account) -> (Option<Account>, A),
    ) -> (Account, A) {
        let mut known = self.lock().get(owner).cloned().unwrap_or_default().account;
        let (next, answer) = step(&known.value);
        if let Some(next) = next {
            known.value = next;
        }
        let account = known.value.clone();
        self.remember(owner, known, true);
        (account, answer)
    }

    fn remember(&self, owner: &Owner, account: Versioned<Account>, alone: bool) {
        let mut seen = self.lock();
        if seen.len() >= KNOWN && !seen.contains_key(owner) {
            seen.clear();
        }
        seen.insert(owner.clone(), Seen { account, alone });
    }

    fn queue(&self, owner: &Owner) -> Queue {
        let mut queues = self
            .known
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= KNOWN {
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        Arc::clone(queues.entry(owner.clone()).or_default())
    }

    fn over(&self) -> MutexGuard<'_, VecDeque<TurnId>> {
        self.known
            .over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Owner, Seen>> {
        self.known
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
