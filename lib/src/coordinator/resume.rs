//! What was said before, for a client that does not say it again: it names its conversation, and the store has the rest.

use super::Coordinator;
use crate::context;
use crate::domain::conversation::{Envelope, Outcome, Sessions, TurnRecord};
use crate::domain::ids::{ConversationId, Owner};
use crate::domain::message::{Message, OpaqueState};
use crate::domain::turn::ChatTurn;
use crate::store::Conversations;

/// Stands for an answer that is not known.
const UNKNOWN: &str = "\u{2026}";

impl Coordinator {
    /// The turn with its conversation's earlier messages in front of its own. Each answer has its state, so that they are
    /// found again as if the client had kept them.
    pub async fn resumed(&self, turn: ChatTurn, owner: &Owner) -> ChatTurn {
        let conversation = context::conversation_id(&[], &turn);
        let conversations =
            Conversations::of(&self.table, owner.clone(), self.retention).capped(self.caps.stored);
        let loaded = conversations.load(&conversation, turn.received_at).await;
        let mut messages = match loaded {
            Ok(stored) => {
                let newest = stored.turns.last().map(|turn| turn.id);
                let of = |record: &TurnRecord| {
                    let newest = newest == Some(record.id);
                    self.said(record, newest, &conversation, owner)
                };
                stored.turns.iter().flat_map(of).collect()
            }
            // A conversation without any answer would begin here, and what is stored of it be forgotten.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the memory cannot be read"
                );
                vec![Message::assistant(UNKNOWN)]
            }
        };
        messages.extend(turn.messages.iter().cloned());
        ChatTurn {
            messages: messages.into(),
            ..turn
        }
    }

    /// Request and answer of one turn; nothing of one without an answer, unless the next one builds on how it ended.
    fn said(
        &self,
        record: &TurnRecord,
        newest: bool,
        conversation: &ConversationId,
        owner: &Owner,
    ) -> Vec<Message> {
        if record.exchanges.is_empty() && !newest {
            return Vec::new();
        }
        let envelope = Envelope {
            conversation: conversation.clone(),
            turn: record.id,
            sessions: Sessions::default(),
            exchanges: Vec::new(),
            last: record.last(),
            stored: true,
        };
        let sealed = serde_json::value::to_raw_value(&self.seal.seal(owner, envelope)).ok();
        let state = sealed.and_then(|raw| OpaqueState::new(&raw));
        let (request, answer) = match record.exchanges.as_slice() {
            [exchange, ..] => {
                let request = Message {
                    attachments: exchange.request_attachments.clone(),
                    ..Message::user(&exchange.request)
                };
                let said: Vec<&str> = (record.exchanges.iter())
                    .map(|exchange| exchange.answer.as_str())
                    .collect();
                (Some(request), Message::assistant(&said.join("\n\n")))
            }
            // A proposal's own words are kept nowhere: that it is the last thing said is what counts.
            [] if record.outcome == Outcome::Proposed => (None, Message::assistant("")),
            [] => (None, Message::assistant(UNKNOWN)),
        };
        request
            .into_iter()
            .chain([Message { state, ..answer }])
            .collect()
    }
}
