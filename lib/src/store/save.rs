//! Writing a turn: its record, its session, its line of the audit log, all or nothing, in one call.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use tokio::time::timeout;

use super::accounts::{Accounts, Leave};
use super::attributes::{number, text};
use super::audit::{Audit, Lane, Next};
use super::chain::Anchor;
use super::conversations::SESSION;
use super::requests::{Reason, built, key_of, pause};
use super::{Conversations, Error, keys, runs};
use crate::domain::audit::Entry;
use crate::domain::conversation::TurnRecord;
use crate::domain::ids::{AgentId, ConversationId, Timestamp};

/// An item may have 400 KB; this leaves room for its keys.
const PART_CAP: usize = 350 * 1024;
/// A transaction may have 4 MB.
const RECORD_CAP: usize = 8 * PART_CAP;
/// How often a save that lost against others is tried again. All turns of a person look at the same mark, so as many as
/// may run at once can meet.
const TRIES: u32 = 5;

/// How long a save waits for a lane of the audit log, of the time that it has.
const LANE_WITHIN: Duration = Duration::from_millis(300);

/// What of a turn found its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    Whole,
    /// The record was too large: the agent's state was left out, and texts were cut.
    Cut,
    /// The person was erased after the turn had begun: of all this, only the audit log has a line.
    Erased,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub saved: Saved,
    /// Names the turn's line of the audit log; `None` when there is none.
    pub anchor: Option<Anchor>,
    /// The turn has left its owner's account as well.
    pub left: bool,
}

/// A turn to write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub conversation: &'a ConversationId,
    pub record: &'a TurnRecord,
    /// False for a turn of which the audit log and the account alone know.
    pub kept: bool,
    /// In which agents were asked, in order.
    pub sessions: &'a [Session<'a>],
    /// The log, and what it is to say of the turn.
    pub audit: Option<(&'a Audit, &'a Entry)>,
    /// The request whose plan is carried out, and need not be kept.
    pub ends: Option<&'a str>,
    /// The accounts, and what the turn leaves in its owner's.
    pub account: Option<(&'a Accounts, Leave)>,
}

/// A session that a turn used.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    pub agent: &'a AgentId,
    pub id: &'a str,
    /// It was made in this turn.
    pub created: bool,
}

/// What an item of the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tombstone,
    Record,
    Audit,
    Account,
}

impl Conversations {
    /// Writes a turn and its sessions, all or nothing, in one call. Which sessions a branch has, its turns say; the head has
    /// those that were used last.
    pub async fn save(&self, write: Write<'_>) -> Result<Written, Error> {
        let (json, saved) = if write.kept {
            fitted(write.record)?
        } else {
            (String::new(), Saved::Whole)
        };
        let mut audit = write.audit;
        for attempt in 0..=TRIES {
            // Whoever lost once does not know what is there now.
            let leaving = match write.account.filter(|_| attempt == 0) {
                Some((accounts, leave)) => accounts.leaving(&self.owner, leave).await?,
                None => None,
            };
            let mut items = self.items(write, &json)?;
            match &leaving {
                Some(leaving) => items.push((Part::Account, leaving.item.clone())),
                // Whoever erases a person begins with the account: where that is still the same, nobody has.
                None => items.insert(
                    0,
                    (
                        Part::Tombstone,
                        self.table.not_erased(&self.owner, write.record.id)?,
                    ),
                ),
            }
            let line = match audit {
                Some((audit, entry)) => self.line(audit, entry).await,
                None => None,
            };
            if let (Some((audit, _)), Some((lane, next))) = (audit, &line) {
                let of_line = audit.items(lane, next, Some(&self.owner))?;
                items.extend(of_line.into_iter().map(|item| (Part::Audit, item)));
            }
            let (parts, items): (Vec<_>, Vec<_>) = items.into_iter().unzip();
            let Some(reasons) = self.table.transact(items).await? else {
                let anchor = audit
                    .zip(line)
                    .map(|((audit, _), (lane, next))| audit.written(lane, next));
                let left = leaving.is_some();
                if let (Some((accounts, _)), Some(leaving)) = (write.account, leaving) {
                    accounts.left(&self.owner, leaving);
                }
                return Ok(Written {
                    saved,
                    anchor,
                    left,
                });
            };
            drop(leaving);
            let failed = |part, reason| {
                let mut reasons = parts.iter().zip(&reasons);
                reasons.any(|(of, why)| *of == part && *why == reason)
            };
            // Nothing was written. Unless the lane itself was in the way, it can go on.
            let lane_failed =
                failed(Part::Audit, Reason::Condition) || failed(Part::Audit, Reason::Conflict);
            if let (false, Some((audit, _)), Some((lane, _))) = (lane_failed, audit, line) {
                audit.give_back(lane);
            }
            if failed(Part::Tombstone, Reason::Condition) {
                let anchor = match write.audit {
                    Some((audit, entry)) => {
                        audit.append(self.owner.tenant(), entry, None).await.ok()
                    }
                    None => None,
                };
                let saved = Saved::Erased;
                return Ok(Written {
                    saved,
                    anchor,
                    left: false,
                });
            }
            // Lanes are nobody else's: two that fail are a fault of the log, and no reason to forget the turn.
            audit = audit.filter(|_| !lane_failed || attempt == 0);
            pause(attempt + 1).await;
        }
        Err(Error::Contended)
    }

