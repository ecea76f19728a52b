//! What one agent may see: its own turns, and nothing of any other agent's.

mod branch;
pub mod facts;
mod place;
mod prune;

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::domain::agent::AgentCard;
use crate::domain::conversation::{Exchange, Last, Memory, Recalled, Stored};
use crate::domain::ids::{AgentId, ConversationId};
use crate::domain::message::{Attachment, Message, Role};
use crate::domain::plan::Assignment;
use crate::domain::turn::{AgentTask, ChatTurn};
use branch::Branch;
pub use branch::words;
use place::Place;

/// The names that the reference coordinator's state keys stand for.
const LEGACY_GPA: &str = "GPA";
const LEGACY_UMS: &str = "UMS";

/// Short digest of a text that a user was shown; the same text gives the same digest.
pub fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.trim().as_bytes()), 16)
}

/// Our id of the conversation: what the newest good state says, else one made from the client's own id, else a new one.
pub fn conversation_id(recalled: &[Recalled], turn: &ChatTurn) -> ConversationId {
    recalled
        .iter()
        .filter_map(|one| match one {
            Recalled::Sealed(envelope) => Some((envelope.turn, &envelope.conversation)),
            _ => None,
        })
        .max_by_key(|(turn, _)| *turn)
        .map_or_else(|| fresh_id(turn), |(_, conversation)| conversation.clone())
}

/// Whether nothing can be known of a conversation: neither its client nor any state names it.
pub fn is_unheard_of(recalled: &[Recalled], turn: &ChatTurn) -> bool {
    let nameless = |one: &Recalled| *one == Recalled::Nothing;
    turn.caller.conversation.is_none() && recalled.iter().all(nameless)
}

fn fresh_id(turn: &ChatTurn) -> ConversationId {
    match &turn.caller.conversation {
        Some(id) => client_conversation(id),
        None => hashed(&format!("turn {}", turn.id)),
    }
}

/// Our name of the conversation that a client names so.
pub fn client_conversation(id: &str) -> ConversationId {
    hashed(&format!("client {id}"))
}

fn hashed(seed: &str) -> ConversationId {
    ConversationId::new(&hex(&Sha256::digest(seed.as_bytes()), 32))
}

fn hex(bytes: &[u8], length: usize) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .take(length)
        .collect()
}

/// Puts both halves of the memory together: for each assistant message the turn it stands for. Turns that no message
/// stands for belong to another branch of the conversation and stay out. `recalled` has one entry per assistant message.
pub fn recollect(
    conversation: ConversationId,
    messages: &[Message],
    recalled: &[Recalled],
    stored: &Stored,
) -> Memory {
    let branch = Branch::of(messages, recalled, stored);
    let turns = &branch.places;
    let exchanges = (turns.iter())
        .flat_map(|place| place.exchanges(messages))
        .collect();
    Memory {
        conversation,
        after: branch.after,
        sessions: branch.sessions(stored),
        exchanges,
        last: turns.last().and_then(|place| place.last(messages)),
        facts: (turns.last()).map_or_else(Vec::new, |place| place.facts().to_vec()),
    }
}

/// How the turn before this one ended, as far as the client's own half of the memory tells; `None` where only the store
/// can tell. `recalled` has one entry per assistant message.
pub fn last_turn(turn: &ChatTurn, recalled: &[Recalled]) -> Option<Option<Last>> {
    let messages = &turn.messages;
    let Some(newest) = recalled.last().filter(|_| !is_unheard_of(recalled, turn)) else {
        return Some(None);
    };
    let at = (messages.iter()).rposition(|message| message.role == Role::Assistant)?;
    let place = Place {
        at,
        recalled: newest,
        record: None,
    };
    place.last(messages).map(Some)
}

/// The newest bare UMS id of the reference coordinator, which may be anybody's until the store or a setting says else.
pub fn legacy_session(recalled: &[Recalled]) -> Option<(AgentId, &str)> {
    recalled.iter().rev().find_map(|one| match one {
        Recalled::Legacy {
            ums_session: Some(id),
            ..
        } => Some((AgentId::new(LEGACY_UMS), id.as_str())),
        _ => None,
    })
}

/// The task of one agent in this turn, with at most so many bytes of its history.
pub fn view(
    turn: &ChatTurn,
    memory: &Memory,
    card: &AgentCard,
    assignment: &Assignment,
    budget: usize,
) -> AgentTask {
    let addresses: HashSet<&str> = turn
        .messages
        .iter()
        .flat_map(|message| &message.attachments)
        .filter_map(|attachment| attachment.url.as_deref())
        .collect();
    // DIAL Core refuses the whole call for a file that is not in the request it came with.
    let sendable = |attachment: &Attachment| {
        (attachment.url.as_deref()).is_none_or(|url| addresses.contains(url))
    };
    let own = |exchange: &&Exchange| exchange.agent == card.id;
    let newest = card.history.turns.map_or(0, |turns| {
        (memory.exchanges.iter().filter(own).count()).saturating_sub(turns)
    });
    let mut history = (memory.exchanges.iter().filter(own).skip(newest))
        .cloned()
        .map(|mut exchange| {
            exchange.request_attachments.retain(sendable);
            exchange.attachments.retain(sendable);
            exchange
        })
        .collect();
    let budget = (card.history.bytes).map_or(budget, |bytes| bytes.min(budget));
    let pruned = prune::history(&mut history, budget);
    let (text, files) = turn
        .messages
        .last()
        .map(|message| (message.text.clone(), message.attachments.as_slice()))
        .unwrap_or_default();
    let (taken, other): (Vec<_>, Vec<_>) = files
        .iter()
        .cloned()
        .partition(|file| card.accepts(file.media_type.as_deref().unwrap_or("text/markdown")));
    AgentTask {
        turn: turn.id,
        caller: turn.caller.clone(),
        conversation: turn
            .caller
            .conversation
            .clone()
            .unwrap_or_else(|| memory.conversation.as_str().to_owned()),
        deadline: turn.deadline,
        history,
        pruned,
        text,
        instructions: assignment.note(),
        given: Vec::new(),
        attachments: taken,
        manifest: other.iter().map(Attachment::manifest).collect(),
        session: memory.sessions.get(&card.id).cloned(),
    }
}

/// The attachments that are an address; inline data is not kept.
pub fn by_address(attachments: &[Attachment]) -> Vec<Attachment> {
    attachments
        .iter()
        .filter(|attachment| attachment.url.is_some())
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
