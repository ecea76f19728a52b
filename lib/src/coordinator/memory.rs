//! What a turn may build on: who calls, and both halves of the memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::OptionFuture;
use futures_util::join;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::attempts::AskedAgain;
use super::{Coordinator, Progress, Verification};
use crate::context;
use crate::domain::access::{self, Identity};
use crate::domain::conversation::{Memory, Recalled, Stored};
use crate::domain::event::StageStatus;
use crate::domain::experiment::Placed;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, TurnId};
use crate::domain::message::Role;
use crate::domain::phrase::Phrase;
use crate::domain::preference::Preferences;
use crate::domain::run::Kept;
use crate::domain::turn::ChatTurn;
use crate::policy::{Entry, Refusal};
use crate::store::{self, Conversations, Runs};
use crate::stream::{AnswerSink, labels};
use crate::telemetry;

/// A turn whose deadline is this long over has surely ended.
const GRACE: Duration = Duration::from_secs(3);

/// Who calls, and what the conversation was so far.
pub(super) struct Recollection {
    pub(super) owner: Owner,
    pub(super) conversations: Conversations,
    pub(super) memory: Memory,
    /// False when the store could not be read.
    pub(super) read: bool,
    /// Stands for the owner in the audit log.
    pub(super) pseudonym: Option<TurnId>,
    /// What an earlier turn of the same request did not finish.
    pub(super) unfinished: Option<Kept>,
    /// What is wanted of the turn, and what the owner has spent today before it, in millionths of a dollar.
    pub(super) preferences: Preferences,
    /// The same without what the request sets.
    pub(super) kept: Preferences,
    /// The mark of those that were read, if any were.
    pub(super) mark: Option<u64>,
    pub(super) spent_today: u64,
    /// Whom the turn has asked once more.
    pub(super) asked_again: AskedAgain,
}

/// Whose account a turn is in. It is noted while the turn's own future is under way, which may be dropped at any moment.
#[derive(Debug, Default)]
pub(super) struct Entered(Mutex<Option<Owner>>);

impl Entered {
    fn note(&self, owner: Option<&Owner>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = owner.cloned();
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owner.clone()
    }
}

impl Recollection {
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

/// Who calls, and what the client remembers.
pub(super) struct Known {
    pub(super) owner: Owner,
    pub(super) roles: Vec<access::Role>,
    /// One for each assistant message.
    pub(super) recalled: Vec<Recalled>,
    /// Where the turn is in experiments.
    pub(super) placed: Placed,
}

impl Coordinator {
    /// The caller verified, and the states of its messages opened.
    pub(super) async fn identify(
        &self,
        turn: &ChatTurn,
        verification: Verification,
    ) -> Result<Known, Failure> {
        let Identity { owner, roles } = verification.await?;
        // Set once; a turn has one owner.
        let _ = turn.caller.mark.set(owner.mark());
        let _ = turn.caller.owner.set(owner.clone());
        let recalled: Vec<Recalled> = (turn.messages.iter())
            .filter(|message| message.role == Role::Assistant)
            .map(|message| self.seal.open(&owner, message.state.as_ref()))
            .collect();
        let placed = self.place(turn, &owner, &roles, &recalled).await;
        Ok(Known {
            owner,
            roles,
            recalled,
            placed,
        })
    }

    /// What the conversation was so far, kept as soon as it is there: a turn cut off later still leaves its state.
    pub(super) async fn recall(
        &self,
        turn: &ChatTurn,
        known: &Known,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let recalled = Box::pin(self.recollection(turn, known, &progress.entered)).await?;
        progress.recalled = Some(recalled);
        Ok(())
    }

    /// The owner's account entered, the conversation loaded, the others' breakers looked at. The turn may end while this is
    /// under way, so whose account it is in is noted at once.
    pub(super) async fn recollection(
        &self,
        turn: &ChatTurn,
        known: &Known,
        entered: &Entered,
    ) -> Result<Recollection, Failure> {
        let Known {
            owner, recalled, ..
        } = known;
        let entry = Entry {
            turn: turn.id,
            now: self.guard.now(),
            until: (self.guard.now())
                .plus(turn.deadline.saturating_duration_since(Instant::now()) + GRACE),
            request: turn.request.clone(),
            trace: turn.caller.trace_id().map(str::to_owned),
            // What only asks uses no session, so it is in nobody's way.
            conversation: (!turn.what_if).then(|| context::conversation_id(recalled, turn)),
        };
        // The log's lane is opened beside the rest: the end of the turn does not wait for it.
        let lane = timeout(self.times.save, self.audit.prepare(owner.tenant()));
        // Before it is sent: who leaves meanwhile may be in the account already.
        entered.note(Some(owner));
        let known = self.wishes.are_known(owner);
        let (account, mut recollection, read, _, ()) = join!(
            (self.accounts.enter(owner, &entry)).instrument(telemetry::store("enter")),
            self.recollect(turn, owner, recalled),
            OptionFuture::from((!known).then(|| self.preferences(owner))),
            lane,
            self.guard.refresh(),
        );
        let account = account.map_err(|refusal| {
            entered.note(None);
            refused(turn, refusal)
        })?;
        if let Some(erased) = account.erased {
            let kept: Vec<_> = (recalled.iter().cloned())
                .map(|one| one.unless_erased(erased))
                .collect();
            if kept != *recalled {
                recollection = self.recollect(turn, owner, &kept).await;
            }
        }
        let repeated = !turn.what_if && account.is_repeated(&entry);
        if repeated && account.erased.is_none_or(|erased| erased < turn.id) {
            recollection.unfinished = self.unfinished(turn, owner).await;
        }
        if turn.what_if || account.shares(turn.id, &recollection.memory.conversation) {
            // Another branch, or what will be one: its agents' sessions are its own from now on.
            recollection.memory.sessions.clear();
        }
        let (preferences, mark) = match self.wishes.marked(owner, account.wishes) {
            Some(preferences) => (preferences, None),
            None => match read {
                Some(read) => read,
                None => self.preferences(owner).await,
            },
        };
        recollection.mark = mark;
        recollection.pseudonym = account.pseudonym;
        recollection.preferences = self.wanted_of(turn, preferences.clone());
        recollection.kept = preferences;
        recollection.spent_today = account.spent(entry.now);
        Ok(recollection)
    }

