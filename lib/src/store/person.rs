//! Everything of one person: read as a whole, and deleted as a whole.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, KeysAndAttributes, WriteRequest};
use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::value::RawValue;

use super::attributes::{Item, count, expires_at, id, string, text};
use super::audit::line_of;
use super::chain::Scope;
use super::conversations::SESSION;
use super::keys::{self, Key, Kind};
use super::requests::{Place, Reason, built, key_of, pause};
use super::{Error, Table, runs};
use crate::domain::day::Day;
use crate::domain::ids::{AgentId, ConversationId, Owner, Timestamp, TurnId};

/// The most that one request may delete, and read.
const DELETES: usize = 25;
const READS: usize = 100;
/// How often what the table could not do at once is asked for again.
const TRIES: u32 = 10;

/// One person's items.
#[derive(Clone, Debug)]
pub struct Person {
    table: Table,
    owner: Owner,
}

/// One thing that is kept of a person.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    Account {
        account: Box<RawValue>,
    },
    Preferences {
        preferences: Box<RawValue>,
    },
    /// What was there up to this turn is erased.
    Erased {
        turn: TurnId,
    },
    Conversation {
        conversation: ConversationId,
        created_at: Option<u64>,
        updated_at: Option<u64>,
        /// The agents' sessions that it uses.
        sessions: BTreeMap<String, String>,
    },
    Turn {
        conversation: ConversationId,
        turn: TurnId,
        /// The record as it is stored, its parts joined.
        record: Box<RawValue>,
    },
    Session {
        agent: AgentId,
        session: String,
    },
    /// A request that waits for the person's consent, or waited.
    Proposal {
        proposal: Box<RawValue>,
    },
    /// A plan that was not carried out to its end.
    Run {
        plan: Box<RawValue>,
        /// What its steps came to, as it is stored.
        done: Vec<Box<RawValue>>,
    },
    /// A line of the audit log about the person.
    Audit {
        day: Day,
        writer: String,
        seq: u64,
        entry: Box<RawValue>,
    },
}

impl Record {
    /// The word for its kind, as it stands in its JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Account { .. } => "account",
            Self::Preferences { .. } => "preferences",
            Self::Erased { .. } => "erased",
            Self::Conversation { .. } => "conversation",
            Self::Turn { .. } => "turn",
            Self::Session { .. } => "session",
            Self::Proposal { .. } => "proposal",
            Self::Run { .. } => "run",
            Self::Audit { .. } => "audit",
        }
    }
}

impl Person {
    pub fn of(table: &Table, owner: &Owner) -> Self {
        Self {
            table: table.clone(),
            owner: owner.clone(),
        }
    }

