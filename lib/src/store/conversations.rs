//! Conversations of one owner: their turns and the sessions agents keep for them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};

use super::keys::{self, Key};
use super::{Error, Table};
use crate::domain::conversation::{Stored, StoredSession, TurnRecord};
use crate::domain::ids::{AgentId, ConversationId, Owner, Timestamp, TurnId};
use crate::domain::rules::Caps;

/// An item may have 400 KB; this leaves room for its keys.
const PART_CAP: usize = 350 * 1024;
/// A transaction may have 4 MB.
const RECORD_CAP: usize = 8 * PART_CAP;
/// Before an agent's name, in the head's attributes.
const SESSION: &str = "session:";

/// The conversations of one owner: there is no way to another's.
#[derive(Clone, Debug)]
pub struct Conversations {
    table: Table,
    owner: Owner,
    /// How long what is written stays.
    ttl: Duration,
    /// Of a very long conversation the newest turns are read, up to so many bytes.
    most: usize,
}

/// What of a turn found its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    Whole,
    /// The record was too large: the agent's state was left out, and texts were cut.
    Cut,
}

/// A turn to write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub conversation: &'a ConversationId,
    pub record: &'a TurnRecord,
    /// The session that this turn used, and whether it was made in it.
    pub session: Option<(&'a AgentId, &'a str, bool)>,
    /// The conversation begins here: what was stored under its id before belongs to another one.
    pub begins: bool,
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
                .client
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
                .await?;
            for item in page.items() {
                // A turn of which a part is not read is not remembered, like those before it.
                read += string(item, "record").map_or(0, str::len);
                if read > self.most {
                    break 'pages;
                }
                // The table deletes expired items days late; to us they are gone.
                if expires_at(item) > now {
                    reading.take(item);
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
        let found = self
            .table
            .client
            .get_item()
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .consistent_read(true)
            .send()
            .await?;
        Ok(found.item().is_some_and(|item| expires_at(item) > now))
    }

    /// Writes a turn and its session, all or nothing, in one call.
    pub async fn save(&self, write: Write<'_>) -> Result<Saved, Error> {
        let expires_at = write.record.at.plus(self.ttl);
        let (json, saved) = fitted(write.record)?;
        let mut items = vec![self.head(write, expires_at)?];
        let parts: Vec<&str> = parts(&json).collect();
        for (part, text) in parts.iter().enumerate() {
            let key = keys::turn(&self.owner, write.conversation, write.record.id, part);
            let put = self
                .put(key, expires_at)
                .item("record", self::text((*text).to_owned()))
                .item("turn", self::text(write.record.id.to_string()))
                .item("parts", AttributeValue::N(parts.len().to_string()));
            items.push(built(put)?);
        }
        if let Some((agent, session, true)) = write.session {
            items.push(built(
                self.put(keys::session(&self.owner, agent, session), expires_at),
            )?);
        }
        self.table
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await?;
        Ok(saved)
    }

    fn put(&self, key: Key, expires_at: Timestamp) -> PutBuilder {
        Put::builder()
            .table_name(&self.table.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
            .item("expires_at", number(expires_at))
    }

    /// The head changes only where this turn changed something, so that two turns at once lose nothing of each other.
    fn head(&self, write: Write<'_>, expires_at: Timestamp) -> Result<TransactWriteItem, Error> {
        let key = keys::conversation(&self.owner, write.conversation);
        let turn = text(write.record.id.to_string());
        let mut set = vec![
            "#updated = :at",
            "#expires = :expires",
            "#created = if_not_exists(#created, :at)",
        ];
        let mut update = Update::builder()
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .expression_attribute_names("#updated", "updated_at")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_names("#created", "created_at")
            .expression_attribute_values(":at", number(write.record.at))
            .expression_attribute_values(":expires", number(expires_at));
        if write.begins {
            set.push("#began = :turn");
            update = update
                .expression_attribute_names("#began", "began")
                .expression_attribute_values(":turn", turn.clone());
        }
        if let Some((agent, session, _)) = write.session {
            let value = HashMap::from([
                ("id".to_owned(), text(session.to_owned())),
                ("turn".to_owned(), turn),
            ]);
            set.push("#session = :session");
            update = update
                .expression_attribute_names("#session", format!("{SESSION}{agent}"))
                .expression_attribute_values(":session", AttributeValue::M(value));
        }
        let update = update
            .update_expression(format!("SET {}", set.join(", ")))
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

fn built(put: PutBuilder) -> Result<TransactWriteItem, Error> {
    let put = put.build().map_err(|error| Error::Call(Box::new(error)))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// A text in pieces that each fit into an item, cut between characters.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (part, rest) = text.split_at(text.floor_char_boundary(PART_CAP));
        text = rest;
        (!part.is_empty()).then_some(part)
    })
}

/// The record as JSON; over the cap without the agent's state, then without the exchange.
fn fitted(record: &TurnRecord) -> Result<(String, Saved), Error> {
    let json = |record: &TurnRecord| {
        serde_json::to_string(record).map_err(|error| Error::Unreadable(Some(error)))
    };
    let whole = json(record)?;
    if whole.len() <= RECORD_CAP {
        return Ok((whole, Saved::Whole));
    }
    let mut smaller = record.clone();
    if let Some(exchange) = &mut smaller.exchange {
        exchange.state = None;
    }
    let mut fitting = json(&smaller)?;
    if fitting.len() > RECORD_CAP {
        smaller.exchange = None;
        fitting = json(&smaller)?;
    }
    Ok((fitting, Saved::Cut))
}

/// A conversation being read, newest items first.
#[derive(Default)]
struct Reading {
    began: Option<TurnId>,
    sessions: BTreeMap<AgentId, StoredSession>,
    /// By turn: how many parts there must be, and those there are.
    turns: BTreeMap<TurnId, (usize, BTreeMap<String, String>)>,
}

impl Reading {
    fn take(&mut self, item: &HashMap<String, AttributeValue>) {
        let Some(record) = string(item, "record") else {
            self.take_head(item);
            return;
        };
        let parts = item
            .get("parts")
            .and_then(|value| value.as_n().ok()?.parse().ok());
        if let (Some(turn), Some(sk)) = (id(item, "turn"), string(item, "sk")) {
            let (count, found) = self.turns.entry(turn).or_default();
            *count = parts.unwrap_or(1);
            found.insert(sk.to_owned(), record.to_owned());
        }
    }

    fn take_head(&mut self, item: &HashMap<String, AttributeValue>) {
        self.began = id(item, "began");
        for (name, value) in item {
            if let Some(agent) = name.strip_prefix(SESSION)
                && let Ok(value) = value.as_m()
                && let (Some(session), Some(turn)) = (string(value, "id"), id(value, "turn"))
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

pub(super) fn string<'a>(item: &'a HashMap<String, AttributeValue>, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn id(item: &HashMap<String, AttributeValue>, name: &str) -> Option<TurnId> {
    string(item, name)?.parse().ok().map(TurnId::from_uuid)
}

pub(super) fn expires_at(item: &HashMap<String, AttributeValue>) -> Timestamp {
    let seconds = item
        .get("expires_at")
        .and_then(|value| value.as_n().ok())
        .and_then(|number| number.parse().ok());
    Timestamp(seconds.unwrap_or(u64::MAX))
}

pub(super) fn text(value: String) -> AttributeValue {
    AttributeValue::S(value)
}

pub(super) fn number(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.0.to_string())
}