    /// The plan that another turn of this request has begun, if there is one.
    async fn unfinished(&self, turn: &ChatTurn, owner: &Owner) -> Option<Kept> {
        let request = turn.request.as_deref()?;
        let runs = Runs::of(&self.table, owner, request);
        let load = timeout(self.times.save, runs.load(self.guard.now().seconds()));
        let kept = load.await.unwrap_or(Err(store::Error::Slow));
        kept.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what was begun of this request cannot be read"
            );
            None
        })
    }

    /// What the owner wants, and the mark of that; where it cannot be read, what they wanted last as far as this process
    /// knows.
    async fn preferences(&self, owner: &Owner) -> (Preferences, Option<u64>) {
        let load = self.wishes.load(owner, self.guard.now().seconds());
        match load.await {
            Ok((preferences, _)) => {
                let mark = preferences.mark();
                (preferences, Some(mark))
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "preferences cannot be read"
                );
                (self.wishes.seen(owner), None)
            }
        }
    }

    /// What the conversation was so far.
    async fn recollect(
        &self,
        turn: &ChatTurn,
        owner: &Owner,
        recalled: &[Recalled],
    ) -> Recollection {
        let conversation = context::conversation_id(recalled, turn);
        let conversations =
            Conversations::of(&self.table, owner.clone(), self.retention).capped(self.caps.stored);
        // A conversation that begins remembers nothing, whatever was stored under its client's id before.
        let loaded = if recalled.is_empty() || context::is_unheard_of(recalled, turn) {
            Ok(Stored::default())
        } else {
            let load = conversations.load(&conversation, turn.received_at);
            telemetry::within(telemetry::store("load"), load).await
        };
        let read = loaded.is_ok();
        let stored = loaded.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the memory cannot be read"
            );
            Stored::default()
        });
        let mut memory = context::recollect(conversation, &turn.messages, recalled, &stored);
        if let Some((agent, session)) = context::legacy_session(recalled)
            && !memory.sessions.contains_key(&agent)
        {
            let owned = conversations
                .owns_session(&agent, session, turn.received_at)
                .await;
            if self.trust_legacy_sessions || owned.unwrap_or(false) {
                memory.sessions.insert(agent, session.to_owned());
            }
        }
        Recollection {
            owner: owner.clone(),
            conversations,
            memory,
            read,
            pseudonym: None,
            unfinished: None,
            preferences: Preferences::default(),
            kept: Preferences::default(),
            mark: None,
            spent_today: 0,
            asked_again: AskedAgain::default(),
        }
    }
}

pub(super) fn memory_trouble(sink: &AnswerSink, text: Phrase) {
    let name = labels::memory().told(sink.language());
    let stage = sink.open_stage(Some(&name), None);
    stage.say(text);
    stage.close(StageStatus::Failed);
}

/// Why a turn may not begin, as its caller is told.
fn refused(turn: &ChatTurn, refusal: Refusal) -> Failure {
    let reference = turn.id.reference();
    tracing::info!(refusal = ?refusal, error.reference = reference, "a turn was refused");
    let limit = |what: &str, wait: Duration| {
        let message = format!("{what}, reference {reference}");
        Failure::new(
            Code::RateLimitExceeded,
            message,
            labels::over_limit(wait, &reference),
        )
        .after(wait)
    };
    match refusal {
        Refusal::Requests(wait) => limit("too many requests a minute", wait),
        Refusal::Tokens(wait) => limit("the day's tokens are used up", wait),
        Refusal::Spend(wait) => limit("the day's money is used up", wait),
        Refusal::Concurrent => limit("too many turns at once", Duration::from_secs(5)),
        Refusal::Duplicate => Failure::new(
            Code::DuplicateRequest,
            format!("the same request is being answered, reference {reference}"),
            labels::duplicate(),
        ),
        Refusal::Trace => Failure::new(
            Code::RecursionLimitExceeded,
            format!("too many turns of one trace, reference {reference}"),
            labels::circles(),
        ),
    }
}
