//! Conversations of one owner: their turns and the sessions agents keep for them.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};

use super::keys::{self, Key};
use super::{Error, Table};
use crate::domain::conversation::{Sessions, Stored, TurnRecord};
use crate::domain::ids::{AgentId, ConversationId, Owner, Timestamp};

/// An item may have 400 KB; this leaves room for its keys.
const RECORD_CAP: usize = 350 * 1024;
/// Of a very long conversation the newest pages of 1 MB are read.
const PAGES: usize = 4;

/// The conversations of one owner: there is no way to another's.
#[derive(Clone, Debug)]
pub struct Conversations {
    table: Table,
    owner: Owner,
    /// How long what is written stays.
    ttl: Duration,
}

/// What of a turn found its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    Whole,
    /// The record was too large: the agent's state was left out.
    WithoutState,
}

impl Conversations {
    pub fn of(table: &Table, owner: Owner, ttl: Duration) -> Self {
        Self {
            table: table.clone(),
            owner,
            ttl,
        }
    }

    /// Everything remembered of a conversation; empty when nothing is.
    pub async fn load(
        &self,
        conversation: &ConversationId,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let mut stored = Stored::default();
        let mut start = None;
        for _ in 0..PAGES {
            let page = self
                .table
                .client
                .query()
                .table_name(&self.table.name)
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":pk", text(keys::partition(&self.owner)))
                .expression_attribute_values(":prefix", text(keys::prefix(conversation)))
                // Newest first: what does not fit is the oldest.
                .scan_index_forward(false)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await?;
            for item in page.items() {
                // The table deletes expired items days late; to us they are gone.
                if expires_at(item) > now {
                    take(item, &mut stored)?;
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        stored.turns.reverse();
        Ok(stored)
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

    /// Writes a turn and the sessions, all or nothing, in one call. `created` are the sessions new in this turn.
    pub async fn save(
        &self,
        conversation: &ConversationId,
        record: &TurnRecord,
        sessions: &Sessions,
        created: &[(AgentId, String)],
    ) -> Result<Saved, Error> {
        let expires_at = record.at.plus(self.ttl);
        let (json, saved) = fitted(record)?;
        let mut items = vec![
            self.put(
                keys::turn(&self.owner, conversation, record.id),
                Some(json),
                expires_at,
            )?,
            self.head(conversation, sessions, record.at, expires_at)?,
        ];
        for (agent, session) in created {
            items.push(self.put(keys::session(&self.owner, agent, session), None, expires_at)?);
        }
        self.table
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await?;
        Ok(saved)
    }

    fn put(
        &self,
        key: Key,
        record: Option<String>,
        expires_at: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let put = Put::builder()
            .table_name(&self.table.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
            .item("expires_at", number(expires_at));
        let put = match record {
            Some(record) => put.item("record", text(record)),
            None => put,
        };
        let put = put.build().map_err(|error| Error::Call(Box::new(error)))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn head(
        &self,
        conversation: &ConversationId,
        sessions: &Sessions,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let key = keys::conversation(&self.owner, conversation);
        let sessions = sessions
            .iter()
            .map(|(agent, session)| (agent.to_string(), text(session.clone())))
            .collect();
        let update = Update::builder()
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .update_expression(
                "SET sessions = :sessions, updated_at = :at, expires_at = :expires, \
                 created_at = if_not_exists(created_at, :at) ADD turns :one",
            )
            .expression_attribute_values(":sessions", AttributeValue::M(sessions))
            .expression_attribute_values(":at", number(at))
            .expression_attribute_values(":expires", number(expires_at))
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// The record as JSON; over the cap without the agent's state, then without its texts.
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
        // A text that alone is over the cap is no history for any model's window.
        for text in [&mut exchange.request, &mut exchange.answer] {
            text.truncate(text.floor_char_boundary(RECORD_CAP / 4));
        }
        exchange.attachments.truncate(100);
        exchange.request_attachments.truncate(100);
    }
    Ok((json(&smaller)?, Saved::WithoutState))
}

fn take(item: &HashMap<String, AttributeValue>, stored: &mut Stored) -> Result<(), Error> {
    if let Some(record) = item.get("record").and_then(|value| value.as_s().ok()) {
        let turn = serde_json::from_str(record).map_err(|error| Error::Unreadable(Some(error)))?;
        stored.turns.push(turn);
    } else if let Some(sessions) = item.get("sessions").and_then(|value| value.as_m().ok()) {
        for (agent, session) in sessions {
            if let Ok(session) = session.as_s() {
                stored.sessions.insert(AgentId::new(agent), session.clone());
            }
        }
    }
    Ok(())
}

fn expires_at(item: &HashMap<String, AttributeValue>) -> Timestamp {
    let seconds = item
        .get("expires_at")
        .and_then(|value| value.as_n().ok())
        .and_then(|number| number.parse().ok());
    Timestamp(seconds.unwrap_or(u64::MAX))
}

pub(super) fn text(value: String) -> AttributeValue {
    AttributeValue::S(value)
}

fn number(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.0.to_string())
}
