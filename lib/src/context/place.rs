//! One assistant message, and what is known of the turn that it stands for.

use super::{LEGACY_GPA, LEGACY_UMS, by_address};
use crate::domain::conversation::{Exchange, Last, Recalled, Sessions, Stored, TurnRecord};
use crate::domain::fact::Fact;
use crate::domain::ids::{AgentId, TurnId};
use crate::domain::message::{Message, OpaqueState, Role};

/// One assistant message and what is known of its turn.
pub(super) struct Place<'a> {
    /// Position of the message among all messages.
    pub at: usize,
    pub recalled: &'a Recalled,
    pub record: Option<&'a TurnRecord>,
}

impl Place<'_> {
    /// The turn, where it is known.
    pub fn turn(&self) -> Option<TurnId> {
        let found = self.record.map(|record| record.id);
        self.recalled.turn().or(found)
    }

    /// What agents' sessions are after this turn.
    pub fn update(&self, sessions: &mut Sessions, stored: &Stored) {
        if let Recalled::Sealed(envelope) = self.recalled
            && !(envelope.stored && envelope.sessions.is_empty())
        {
            // It names them all; those that are missing were another branch's.
            sessions.clone_from(&envelope.sessions);
        }
        let Some(record) = self.record else { return };
        sessions.extend(record.left());
        // Records of earlier versions leave it to the head.
        let here = (stored.sessions.iter())
            .filter(|(_, session)| record.is_old() && session.turn == record.id);
        sessions.extend(here.map(|(agent, session)| (agent.clone(), session.id.clone())));
    }

    /// How this turn ended.
    pub fn last(&self, messages: &[Message]) -> Option<Last> {
        let shown = || {
            messages
                .get(self.at)
                .map_or("", |message| message.text.as_str())
        };
        match (self.record, self.recalled) {
            (Some(record), _) => record.last(),
            (None, Recalled::Sealed(envelope)) => envelope.last(),
            (None, Recalled::Legacy { gpa: Some(_), .. }) => {
                Some(Last::of_text(&AgentId::new(LEGACY_GPA), shown()))
            }
            (None, Recalled::Legacy { gpa: None, .. }) => {
                Some(Last::of_text(&AgentId::new(LEGACY_UMS), shown()))
            }
            (None, Recalled::Nothing) => None,
        }
    }

    /// What was known after this turn.
    pub fn facts(&self) -> &[Fact] {
        self.record.map_or(&[], |record| record.facts.as_slice())
    }

    /// What the agents said in this turn: from the store, from the client's state, or at worst as the user saw it.
    pub fn exchanges(&self, messages: &[Message]) -> Vec<Exchange> {
        match (self.record, self.recalled) {
            (Some(record), _) => record.exchanges.clone(),
            (None, Recalled::Sealed(envelope)) => envelope.exchanges.clone(),
            (
                None,
                Recalled::Legacy {
                    gpa: Some(state), ..
                },
            ) => self.legacy(messages, state.as_ref()).into_iter().collect(),
            (None, Recalled::Legacy { gpa: None, .. } | Recalled::Nothing) => Vec::new(),
        }
    }

    /// A turn of the reference coordinator that the GPA answered.
    fn legacy(&self, messages: &[Message], state: Option<&OpaqueState>) -> Option<Exchange> {
        let answer = messages.get(self.at)?;
        let request =
            (messages.get(..self.at)?.iter()).rfind(|message| message.role == Role::User)?;
        Some(Exchange {
            agent: AgentId::new(LEGACY_GPA),
            request: request.text.clone(),
            instructions: None,
            request_attachments: by_address(&request.attachments),
            answer: answer.text.clone(),
            attachments: by_address(&answer.attachments),
            state: state.cloned(),
        })
    }
}
