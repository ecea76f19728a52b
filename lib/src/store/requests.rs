//! The requests that more than one kind of record needs.

use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use futures_util::FutureExt as _;

use super::attributes::{Item, number, text};
use super::keys::{self, Key};
use super::{Error, Table};
use crate::domain::ids::{Owner, Timestamp, TurnId};
use crate::resilience::retry::luck;

/// Between two tries, at most, times the number of tries so far.
const PAUSE: Duration = Duration::from_millis(20);

/// Why one item of a transaction could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It could have been.
    None,
    /// Its condition did not hold.
    Condition,
    /// Another transaction was at it.
    Conflict,
}

/// Where the next page of a query begins.
#[derive(Debug, Default)]
pub enum Place {
    #[default]
    Start,
    After(Item),
    End,
}

impl Table {
    /// One item, as it is now.
    pub(super) async fn item(&self, key: Key) -> Result<Option<Item>, Error> {
        let found = self
            .client()
            .get_item()
            .table_name(&self.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .consistent_read(true)
            .send()
            .boxed()
            .await?;
        Ok(found.item)
    }

    /// An item to put, with its key and its end.
    pub(super) fn put(&self, key: Key, expires_at: Timestamp) -> PutBuilder {
        Put::builder()
            .table_name(&self.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
            .item("expires_at", number(expires_at.0))
    }

    /// An item to put that stays.
    pub(super) fn put_for_good(&self, key: Key) -> PutBuilder {
        Put::builder()
            .table_name(&self.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
    }

    /// Writes all of these items or none. `None` when they are written, else the reason of each.
    pub(super) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
    ) -> Result<Option<Vec<Reason>>, Error> {
        let sent = self
            .client()
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .boxed()
            .await;
        let Err(error) = sent else {
            return Ok(None);
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons: Option<Vec<Reason>> = (cancelled.cancellation_reasons().iter())
                    .map(|reason| match reason.code() {
                        None | Some("None") => Some(Reason::None),
                        Some("ConditionalCheckFailed") => Some(Reason::Condition),
                        Some("TransactionConflict") => Some(Reason::Conflict),
                        Some(_) => None,
                    })
                    .collect();
                match reasons {
                    Some(reasons) => Ok(Some(reasons)),
                    None => Err(error.into()),
                }
            }
            _ => Err(error.into()),
        }
    }

    /// Nothing of a person comes back that was under way when the person was erased.
    pub(super) fn not_erased(
        &self,
        owner: &Owner,
        turn: TurnId,
    ) -> Result<TransactWriteItem, Error> {
        let [(pk, owner), (sk, mark)] = key_of(keys::erased(owner));
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .key(pk, owner)
            .key(sk, mark)
            .condition_expression("attribute_not_exists(turn) OR turn < :turn")
            .expression_attribute_values(":turn", text(turn.to_string()))
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// The next page of what begins with a prefix, in the order of the keys; nothing at the end.
    pub(super) async fn page(
        &self,
        pk: &str,
        prefix: &str,
        place: &mut Place,
    ) -> Result<Option<Vec<Item>>, Error> {
        let start = match std::mem::replace(place, Place::End) {
            Place::Start => None,
            Place::After(key) => Some(key),
            Place::End => return Ok(None),
        };
        let query = self
            .client()
            .query()
            .table_name(&self.name)
            .expression_attribute_values(":pk", text(pk))
            .consistent_read(true)
            .set_exclusive_start_key(start);
        let query = if prefix.is_empty() {
            query.key_condition_expression("pk = :pk")
        } else {
            query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", text(prefix))
        };
        let page = query.send().boxed().await?;
        if let Some(last) = page.last_evaluated_key {
            *place = Place::After(last);
        }
        Ok(Some(page.items.unwrap_or_default()))
    }
}

/// A put as part of a transaction.
pub fn built(put: PutBuilder) -> Result<TransactWriteItem, Error> {
    let put = put.build().map_err(|error| Error::Call(Box::new(error)))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Waits before another try, a little longer each time and never as long as the others.
pub async fn pause(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep((PAUSE * attempt).mul_f64(luck())).await;
    }
}

/// The key of an item, as the table wants it.
pub fn key_of(key: Key) -> [(&'static str, AttributeValue); 2] {
    [("pk", text(key.pk)), ("sk", text(key.sk))]
}
