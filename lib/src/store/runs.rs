//! Plans under way: written before their agents are asked, so that nothing of them is done twice.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use futures_util::FutureExt as _;

use super::attributes::{Item, expires_at, id, number, string, text};
use super::requests::{built, key_of};
use super::{Error, Table, keys};
use crate::domain::ids::{AgentId, Owner, Timestamp, TurnId};
use crate::domain::run::{Done, KEPT, Kept, Mark, Run};

/// An item may have 400 KB; all results of a plan share this.
const RESULTS: usize = 300 * 1024;
/// What the attributes of steps begin with; their places in the plan follow.
const BEGUN: &str = "begun";
const DONE: &str = "done";

/// The plans of one owner: there is no way to another's. A plan is found by its request.
#[derive(Debug)]
pub struct Runs<'a> {
    table: &'a Table,
    owner: &'a Owner,
    request: &'a str,
}

impl<'a> Runs<'a> {
    pub fn of(table: &'a Table, owner: &'a Owner, request: &'a str) -> Self {
        Self {
            table,
            owner,
            request,
        }
    }

    /// Keeps a plan. False where one of this request is kept already, or the owner was erased.
    pub async fn begin(&self, run: &Run, now: Timestamp) -> Result<bool, Error> {
        let json = serde_json::to_string(run).map_err(|error| Error::Unreadable(Some(error)))?;
        let put = (self.table)
            .put(keys::run(self.owner, self.request), now.plus(KEPT))
            .item("value", text(json))
            .item("turn", text(run.turn.to_string()))
            // Written without word of it, it is written again.
            .condition_expression("attribute_not_exists(pk) OR expires_at <= :now OR turn = :turn")
            .expression_attribute_values(":now", number(now.0))
            .expression_attribute_values(":turn", text(run.turn.to_string()));
        let items = vec![self.table.not_erased(self.owner, run.turn)?, built(put)?];
        Ok(self.table.transact(items).await?.is_none())
    }

    /// The plan that is kept of this request.
    pub async fn load(&self, now: Timestamp) -> Result<Option<Kept>, Error> {
        let item = self.table.item(keys::run(self.owner, self.request)).await?;
        let Some(item) = item.filter(|item| expires_at(item) > now) else {
            return Ok(None);
        };
        let json = string(&item, "value").unwrap_or_default();
        let run: Run =
            serde_json::from_str(json).map_err(|error| Error::Unreadable(Some(error)))?;
        let marks = (0..run.steps.len()).map(|at| mark(&item, at)).collect();
        Ok(Some(Kept { run, marks }))
    }

    /// A turn is about to ask the agent of a step. False where another turn was before it.
    pub async fn start(&self, at: usize, turn: TurnId) -> Result<bool, Error> {
        let condition = "attribute_exists(pk) AND attribute_not_exists(#done) \
                         AND (attribute_not_exists(#begun) OR #begun = :turn)";
        let key = keys::run(self.owner, self.request);
        let sent = (self.table.client().update_item())
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .update_expression("SET #begun = :turn")
            .condition_expression(condition)
            .expression_attribute_names("#begun", format!("{BEGUN}{at}"))
            .expression_attribute_names("#done", format!("{DONE}{at}"))
            .expression_attribute_values(":turn", text(turn.to_string()))
            .send()
            .boxed()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(is_refused) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A session that an agent made for a step is the owner's, whatever becomes of the turn.
    pub async fn own(
        &self,
        agent: &AgentId,
        session: &str,
        turn: TurnId,
        until: Timestamp,
    ) -> Result<(), Error> {
        let put = (self.table).put(keys::session(self.owner, agent, session), until);
        let items = vec![self.table.not_erased(self.owner, turn)?, built(put)?];
        self.table.transact(items).await?;
        Ok(())
    }

    /// The agent of a step was not asked after all.
    pub async fn withdraw(&self, at: usize) -> Result<(), Error> {
        self.mark("REMOVE #mark", &format!("{BEGUN}{at}"), None)
            .await
    }

    /// What a step gave. What does not fit is left out where the step may not be done again, and all of it else.
    pub async fn finish(
        &self,
        at: usize,
        done: Done,
        of: usize,
        changes: bool,
    ) -> Result<(), Error> {
        let json = |done: &Done| {
            serde_json::to_string(done).map_err(|error| Error::Unreadable(Some(error)))
        };
        let mut value = json(&done)?;
        if value.len() > RESULTS / of.max(1) {
            if !changes {
                return Ok(());
            }
            value = json(&done.within(RESULTS / of.max(1) / 2))?;
        }
        self.mark(
            "SET #mark = :value",
            &format!("{DONE}{at}"),
            Some(text(value)),
        )
        .await
    }

    /// Changes one attribute of a plan that is still kept.
    async fn mark(
        &self,
        expression: &str,
        name: &str,
        value: Option<AttributeValue>,
    ) -> Result<(), Error> {
        let key = keys::run(self.owner, self.request);
        let mut update = (self.table.client().update_item())
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .update_expression(expression)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#mark", name);
        if let Some(value) = value {
            update = update.expression_attribute_values(":value", value);
        }
        match update.send().boxed().await {
            // Erased meanwhile, or over: then nothing is kept.
            Err(error) if !error.as_service_error().is_some_and(is_refused) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// What takes a plan away that was carried out.
pub fn ended(table: &Table, owner: &Owner, request: &str) -> Result<TransactWriteItem, Error> {
    let [(pk, owner), (sk, name)] = key_of(keys::run(owner, request));
    let delete = Delete::builder()
        .table_name(&table.name)
        .key(pk, owner)
        .key(sk, name)
        .build()
        .map_err(|error| Error::Call(Box::new(error)))?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}

/// What the finished steps of a plan gave, as it is stored.
pub fn results(item: &Item) -> impl Iterator<Item = &str> {
    let mut names: Vec<&String> = item.keys().filter(|name| name.starts_with(DONE)).collect();
    names.sort_unstable();
    names.into_iter().filter_map(|name| string(item, name))
}

fn mark(item: &Item, at: usize) -> Option<Mark> {
    let done = string(item, &format!("{DONE}{at}"));
    let done = done.and_then(|json| serde_json::from_str(json).ok());
    done.map(|done| Mark::Done(Box::new(done)))
        .or_else(|| id(item, &format!("{BEGUN}{at}")).map(Mark::Begun))
}

fn is_refused(error: &UpdateItemError) -> bool {
    error.is_conditional_check_failed_exception()
}