    /// A lane, and the next line in it. Without one the turn is still saved; whoever asked for it finds no anchor.
    async fn line(&self, audit: &Audit, entry: &Entry) -> Option<(Lane, Next)> {
        let lane = timeout(LANE_WITHIN, audit.take(self.owner.tenant())).await;
        let lane = lane.unwrap_or(Err(Error::Slow));
        let line = lane.and_then(|lane| {
            let next = audit.next(&lane, entry)?;
            Ok((lane, next))
        });
        line.inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "there is no lane of the audit log to write to"
            );
        })
        .ok()
    }

    fn items(&self, write: Write<'_>, json: &str) -> Result<Vec<(Part, TransactWriteItem)>, Error> {
        if !write.kept {
            return Ok(Vec::new());
        }
        let expires_at = write.record.at.plus(self.ttl);
        let head = self.head(write, expires_at)?;
        let mut items = vec![(Part::Record, head)];
        let parts: Vec<&str> = parts(json).collect();
        for (part, text) in parts.iter().enumerate() {
            let key = keys::turn(&self.owner, write.conversation, write.record.id, part);
            let put = (self.table.put(key, expires_at))
                .item("record", self::text(*text))
                .item("turn", self::text(write.record.id.to_string()))
                .item("parts", number(parts.len() as u64));
            items.push((Part::Record, built(put)?));
        }
        if let Some(request) = write.ends {
            items.push((
                Part::Record,
                runs::ended(&self.table, &self.owner, request)?,
            ));
        }
        let made = write.sessions.iter().filter(|session| session.created);
        let made: BTreeSet<_> = made.map(|session| (session.agent, session.id)).collect();
        for (agent, id) in made {
            let key = keys::session(&self.owner, agent, id);
            items.push((Part::Record, built(self.table.put(key, expires_at))?));
        }
        Ok(items)
    }

    /// The head changes only where this turn changed something, so that two turns at once lose nothing of each other.
    fn head(&self, write: Write<'_>, expires_at: Timestamp) -> Result<TransactWriteItem, Error> {
        let [(pk, owner), (sk, conversation)] =
            key_of(keys::conversation(&self.owner, write.conversation));
        let turn = text(write.record.id.to_string());
        let set = [
            "#updated = :at",
            "#expires = :expires",
            "#created = if_not_exists(#created, :at)",
        ];
        let mut set: Vec<String> = set.map(str::to_owned).into();
        let mut update = Update::builder()
            .table_name(&self.table.name)
            .key(pk, owner)
            .key(sk, conversation)
            .expression_attribute_names("#updated", "updated_at")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_names("#created", "created_at")
            .expression_attribute_values(":at", number(write.record.at.0))
            .expression_attribute_values(":expires", number(expires_at.0));
        let newest: BTreeMap<&AgentId, &str> = (write.sessions.iter())
            .map(|session| (session.agent, session.id))
            .collect();
        for (at, (agent, id)) in newest.into_iter().enumerate() {
            let (name, value) = (format!("#session{at}"), format!(":session{at}"));
            let fields = HashMap::from([
                ("id".to_owned(), text(id)),
                ("turn".to_owned(), turn.clone()),
                ("expires_at".to_owned(), number(expires_at.0)),
            ]);
            set.push(format!("{name} = {value}"));
            update = update
                .expression_attribute_names(&name, format!("{SESSION}{agent}"))
                .expression_attribute_values(value, AttributeValue::M(fields));
        }
        let update = update
            .update_expression(format!("SET {}", set.join(", ")))
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// A text in pieces that each fit into an item, cut between characters.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (part, rest) = text.split_at(text.floor_char_boundary(PART_CAP));
        text = rest;
        (!part.is_empty()).then_some(part)
    })
}

/// The record as JSON; over the cap without the agents' states, then without the exchanges.
fn fitted(record: &TurnRecord) -> Result<(String, Saved), Error> {
    let json = |record: &TurnRecord| {
        serde_json::to_string(record).map_err(|error| Error::Unreadable(Some(error)))
    };
    let whole = json(record)?;
    if whole.len() <= RECORD_CAP {
        return Ok((whole, Saved::Whole));
    }
    let mut smaller = record.clone();
    for exchange in &mut smaller.exchanges {
        exchange.state = None;
    }
    let mut fitting = json(&smaller)?;
    if fitting.len() > RECORD_CAP {
        smaller.exchanges.clear();
        fitting = json(&smaller)?;
    }
    Ok((fitting, Saved::Cut))
}
