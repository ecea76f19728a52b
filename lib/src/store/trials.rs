//! What was counted of each arm of each experiment, by all instances together.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;
use futures_util::FutureExt as _;

use super::attributes::{Item, count, number, string, text};
use super::requests::Place;
use super::{Error, Table, keys};
use crate::domain::experiment::ArmId;
use crate::domain::ids::Millis;
use crate::domain::trial::{Counts, Stopped, Sum, Trial};

/// One item for each arm. They hold sums over everybody's turns, and stay: an arm that was stopped stays so.
#[derive(Clone, Debug)]
pub struct Trials {
    table: Table,
}

impl Trials {
    pub fn of(table: &Table) -> Self {
        Self {
            table: table.clone(),
        }
    }

    /// Every arm that was ever counted.
    pub async fn all(&self) -> Result<Vec<(ArmId, Trial)>, Error> {
        let mut all = Vec::new();
        let mut place = Place::default();
        let pk = keys::trials();
        while let Some(items) = self.table.page(&pk, "", &mut place).await? {
            all.extend(items.iter().filter_map(|item| {
                let id = keys::arm(string(item, "sk")?)?;
                Some((id, read(item)))
            }));
        }
        Ok(all)
    }

    /// Adds a turn, or several. Gives back what there is then.
    pub async fn add(&self, arm: &ArmId, counts: &Counts) -> Result<Trial, Error> {
        let key = keys::trial(arm);
        let mut update = (self.table.client().update_item())
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .return_values(ReturnValue::AllNew);
        let mut terms = Vec::new();
        for (name, value) in written(counts) {
            terms.push(format!("#{name} :{name}"));
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), number(value));
        }
        let update = update.update_expression(format!("ADD {}", terms.join(", ")));
        let added = update.send().boxed().await?;
        Ok(added.attributes.as_ref().map(read).unwrap_or_default())
    }

    /// Stops an arm; false where somebody else has done so.
    pub async fn stop(&self, arm: &ArmId, stopped: &Stopped) -> Result<bool, Error> {
        let key = keys::trial(arm);
        let sent = (self.table.client().update_item())
            .table_name(&self.table.name)
            .key("pk", text(key.pk))
            .key("sk", text(key.sk))
            .update_expression("SET stopped_at = :at, stopped_for = :why")
            .condition_expression("attribute_not_exists(stopped_at)")
            .expression_attribute_values(":at", number(stopped.at.0))
            .expression_attribute_values(":why", text(stopped.why.as_str()))
            .send()
            .boxed()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets what was counted of an arm, and that it was stopped.
    pub async fn forget(&self, arm: &ArmId) -> Result<(), Error> {
        let key = keys::trial(arm);
        (self.table.client().put_item())
            .table_name(&self.table.name)
            .item("pk", text(key.pk))
            .item("sk", text(key.sk))
            .send()
            .boxed()
            .await?;
        Ok(())
    }
}

/// The attributes of counts.
fn written(counts: &Counts) -> [(&'static str, u64); 9] {
    [
        ("turns", counts.turns),
        ("failures", counts.failures),
        ("clarified", counts.clarified),
        ("defaulted", counts.defaulted),
        ("time", counts.time.all),
        ("time_squares", counts.time.squares),
        ("spend", counts.spend.all),
        ("spend_squares", counts.spend.squares),
        ("priced", counts.priced),
    ]
}

fn read(item: &Item) -> Trial {
    let of = |name| count(item, name).unwrap_or_default();
    let sum = |all, squares| Sum {
        all: of(all),
        squares: of(squares),
    };
    Trial {
        counts: Counts {
            turns: of("turns"),
            failures: of("failures"),
            clarified: of("clarified"),
            defaulted: of("defaulted"),
            time: sum("time", "time_squares"),
            spend: sum("spend", "spend_squares"),
            priced: of("priced"),
        },
        stopped: count(item, "stopped_at").map(|at| Stopped {
            at: Millis(at),
            why: string(item, "stopped_for").unwrap_or_default().to_owned(),
        }),
    }
}
