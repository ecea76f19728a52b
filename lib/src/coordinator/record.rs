//! What a turn leaves behind: the client's half of the memory, the server's, and the line of the audit log.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::memory::{Recollection, memory_trouble};
use super::{Coordinator, Progress};
use crate::context;
use crate::domain::audit::{Entry as AuditEntry, TurnEntry};
use crate::domain::conversation::{Envelope, Exchange, Outcome, Sessions, TurnRecord};
use crate::domain::day::Day;
use crate::domain::ids::AgentId;
use crate::domain::message::Message;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::{StepUsage, cost};
use crate::policy::Used;
use crate::store::chain::Anchor;
use crate::store::{self, Leave, Saved, Session, Write, Written};
use crate::stream::{AnswerSink, labels};
use crate::telemetry;

impl Coordinator {
    /// Ends the turn in its owner's account, by then.
    pub(super) async fn leave(&self, turn: &ChatTurn, progress: &Progress, until: Instant) {
        let Some(owner) = progress.entered.owner() else {
            return;
        };
        let within = until.saturating_duration_since(Instant::now());
        // Whoever cannot be told will find that the turn's time is over.
        (self.accounts)
            .leave(&owner, self.leaving(turn, progress), within)
            .instrument(telemetry::store("leave"))
            .await;
    }

    /// What the turn leaves in its owner's account.
    fn leaving(&self, turn: &ChatTurn, progress: &Progress) -> Leave {
        let used = Used {
            tokens: progress.tally.sum().map_or(0, |sum| sum.total_tokens),
            spend: cost(&self.priced(progress)).unwrap_or_default(),
            plan: progress.plan_end(turn),
            wishes: (progress.recalled.as_ref()).and_then(|recalled| recalled.mark),
        };
        Leave {
            turn: turn.id,
            used,
            now: self.guard.now(),
        }
    }

    /// What each step used, with its price of today.
    pub(super) fn priced(&self, progress: &Progress) -> Vec<StepUsage> {
        (progress.tally).priced(&self.prices, Day::of(self.guard.now()))
    }

    /// The client's half of the memory. It leaves before the synthesis, so that a user who stops reading there keeps
    /// the conversation. That of a turn that only asks is there from its beginning.
    pub(super) fn send_state(&self, turn: &ChatTurn, sink: &AnswerSink, progress: &Progress) {
        let Some(recalled) = progress.recalled.as_ref().filter(|_| !turn.what_if) else {
            return;
        };
        sink.state(&self.seal.seal(
            &recalled.owner,
            Envelope {
                conversation: recalled.memory.conversation.clone(),
                turn: turn.id,
                sessions: sessions(recalled, progress),
                exchanges: exchanges(turn, progress),
                last: progress.last(),
                stored: false,
            },
        ));
    }

    /// The server's half: one write, by its time, never fatal to the answer. Gives back where the audit log has the turn.
    pub(super) async fn save(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &Progress,
        begun: Instant,
    ) -> Option<Anchor> {
        let (anchor, left) = match &progress.recalled {
            Some(recalled) => {
                Box::pin(self.write_down(turn, sink, progress, recalled, begun)).await
            }
            None => (None, false),
        };
        if !left {
            // Whoever has saved for all its time still has a moment to leave.
            let until = Instant::now() + self.times.save / 4;
            Box::pin(self.leave(turn, progress, until)).await;
        }
        anchor
    }

    /// Record, session, account and audit line in one transaction: where the log has the turn, and whether it has left.
    async fn write_down(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &Progress,
        recalled: &Recollection,
        begun: Instant,
    ) -> (Option<Anchor>, bool) {
        let record = self.record(turn, progress, begun);
        let used: Vec<Session> = progress.sessions().collect();
        let entry = self.entry(turn, progress, recalled, &record);
        let save = recalled.conversations.save(Write {
            conversation: &recalled.memory.conversation,
            record: &record,
            kept: !turn.what_if,
            sessions: &used,
            audit: Some((&self.audit, &entry)),
            ends: progress.carried_out(turn),
            account: (progress.entered.owner())
                .map(|_| (&self.accounts, self.leaving(turn, progress))),
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
            Ok(Written {
                saved,
                anchor,
                left,
            }) => {
                match saved {
                    Saved::Whole => {}
                    Saved::Cut => memory_trouble(sink, labels::memory_cut()),
                    Saved::Erased => {
                        tracing::info!(
                            "the person was erased meanwhile: nothing of the turn is kept"
                        );
                        self.forget(&used).await;
                    }
                }
                (anchor, left)
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the turn cannot be saved"
                );
                if recalled.read && !turn.what_if {
                    memory_trouble(sink, labels::memory_unsaved());
                }
                (None, false)
            }
        }
    }

