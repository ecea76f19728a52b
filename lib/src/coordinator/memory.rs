//! What a turn remembers and leaves behind: both halves of the memory, read and written.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Coordinator, Progress, Verification};
use crate::context;
use crate::domain::conversation::{
    Envelope, Exchange, Memory, Outcome, Sessions, Stored, TurnRecord,
};
use crate::domain::event::StageStatus;
use crate::domain::failure::Failure;
use crate::domain::ids::Owner;
use crate::domain::message::Role;
use crate::domain::plan::Plan;
use crate::domain::turn::ChatTurn;
use crate::store::{self, Conversations, Saved, Write};
use crate::stream::{AnswerSink, labels};

/// Saving may hold the end of an answer back for no longer than this.
const SAVE_WITHIN: Duration = Duration::from_secs(1);

/// Who calls, and what the conversation was so far.
pub(super) struct Recollection {
    owner: Owner,
    conversations: Conversations,
    pub(super) memory: Memory,
    /// True on the first turn, which no earlier answer belongs to.
    begins: bool,
    /// False when the store could not be read.
    pub(super) read: bool,
}

impl Coordinator {
    /// The caller verified, and what the conversation was so far.
    pub(super) async fn recall(
        &self,
        turn: &ChatTurn,
        verification: Verification,
    ) -> Result<Recollection, Failure> {
        let owner = verification.await?.owner;
        let recalled: Vec<_> = (turn.messages.iter())
            .filter(|message| message.role == Role::Assistant)
            .map(|message| self.seal.open(&owner, message.state.as_ref()))
            .collect();
        let conversation = context::conversation_id(&recalled, turn);
        let conversations = Conversations::of(&self.table, owner.clone(), self.retention);
        // A conversation that begins remembers nothing, whatever was stored under its client's id before.
        let begins = recalled.is_empty();
        let loaded = if begins {
            Ok(Stored::default())
        } else {
            conversations.load(&conversation, turn.received_at).await
        };
        let read = loaded.is_ok();
        let stored = loaded.unwrap_or_else(|error| {
            tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "the memory cannot be read");
            Stored::default()
        });
        let mut memory = context::recollect(conversation, &turn.messages, &recalled, &stored);
        if let Some((agent, session)) = context::legacy_session(&recalled)
            && !memory.sessions.contains_key(&agent)
        {
            let owned = conversations
                .owns_session(&agent, session, turn.received_at)
                .await;
            if self.trust_legacy_sessions || owned.unwrap_or(false) {
                memory.sessions.insert(agent, session.to_owned());
            }
        }
        Ok(Recollection {
            owner,
            conversations,
            memory,
            begins,
            read,
        })
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

    /// The server's half: one write, bounded, never fatal to the answer.
    pub(super) async fn save(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &Progress,
        begun: Instant,
    ) {
        let (Some(recalled), Some(decision)) = (&progress.recalled, &progress.decision) else {
            return;
        };
        let record = TurnRecord {
            id: turn.id,
            at: turn.received_at,
            outcome: progress.outcome.unwrap_or(Outcome::Failed),
            source: decision.source.as_str().into(),
            confidence: decision.confidence,
            rationale: decision.rationale.clone(),
            exchange: exchange(turn, progress),
            shown: context::digest(&progress.shown),
            usage: progress.tally.per_model().to_vec(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let sessions = sessions(recalled, progress);
        let created = matches!(progress.report.session, Some((_, true)));
        let session = progress.agent.as_ref().and_then(|agent| {
            let id = sessions.get(agent)?;
            Some((agent, id.as_str(), created))
        });
        let save = recalled.conversations.save(Write {
            conversation: &recalled.memory.conversation,
            record: &record,
            session,
            begins: recalled.begins,
        });
        match timeout(SAVE_WITHIN, save)
            .await
            .unwrap_or(Err(store::Error::Slow))
        {
            Ok(Saved::Whole) => {}
            Ok(Saved::Cut) => memory_trouble(sink, labels::MEMORY_CUT),
            Err(error) => {
                tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "the turn cannot be saved");
                if recalled.read {
                    memory_trouble(sink, labels::MEMORY_UNSAVED);
                }
            }
        }
    }
}

pub(super) fn memory_trouble(sink: &AnswerSink, text: &str) {
    let stage = sink.open_stage(Some(labels::MEMORY), None);
    stage.text(text);
    stage.close(StageStatus::Failed);
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
    let last = turn.messages.last()?;
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
