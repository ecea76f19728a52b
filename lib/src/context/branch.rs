//! Which turns a request goes on from, and which sessions of agents hold those and no other branch's.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use super::digest;
use super::place::Place;
use crate::domain::conversation::{Recalled, Sessions, Stored, TurnRecord};
use crate::domain::ids::{AgentId, TurnId};
use crate::domain::message::{Attachment, Message, Role};

/// The turns that a request's messages stand for, and what was said after which of them.
///
/// A turn's id names everything that was said up to its answer, so it names a branch: whatever goes on from the same turn
/// has the same past.
pub(super) struct Branch<'a> {
    /// Oldest first.
    pub places: Vec<Place<'a>>,
    /// Turns that the client left out: what the first place went on from, newest first.
    before: Vec<&'a TurnRecord>,
    /// The newest turn. An answer of which nothing is known has a name that is made of its text.
    pub after: Option<TurnId>,
    /// The user's messages: after which turn, and their digest.
    said: HashSet<(Option<TurnId>, String)>,
    /// The one that is to be answered.
    asked: Option<String>,
}

/// Short digest of what a user said.
pub fn words(message: &Message) -> String {
    let files = message.attachments.iter().map(Attachment::manifest);
    let text: Vec<String> = [message.text.trim().to_owned()]
        .into_iter()
        .chain(files)
        .collect();
    digest(&text.join("\n"))
}

impl<'a> Branch<'a> {
    /// Finds the turn behind each assistant message: by the id in its state, else by the digest of the text shown, or by
    /// the request that it answers. `recalled` has one entry per assistant message.
    pub fn of(messages: &[Message], recalled: &'a [Recalled], stored: &'a Stored) -> Self {
        let by_id: HashMap<TurnId, &TurnRecord> =
            stored.turns.iter().map(|turn| (turn.id, turn)).collect();
        // A turn that one message's state names is not taken for another message of the same text.
        let mut used: HashSet<TurnId> = recalled.iter().filter_map(Recalled::turn).collect();
        let mut branch = Self {
            places: Vec::new(),
            before: Vec::new(),
            after: None,
            said: HashSet::new(),
            asked: None,
        };
        let mut recalled = recalled.iter();
        for (at, message) in messages.iter().enumerate() {
            if message.role == Role::User {
                let words = words(message);
                branch.said.insert((branch.after, words.clone()));
                branch.asked = Some(words);
            }
            if message.role != Role::Assistant {
                continue;
            }
            let Some(recalled) = recalled.next() else {
                break;
            };
            let asked = branch.asked.take();
            let record = match recalled {
                Recalled::Sealed(envelope) => by_id.get(&envelope.turn).copied(),
                Recalled::Legacy { .. } | Recalled::Nothing => {
                    let free = |turn: &&TurnRecord| !used.contains(&turn.id);
                    let turns = stored.turns.iter().filter(free);
                    answering(
                        turns,
                        &digest(&message.text),
                        branch.after,
                        asked.as_deref(),
                    )
                }
            };
            used.extend(record.map(|turn| turn.id));
            let place = Place {
                at,
                recalled,
                record,
            };
            let unknown = || named(branch.after, &message.text);
            branch.after = place.turn().or_else(unknown);
            branch.places.push(place);
        }
        branch.taken_in_order(stored);
        branch.look_before(&by_id);
        branch
    }

    /// Follows the turns back from the first place, where a client sends the newest messages alone.
    fn look_before(&mut self, by_id: &HashMap<TurnId, &'a TurnRecord>) {
        let mut turn = self.places.first().and_then(|place| place.record);
        while let Some(record) = turn {
            self.said.insert((record.after, record.asked.clone()));
            // A turn is newer than what it goes on from, so this ends.
            let before = record.after.filter(|before| *before < record.id);
            turn = before.and_then(|before| by_id.get(&before).copied());
            self.before.extend(turn);
        }
    }

    /// The turns that it is made of, as far as they are known.
    fn turns(&self) -> impl Iterator<Item = TurnId> {
        let before = self.before.iter().map(|record| record.id);
        before.chain(self.places.iter().filter_map(Place::turn))
    }

