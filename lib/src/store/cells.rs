//! Small values that several instances change: read, stepped, and written back only if nobody was faster.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use futures_util::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attributes::{Item, count, expires_at, number, string, text};
use super::keys::Key;
use super::requests::{built, pause};
use super::{Error, Table};
use crate::domain::ids::Timestamp;

/// More writers than these at the same moment, and somebody's view is wrong.
const TRIES: u32 = 8;

/// A value, and the version it was read at: 0 before it was ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versioned<T> {
    pub value: T,
    pub version: u64,
}

impl<T: Serialize + DeserializeOwned + Default> Versioned<T> {
    /// What an item holds. An expired one holds nothing but its version, and so does one that cannot be read: what is
    /// kept this way can always be made anew.
    pub(super) fn of(item: &Item, now: Timestamp) -> Self {
        let version = count(item, "version");
        let value = string(item, "value")
            .filter(|_| expires_at(item) > now)
            .and_then(|json| serde_json::from_str(json).ok());
        Self {
            value: value.unwrap_or_default(),
            version: version.unwrap_or_default(),
        }
    }
}

/// What came of a write.
enum Swapped<T> {
    Done,
    /// Somebody else's version is there; it is known where the table says so.
    Other(Option<Versioned<T>>),
}

impl Table {
    /// Steps a value until the step is the only one of its moment. `seen` is where to begin, to save the first read.
    ///
    /// The step is a pure function of the value; with `None` it changes nothing, and nothing is written. Its answer
    /// belongs to the value that was kept.
    pub(super) async fn step<T, A>(
        &self,
        key: &Key,
        now: Timestamp,
        expires_at: Timestamp,
        seen: Option<Versioned<T>>,
        mut step: impl FnMut(&T) -> (Option<T>, A),
    ) -> Result<(Versioned<T>, A), Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        // With whether it was read since this began.
        let mut current = seen.map(|seen| (seen, false));
        for attempt in 0..=TRIES {
            // The second attempt only looks at what is there now; those who lose again do not come back together.
            pause(attempt.saturating_sub(1)).await;
            let (old, fresh) = match current.take() {
                Some(known) => known,
                None => (self.cell(key, now).await?, true),
            };
            let (new, answer) = step(&old.value);
            let Some(value) = new else {
                if fresh {
                    return Ok((old, answer));
                }
                // What was seen before may be old: nothing is concluded from it alone.
                continue;
            };
            let new = Versioned {
                value,
                version: old.version + 1,
            };
            match self.swap(key, &new, expires_at, now).await? {
                Swapped::Done => return Ok((new, answer)),
                Swapped::Other(found) => current = found.map(|found| (found, true)),
            }
        }
        Err(Error::Contended)
    }

    /// The value as it is now.
    pub(super) async fn cell<T>(&self, key: &Key, now: Timestamp) -> Result<Versioned<T>, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let found = self.item(key.clone()).await?;
        Ok(found
            .map(|item| Versioned::of(&item, now))
            .unwrap_or_default())
    }

    /// The same write as part of a transaction.
    pub(super) fn swapped<T: Serialize>(
        &self,
        key: &Key,
        new: &Versioned<T>,
        expires_at: Timestamp,
    ) -> Result<TransactWriteItem, Error> {
        let json =
            serde_json::to_string(&new.value).map_err(|error| Error::Unreadable(Some(error)))?;
        let put = (self.put(key.clone(), expires_at))
            .item("value", text(json))
            .item("version", number(new.version));
        built(if new.version == 1 {
            put.condition_expression("attribute_not_exists(version)")
        } else {
            put.condition_expression("version = :seen")
                .expression_attribute_values(":seen", number(new.version - 1))
        })
    }

    /// Writes the version after the one that was read, unless somebody else did.
    async fn swap<T>(
        &self,
        key: &Key,
        new: &Versioned<T>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Swapped<T>, Error>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let json =
            serde_json::to_string(&new.value).map_err(|error| Error::Unreadable(Some(error)))?;
        let put = self
            .client()
            .put_item()
            .table_name(&self.name)
            .item("pk", text(key.pk.clone()))
            .item("sk", text(key.sk.clone()))
            .item("value", text(json))
            .item("version", number(new.version))
            .item("expires_at", number(expires_at.0))
            // Whoever was faster is seen without another question.
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = if new.version == 1 {
            put.condition_expression("attribute_not_exists(version)")
        } else {
            put.condition_expression("version = :seen")
                .expression_attribute_values(":seen", number(new.version - 1))
        };
        match put.send().boxed().await {
            Ok(_) => Ok(Swapped::Done),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    let found = failed.item().map(|item| Versioned::of(item, now));
                    Ok(Swapped::Other(found))
                }
                // It is just being written together with something else.
                Some(PutItemError::TransactionConflictException(_)) => Ok(Swapped::Other(None)),
                _ => Err(error.into()),
            },
        }
    }
}
