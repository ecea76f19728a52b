//! What a turn remembers and leaves behind: both halves of the memory, read and written.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, join};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::{Coordinator, Progress, Verification};
use crate::context;
use crate::domain::audit::{Entry as AuditEntry, TurnEntry};
use crate::domain::conversation::{
    Envelope, Exchange, Memory, Outcome, Recalled, Sessions, Stored, TurnRecord,
};
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{Owner, TurnId};
use crate::domain::message::{Message, Role};
use crate::domain::plan::Plan;
use crate::domain::turn::ChatTurn;
use crate::policy::{Entry, Refusal, Used};
use crate::store::chain::Anchor;
use crate::store::{self, Conversations, Saved, Session, Write, Written};
use crate::stream::{AnswerSink, labels};
use crate::telemetry;

/// A turn whose deadline is this long over has surely ended.
const GRACE: Duration = Duration::from_secs(3);

/// Who calls, and what the conversation was so far.
pub(super) struct Recollection {
    owner: Owner,
    conversations: Conversations,
    pub(super) memory: Memory,
    /// True on the first turn, which no earlier answer belongs to.
    begins: bool,
    /// False when the store could not be read.
    pub(super) read: bool,
    /// Stands for the owner in the audit log.
    pseudonym: Option<TurnId>,
}

/// Whose account a turn is in. It is noted while the turn's own future is under way, which may be dropped at any moment.
#[derive(Debug, Default)]
pub(super) struct Entered(Mutex<Option<Owner>>);

impl Entered {
    fn note(&self, owner: Option<&Owner>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = owner.cloned();
    }

    fn owner(&self) -> Option<Owner> {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owner.clone()
    }
}

