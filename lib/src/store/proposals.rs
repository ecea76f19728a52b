//! Requests that wait for their owner's consent: stored once, taken once.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;
use futures_util::FutureExt as _;

use super::attributes::{Item, number, string, text};
use super::{Error, Table, keys};
use crate::domain::ids::{ConversationId, Owner, Timestamp, TurnId};
use crate::domain::proposal::Proposal;

/// The proposals of one owner: there is no way to another's.
#[derive(Debug)]
pub struct Proposals<'a> {
    table: &'a Table,
    owner: &'a Owner,
}

impl<'a> Proposals<'a> {
    pub fn of(table: &'a Table, owner: &'a Owner) -> Self {
        Self { table, owner }
    }

    /// Stores a proposal until its time is over, and gives the name under which it is taken.
    pub async fn put(
        &self,
        proposal: &Proposal,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<String, Error> {
        let digest = proposal.digest(self.owner);
        let key = keys::proposal(self.owner, &digest);
        let json =
            serde_json::to_string(proposal).map_err(|error| Error::Unreadable(Some(error)))?;
        self.table
            .client()
            .put_item()
            .table_name(&self.table.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
            .item("value", text(json))
            .item("conversation", text(proposal.conversation.as_str()))
            .item("expires_at", number(now.plus(ttl).0))
            // The name stands for all there is, so what is there already is the same, written without word of it.
            .condition_expression("attribute_not_exists(taken_at)")
            .send()
            .boxed()
            .await?;
        Ok(digest)
    }

    /// Takes a proposal: whoever comes second, too late, or with another name, gets none. What is stored is what was
    /// shown, or it is none either. A turn that took it without word of that takes it again.
    pub async fn take(
        &self,
        digest: &str,
        conversation: &ConversationId,
        turn: TurnId,
        now: Timestamp,
    ) -> Result<Option<Proposal>, Error> {
        let key = keys::proposal(self.owner, digest);
        let taken = self
            .table
            .client()
            .update_item()
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .update_expression("SET taken_at = :now, taken_by = :turn")
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(taken_at) OR taken_by = :turn) AND expires_at > :now \
                 AND conversation = :conversation",
            )
            .expression_attribute_values(":now", number(now.0))
            .expression_attribute_values(":turn", text(turn.to_string()))
            .expression_attribute_values(":conversation", text(conversation.as_str()))
            .return_values(ReturnValue::AllOld)
            .send()
            .boxed()
            .await;
        let item: Item = match taken {
            Ok(taken) => taken.attributes.unwrap_or_default(),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let proposal: Option<Proposal> =
            string(&item, "value").and_then(|json| serde_json::from_str(json).ok());
        Ok(proposal.filter(|proposal| proposal.digest(self.owner) == digest))
    }
}