    /// What the memory says of the turn.
    fn record(&self, turn: &ChatTurn, progress: &Progress, begun: Instant) -> TurnRecord {
        let decision = progress.decision.as_ref();
        TurnRecord {
            id: turn.id,
            at: turn.received_at,
            after: (progress.recalled.as_ref()).and_then(|recalled| recalled.memory.after),
            asked: turn
                .messages
                .last()
                .map_or_else(String::new, context::words),
            sessions: reached(progress),
            outcome: progress.outcome.unwrap_or(Outcome::Failed),
            source: decision
                .map_or("none", |decision| decision.source.as_str())
                .into(),
            confidence: decision.and_then(|decision| decision.confidence),
            rationale: decision.map_or_else(String::new, |decision| decision.rationale.clone()),
            rungs: progress.rungs.clone(),
            calls: progress.calls(),
            hooks: (progress.hooks.iter())
                .filter(|call| call.is_remarkable())
                .cloned()
                .collect(),
            exchanges: exchanges(turn, progress),
            shown: context::digest(&progress.shown),
            last: progress.last(),
            facts: progress.known_facts(turn),
            usage: self.priced(progress),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            registry: self.registry.version().to_string(),
            arms: progress.arms.iter().map(ToString::to_string).collect(),
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
            what_if: turn.what_if,
            error: progress.error.map(|code| code.as_str().into()),
            refused_by: progress.refused_by().map(ToString::to_string),
            request: self.audit.hash(tenant, asked),
            shown: self.audit.hash(tenant, &progress.shown),
            version: env!("CARGO_PKG_VERSION").into(),
            registry: record.registry.clone().into(),
            arms: record.arms.clone(),
            duration_ms: record.duration_ms,
        }))
    }

    /// What the turn made at agents goes: nobody knows of it any more.
    pub(super) async fn forget(&self, sessions: &[Session<'_>]) {
        let made = sessions.iter().filter(|session| session.created);
        // One that was asked once more is in it twice.
        let made: BTreeSet<_> = made.map(|session| (session.agent, session.id)).collect();
        for (agent, id) in made {
            let forgotten = self.agents.forget(agent, id, self.times.save);
            if let Err(error) = forgotten.await {
                tracing::error!(
                    agent.id = %agent, error = &error as &dyn std::error::Error,
                    "an agent keeps a conversation that nobody knows of any more"
                );
            }
        }
    }
}

/// What this turn is about: what was approved, or the last message.
fn asked<'a>(turn: &'a ChatTurn, progress: &'a Progress) -> Option<&'a Message> {
    progress.asked.as_ref().or(turn.messages.last())
}

/// The sessions of all agents, this turn's included.
fn sessions(recalled: &Recollection, progress: &Progress) -> Sessions {
    let mut sessions = recalled.memory.sessions.clone();
    let used = progress.sessions();
    sessions.extend(used.map(|used| (used.agent.clone(), used.id.to_owned())));
    sessions
}

/// The sessions in which agents were asked in this turn.
fn reached(progress: &Progress) -> BTreeMap<AgentId, Vec<String>> {
    let mut reached: BTreeMap<AgentId, Vec<String>> = BTreeMap::new();
    for used in progress.sessions() {
        let of_agent = reached.entry(used.agent.clone()).or_default();
        of_agent.retain(|known| known != used.id);
        of_agent.push(used.id.to_owned());
    }
    reached
}

/// What the agents were asked and said, of those whose answers are complete.
fn exchanges(turn: &ChatTurn, progress: &Progress) -> Vec<Exchange> {
    let Some(asked) = asked(turn, progress).filter(|_| progress.reported) else {
        return Vec::new();
    };
    (progress.parts.iter())
        .flat_map(|part| part.exchanges(asked))
        .collect()
}
