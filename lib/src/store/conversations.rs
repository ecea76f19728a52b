//! Conversations of one owner: their turns and the sessions agents keep for them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::attributes::{Item, count, expires_at, id, string, text};
use super::{Error, Table, keys};
use crate::domain::conversation::{Stored, StoredSession};
use crate::domain::ids::{AgentId, ConversationId, Owner, Timestamp, TurnId};
use crate::domain::rules::Caps;

/// Before an agent's name, in the head's attributes.
pub(super) const SESSION: &str = "session:";

/// The conversations of one owner: there is no way to another's.
#[derive(Clone, Debug)]
pub struct Conversations {
    pub(super) table: Table,
    pub(super) owner: Owner,
    /// How long what is written stays.
    pub(super) ttl: Duration,
    /// Of a very long conversation the newest turns are read, up to so many bytes.
    most: usize,
}

impl Conversations {
    pub fn of(table: &Table, owner: Owner, ttl: Duration) -> Self {
        Self {
            table: table.clone(),
            owner,
            ttl,
            most: Caps::default().stored,
        }
    }

    /// Reads at most so many bytes of a conversation.
    #[must_use]
    pub fn capped(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Everything remembered of a conversation; empty when nothing is.
    pub async fn load(
        &self,
        conversation: &ConversationId,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let mut reading = Reading::default();
        let mut start = None;
        let mut read = 0;
        'pages: loop {
            let page = self
                .table
                .client()
                .query()
                .table_name(&self.table.name)
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":pk", text(keys::partition(&self.owner)))
                .expression_attribute_values(":prefix", text(keys::prefix(conversation)))
                // The head, then the newest turn first: what does not fit is the oldest.
                .scan_index_forward(false)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .boxed()
                .await?;
            for item in page.items() {
                // A turn of which a part is not read is not remembered, like those before it.
                read += string(item, "record").map_or(0, str::len);
                if read > self.most {
                    break 'pages;
                }
                // The table deletes expired items days late; to us they are gone.
                if expires_at(item) > now {
                    reading.take(item, now);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(reading.stored())
    }

    /// Whether an agent's session was made for this owner.
    pub async fn owns_session(
        &self,
        agent: &AgentId,
        session: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let key = keys::session(&self.owner, agent, session);
        let found = self.table.item(key).await?;
        Ok(found.is_some_and(|item| expires_at(&item) > now))
    }
}

/// A conversation being read, newest items first.
#[derive(Default)]
struct Reading {
    /// Where versions before branches had it begin anew.
    began: Option<TurnId>,
    sessions: BTreeMap<AgentId, StoredSession>,
    /// By turn: how many parts there must be, and those there are.
    turns: BTreeMap<TurnId, (usize, BTreeMap<String, String>)>,
}

impl Reading {
    fn take(&mut self, item: &Item, now: Timestamp) {
        let Some(record) = string(item, "record") else {
            self.take_head(item, now);
            return;
        };
        let parts = count(item, "parts").and_then(|parts| usize::try_from(parts).ok());
        if let (Some(turn), Some(sk)) = (id(item, "turn"), string(item, "sk")) {
            let (count, found) = self.turns.entry(turn).or_default();
            *count = parts.unwrap_or(1);
            found.insert(sk.to_owned(), record.to_owned());
        }
    }

    fn take_head(&mut self, item: &Item, now: Timestamp) {
        self.began = id(item, "began");
        for (name, value) in item {
            if let Some(agent) = name.strip_prefix(SESSION)
                && let Ok(value) = value.as_m()
                && let (Some(session), Some(turn)) = (string(value, "id"), id(value, "turn"))
                // A later turn with another agent keeps the conversation, and not what was over before it.
                && expires_at(value) > now
            {
                let session = StoredSession {
                    id: session.to_owned(),
                    turn,
                };
                self.sessions.insert(AgentId::new(agent), session);
            }
        }
    }

    /// What belongs to the conversation as it began last. A record that cannot be read is missing, not fatal.
    fn stored(self) -> Stored {
        let current = |turn: &TurnId| self.began.is_none_or(|began| began <= *turn);
        let turns = self
            .turns
            .into_iter()
            .filter(|(turn, (count, parts))| current(turn) && parts.len() == *count)
            .filter_map(|(turn, (_, parts))| {
                let json: String = parts.into_values().collect();
                serde_json::from_str(&json)
                    .inspect_err(
                        // Only the kind: the whole error repeats what was read.
                        |error| tracing::warn!(%turn, error = ?error.classify(), "a stored turn cannot be read"),
                    )
                    .ok()
            })
            .collect();
        let mut sessions = self.sessions;
        sessions.retain(|_, session| current(&session.turn));
        Stored { sessions, turns }
    }
}