    /// Every record, and the lines of the audit log about the person.
    pub async fn records(&self, now: Timestamp) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let mut lines = Vec::new();
        // Turns by what they are of, and the texts of their parts.
        let mut turns: BTreeMap<(ConversationId, TurnId), String> = BTreeMap::new();
        let mut place = Place::default();
        let pk = keys::partition(&self.owner);
        while let Some(items) = self.table.page(&pk, "", &mut place).await? {
            for item in items.iter().filter(|item| expires_at(item) > now) {
                match Kind::of(string(item, "sk").unwrap_or_default()) {
                    Kind::Account => records.push(Record::Account {
                        account: raw(string(item, "value").unwrap_or_default()),
                    }),
                    Kind::Preferences => records.push(Record::Preferences {
                        preferences: raw(string(item, "value").unwrap_or_default()),
                    }),
                    Kind::Erased => {
                        records.extend(id(item, "turn").map(|turn| Record::Erased { turn }));
                    }
                    Kind::Conversation(conversation) => records.push(head(conversation, item)),
                    // Parts come in their order.
                    Kind::Turn(conversation, turn) => turns
                        .entry((conversation, turn))
                        .or_default()
                        .push_str(string(item, "record").unwrap_or_default()),
                    Kind::Session(agent, session) => {
                        records.push(Record::Session { agent, session });
                    }
                    Kind::Proposal(_) => records.push(Record::Proposal {
                        proposal: raw(string(item, "value").unwrap_or_default()),
                    }),
                    Kind::Run(_) => records.push(Record::Run {
                        plan: raw(string(item, "value").unwrap_or_default()),
                        done: runs::results(item).map(raw).collect(),
                    }),
                    Kind::Reference(day, writer, seq) => lines.push((day, writer, seq)),
                    Kind::Unknown => tracing::warn!("an item of an unknown kind is not exported"),
                }
            }
        }
        records.extend(turns.into_iter().map(|((conversation, turn), json)| {
            let record = raw(&json);
            Record::Turn {
                conversation,
                turn,
                record,
            }
        }));
        for lines in lines.chunks(READS) {
            records.extend(self.lines(lines, now).await?);
        }
        Ok(records)
    }

    /// From now on no turn up to this one can write anything. The mark never goes back.
    pub async fn bury(&self, turn: TurnId, until: Timestamp) -> Result<(), Error> {
        for attempt in 0..TRIES {
            pause(attempt).await;
            let put = (self.table.put(keys::erased(&self.owner), until))
                .item("turn", text(turn.to_string()))
                .condition_expression("attribute_not_exists(turn) OR turn <= :turn")
                .expression_attribute_values(":turn", text(turn.to_string()));
            match self.table.transact(vec![built(put)?]).await? {
                // A turn that is just being saved looks at the mark.
                Some(reasons) if reasons.contains(&Reason::Conflict) => {}
                // A mark that reaches farther is there already: that is as good.
                _ => return Ok(()),
            }
        }
        Err(Error::Contended)
    }

    /// The sessions that agents keep for the person.
    pub async fn sessions(&self) -> Result<Vec<(AgentId, String)>, Error> {
        let mut sessions = Vec::new();
        let mut place = Place::default();
        let pk = keys::partition(&self.owner);
        while let Some(items) = self.table.page(&pk, keys::SESSIONS, &mut place).await? {
            sessions.extend(
                items
                    .iter()
                    .filter_map(|item| match Kind::of(string(item, "sk")?) {
                        Kind::Session(agent, session) => Some((agent, session)),
                        _ => None,
                    }),
            );
        }
        Ok(sessions)
    }

    /// Forgets a session, once its agent has.
    pub async fn drop_session(&self, agent: &AgentId, session: &str) -> Result<(), Error> {
        let key = keys::session(&self.owner, agent, session);
        self.delete(vec![key]).await
    }

    /// Deletes everything but the account, the mark, and the sessions, which their agents have to delete first. Gives back
    /// how much there was of each kind.
    pub async fn erase(&self) -> Result<BTreeMap<&'static str, u64>, Error> {
        let mut counts = BTreeMap::from([("conversations", 0), ("turns", 0), ("references", 0)]);
        let mut last_turn = None;
        let mut place = Place::default();
        let pk = keys::partition(&self.owner);
        while let Some(items) = self.table.page(&pk, "", &mut place).await? {
            let mut gone = Vec::new();
            for sk in items.iter().filter_map(|item| string(item, "sk")) {
                let kind = match Kind::of(sk) {
                    Kind::Account | Kind::Erased | Kind::Session(..) => continue,
                    Kind::Conversation(_) => "conversations",
                    Kind::Turn(conversation, turn) => {
                        // The parts of one turn follow each other.
                        let turn = Some((conversation, turn));
                        if last_turn != turn {
                            *counts.entry("turns").or_default() += 1;
                        }
                        last_turn = turn;
                        ""
                    }
                    Kind::Preferences => "preferences",
                    Kind::Proposal(_) => "proposals",
                    Kind::Run(_) => "runs",
                    Kind::Reference(..) => "references",
                    Kind::Unknown => "others",
                };
                if !kind.is_empty() {
                    *counts.entry(kind).or_default() += 1;
                }
                gone.push(Key {
                    pk: pk.clone(),
                    sk: sk.to_owned(),
                });
            }
            self.delete(gone).await?;
        }
        Ok(counts)
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), Error> {
        for keys in keys.chunks(DELETES) {
            let mut requests: Vec<WriteRequest> = (keys.iter())
                .map(|key| {
                    let request = DeleteRequest::builder().set_key(Some(whole(key.clone())));
                    let request = request.build();
                    request.map(|request| WriteRequest::builder().delete_request(request).build())
                })
                .collect::<Result<_, _>>()
                .map_err(|error| Error::Call(Box::new(error)))?;
            let mut attempt = 0;
            while !requests.is_empty() {
                if attempt > TRIES {
                    return Err(Error::Slow);
                }
                pause(attempt).await;
                attempt += 1;
                let done = self
                    .table
                    .client()
                    .batch_write_item()
                    .request_items(&self.table.name, requests)
                    .send()
                    .boxed()
                    .await?;
                let left = done.unprocessed_items.unwrap_or_default();
                requests = left.into_values().flatten().collect();
            }
        }
        Ok(())
    }

    /// Lines of the audit log, by their places.
    async fn lines(
        &self,
        places: &[(Day, String, u64)],
        now: Timestamp,
    ) -> Result<Vec<Record>, Error> {
        let key = |(day, chain, seq): &(Day, String, u64)| {
            let scope = Scope::of_day(self.owner.tenant(), *day);
            whole(keys::line(&scope, chain, *seq))
        };
        let mut wanted: Vec<Item> = places.iter().map(key).collect();
        let mut found = Vec::new();
        let mut attempt = 0;
        while !wanted.is_empty() {
            if attempt > TRIES {
                return Err(Error::Slow);
            }
            pause(attempt).await;
            attempt += 1;
            let asked = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .build()
                .map_err(|error| Error::Call(Box::new(error)))?;
            let done = self
                .table
                .client()
                .batch_get_item()
                .request_items(&self.table.name, asked)
                .send()
                .boxed()
                .await?;
            found.extend(done.responses.unwrap_or_default().into_values().flatten());
            let left = done.unprocessed_keys.unwrap_or_default();
            wanted = left.into_values().flat_map(|left| left.keys).collect();
        }
        Ok((found.iter())
            .filter(|item| expires_at(item) > now)
            .filter_map(|item| {
                let line = line_of(item)?;
                let day = (places.iter())
                    .find(|(_, chain, seq)| **chain == *line.chain && *seq == line.seq)?
                    .0;
                Some(Record::Audit {
                    day,
                    writer: line.chain.to_string(),
                    seq: line.seq,
                    entry: raw(&line.body),
                })
            })
            .collect())
    }
}

fn head(conversation: ConversationId, item: &Item) -> Record {
    let sessions = item.iter().filter_map(|(name, value)| {
        let agent = name.strip_prefix(SESSION)?;
        Some((
            agent.to_owned(),
            string(value.as_m().ok()?, "id")?.to_owned(),
        ))
    });
    Record::Conversation {
        conversation,
        created_at: count(item, "created_at"),
        updated_at: count(item, "updated_at"),
        sessions: sessions.collect(),
    }
}

/// Stored JSON as it is; what is none as a string, so that nothing is left out.
fn raw(json: &str) -> Box<RawValue> {
    let raw = RawValue::from_string(json.to_owned());
    raw.or_else(|_| serde_json::value::to_raw_value(json))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn whole(key: Key) -> Item {
    let pairs: [(&str, AttributeValue); 2] = key_of(key);
    HashMap::from(pairs.map(|(name, value)| (name.to_owned(), value)))
}