    /// Where no message has a sign and there are as many stored turns as answers, they are taken in order. Turns of later
    /// versions say what they answer, so they are no guess.
    fn taken_in_order(&mut self, stored: &'a Stored) {
        let unknown =
            |place: &Place| place.record.is_none() && *place.recalled == Recalled::Nothing;
        let answered =
            || (stored.turns.iter()).filter(|turn| turn.is_old() && !turn.exchanges.is_empty());
        if self.places.iter().all(unknown) && self.places.len() == answered().count() {
            for (place, turn) in self.places.iter_mut().zip(answered()) {
                place.record = Some(turn);
                self.after = Some(turn.id);
            }
        }
    }

    /// Of each agent the session that this branch left, unless another branch went on in it.
    pub fn sessions(&self, stored: &Stored) -> Sessions {
        let newest = self.places.iter().filter_map(Place::turn).max();
        let known = |turn: TurnId| stored.turns.iter().any(|record| record.id == turn);
        // Of a very long conversation the head alone is read, and what it says of a turn that is not.
        let mut sessions: Sessions = (stored.sessions.iter())
            .filter(|(_, session)| Some(session.turn) <= newest && !known(session.turn))
            .map(|(agent, session)| (agent.clone(), session.id.clone()))
            .collect();
        for turn in self.before.iter().rev() {
            sessions.extend(turn.left());
        }
        for place in &self.places {
            place.update(&mut sessions, stored);
        }
        // What is asked again goes on where it was asked before: an agent that has done it must know.
        let again = |turn: &&TurnRecord| {
            turn.after.is_some()
                && turn.after == self.after
                && self.asked.as_ref() == Some(&turn.asked)
        };
        for turn in stored.turns.iter().filter(again) {
            sessions.extend(turn.left());
        }
        sessions.retain(|agent, session| !self.is_left(agent, session, stored));
        sessions
    }

    /// Whether a turn that is none of this branch was at work in a session. One that answered what was said here is: it was
    /// stopped, or asked again. One from before all that the client sends may have been left out by it.
    fn is_left(&self, agent: &AgentId, session: &str, stored: &Stored) -> bool {
        let own: HashSet<TurnId> = self.turns().collect();
        let first = own.iter().min();
        let foreign = |turn: &&TurnRecord| {
            first.is_none_or(|first| turn.id > *first)
                && !own.contains(&turn.id)
                && !self.said.contains(&(turn.after, turn.asked.clone()))
        };
        let mut foreign = stored.turns.iter().filter(foreign);
        foreign.any(|turn| turn.reached(agent, session))
    }
}

/// The name of an answer that is no turn of ours, after this one.
fn named(after: Option<TurnId>, text: &str) -> Option<TurnId> {
    let after = after.map_or_else(String::new, |after| after.to_string());
    let digest: [u8; 32] = Sha256::digest(format!("{after} {}", text.trim())).into();
    digest.first_chunk().copied().map(TurnId::of_digest)
}

/// The turn that a message without a state stands for: the text fits, or it is the answer to the same words after the same
/// turn. A turn that says what it answers must have answered what was asked here.
fn answering<'a>(
    turns: impl DoubleEndedIterator<Item = &'a TurnRecord>,
    shown: &str,
    after: Option<TurnId>,
    asked: Option<&str>,
) -> Option<&'a TurnRecord> {
    let fits = |turn: &&TurnRecord| {
        let told = turn.is_old() || asked.is_none_or(|asked| asked == turn.asked);
        let here = !turn.is_old() && asked.is_some() && turn.after == after;
        told && (turn.shown == shown || here)
    };
    let rank = |turn: &&TurnRecord| {
        let here = !turn.is_old() && turn.after == after;
        (turn.shown == shown, here, here.then_some(turn.id))
    };
    // Of those that fit alike the oldest, since messages are looked at in their order.
    turns.rev().filter(fits).max_by_key(rank)
}

#[cfg(test)]
#[path = "branch/tests.rs"]
mod tests;