impl Recollection {
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Coordinator {
    /// The caller verified, and what the conversation was so far. The turn may end while this is under way, so whose
    /// account it is in is noted at once.
    pub(super) async fn recall(
        &self,
        turn: &ChatTurn,
        verification: Verification,
        entered: &Entered,
    ) -> Result<Recollection, Failure> {
        let owner = verification.await?.owner;
        // Set once; a turn has one owner.
        let _ = turn.caller.mark.set(owner.mark());
        let entry = Entry {
            turn: turn.id,
            now: self.guard.now(),
            until: (self.guard.now())
                .plus(turn.deadline.saturating_duration_since(Instant::now()) + GRACE),
            request: turn.request.clone(),
            trace: turn.caller.trace_id().map(str::to_owned),
        };
        let recalled: Vec<_> = (turn.messages.iter())
            .filter(|message| message.role == Role::Assistant)
            .map(|message| self.seal.open(&owner, message.state.as_ref()))
            .collect();
        // The log's lane is opened beside the rest: the end of the turn does not wait for it.
        let lane = timeout(self.times.save, self.audit.prepare(owner.tenant()));
        // Before it is sent: who leaves meanwhile may be in the account already.
        entered.note(Some(&owner));
        let (account, mut recollection, _) = join!(
            (self.accounts.enter(&owner, &entry)).instrument(telemetry::store("enter")),
            self.recollect(turn, &owner, &recalled),
            lane,
        );
        let account = account.map_err(|refusal| {
            entered.note(None);
            refused(turn, refusal)
        })?;
        if let Some(erased) = account.erased {
            let kept: Vec<_> = (recalled.iter().cloned())
                .map(|one| one.unless_erased(erased))
                .collect();
            if kept != recalled {
                recollection = self.recollect(turn, &owner, &kept).await;
            }
        }
        recollection.pseudonym = account.pseudonym;
        Ok(recollection)
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
        let begins = recalled.is_empty();
        let loaded = if begins {
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
            begins,
            read,
            pseudonym: None,
        }
    }

    /// Ends the turn in its owner's account.
    pub(super) async fn leave(&self, turn: &ChatTurn, progress: &Progress) {
        let Some(owner) = progress.entered.owner() else {
            return;
        };
        let used = Used {
            tokens: progress.tally.sum().map_or(0, |sum| sum.total_tokens),
            spend: self.prices.of(&progress.tally).unwrap_or_default(),
        };
        let now = self.guard.now();
        // Whoever cannot be told will find that the turn's time is over.
        (self.accounts)
            .leave(&owner, turn.id, used, now, self.times.save)
            .instrument(telemetry::store("leave"))
            .await;
    }

    /// The client's half of the memory. It leaves before the synthesis, so that a user who stops reading there keeps
    /// the conversation.
    pub(super) fn send_state(&self, turn: &ChatTurn, sink: &AnswerSink, progress: &Progress) {
        let Some(recalled) = &progress.recalled else {
            return;
        };
        sink.state(&self.seal.seal(
            &recalled.owner,
            Envelope {
                conversation: recalled.memory.conversation.clone(),
                turn: turn.id,
                sessions: sessions(recalled, progress),
                exchange: exchange(turn, progress),
                stored: false,
            },
        ));
    }

    /// The server's half: one write, bounded, never fatal to the answer. Gives back where the audit log has the turn.
    pub(super) async fn save(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &Progress,
        begun: Instant,
    ) -> Option<Anchor> {
        let recalled = progress.recalled.as_ref()?;
        let decision = progress.decision.as_ref();
        let record = TurnRecord {
            id: turn.id,
            at: turn.received_at,
            outcome: progress.outcome.unwrap_or(Outcome::Failed),
            source: decision
                .map_or("none", |decision| decision.source.as_str())
                .into(),
            confidence: decision.and_then(|decision| decision.confidence),
            rationale: decision.map_or_else(String::new, |decision| decision.rationale.clone()),
            calls: progress.calls.clone(),
            exchange: exchange(turn, progress),
            shown: context::digest(&progress.shown),
            usage: progress.tally.per_model().to_vec(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let sessions = sessions(recalled, progress);
        let created = matches!(progress.report.session, Some((_, true)));
        let session = progress.agent.as_ref().and_then(|agent| {
            Some(Session {
                agent,
                id: sessions.get(agent)?,
                created,
                known: recalled.memory.sessions.get(agent).map(String::as_str),
            })
        });
        let entry = self.entry(turn, progress, recalled, &record);
        let save = recalled.conversations.save(Write {
            conversation: &recalled.memory.conversation,
            record: &record,
            session,
            begins: recalled.begins,
            audit: Some((&self.audit, &entry)),
        });
        let save =
            timeout(self.times.save, save).map(|saved| saved.unwrap_or(Err(store::Error::Slow)));
        let written = telemetry::within(telemetry::store("save"), save).await;
        if !matches!(
            &written,
            Ok(Written {
                anchor: Some(_),
                ..
            })
        ) {
            tracing::error!("the audit log has no line of this turn");
        }
        match written {
            Ok(Written { saved, anchor }) => {
                match saved {
                    Saved::Whole => {}
                    Saved::Cut => memory_trouble(sink, labels::MEMORY_CUT),
                    Saved::Erased => self.forget(session).await,
                }
                anchor
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the turn cannot be saved"
                );
                if recalled.read {
                    memory_trouble(sink, labels::MEMORY_UNSAVED);
                }
                None
            }
        }
    }

    /// What the audit log says of the turn.
    fn entry(
        &self,
        turn: &ChatTurn,
        progress: &Progress,
        recalled: &Recollection,
        record: &TurnRecord,
    ) -> AuditEntry {
        let tenant = recalled.owner.tenant();
        let asked = asked(turn, progress).map_or("", |message| &message.text);
        AuditEntry::Turn(Box::new(TurnEntry {
            turn: turn.id,
            at: self.guard.now(),
            who: recalled.pseudonym,
            source: record.source.clone().into(),
            confidence: record.confidence,
            calls: record.calls.clone(),
            outcome: record.outcome,
            error: progress.error.map(|code| code.as_str().into()),
            request: self.audit.hash(tenant, asked),
            shown: self.audit.hash(tenant, &progress.shown),
            version: env!("CARGO_PKG_VERSION").into(),
            duration_ms: record.duration_ms,
        }))
    }

    /// The person was erased while the turn ran: what it made at an agent goes, too.
    async fn forget(&self, session: Option<Session<'_>>) {
        tracing::info!("the person was erased meanwhile: nothing of the turn is kept");
        let Some(made) = session.filter(|session| session.created) else {
            return;
        };
        let forgotten = self.agents.forget(made.agent, made.id, self.times.save);
        if let Err(error) = forgotten.await {
            tracing::error!(
                agent.id = %made.agent, error = &error as &dyn std::error::Error,
                "an agent keeps a conversation of a person who was erased"
            );
        }
    }
}

pub(super) fn memory_trouble(sink: &AnswerSink, text: &str) {
    let stage = sink.open_stage(Some(labels::MEMORY), None);
    stage.text(text);
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
            labels::DUPLICATE,
        ),
        Refusal::Trace => Failure::new(
            Code::RecursionLimitExceeded,
            format!("too many turns of one trace, reference {reference}"),
            labels::CIRCLES,
        ),
    }
}

/// What this turn is about: what was approved, or the last message.
fn asked<'a>(turn: &'a ChatTurn, progress: &'a Progress) -> Option<&'a Message> {
    progress.asked.as_ref().or(turn.messages.last())
}

/// The sessions of all agents, this turn's included.
fn sessions(recalled: &Recollection, progress: &Progress) -> Sessions {
    let mut sessions = recalled.memory.sessions.clone();
    if let (Some(agent), Some((id, _))) = (&progress.agent, &progress.report.session) {
        sessions.insert(agent.clone(), id.clone());
    }
    sessions
}

/// What the agent was asked and said, once its answer is complete.
fn exchange(turn: &ChatTurn, progress: &Progress) -> Option<Exchange> {
    let (Some(agent), Some(decision), true) =
        (&progress.agent, &progress.decision, progress.reported)
    else {
        return None;
    };
    let last = asked(turn, progress)?;
    let Plan::Single(assignment) = &decision.plan;
    Some(Exchange {
        agent: agent.clone(),
        request: last.text.clone(),
        instructions: assignment.instructions.clone(),
        request_attachments: context::by_address(&last.attachments),
        answer: progress.report.text.clone(),
        attachments: context::by_address(&progress.report.attachments),
        state: progress.report.state.clone(),
    })
}
