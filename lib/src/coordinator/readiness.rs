//! Asking everything a turn depends on.

use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use tokio::time::{Instant, timeout};

use super::Coordinator;
use crate::resilience::health::{Checked, Part};

impl Coordinator {
    /// Asks everything a turn depends on, at once.
    pub async fn check(&self, within: Duration) -> Vec<Checked> {
        let agents = self.registry.iter().map(|card| {
            let check = self.agents.check(&card.id, within);
            checked(card.id.to_string(), Part::Agent, within, check).boxed()
        });
        let table = checked("table".into(), Part::Helper, within, self.table.check());
        let models = checked(
            "models".into(),
            Part::Helper,
            within,
            self.synthesizer.check(within),
        );
        join_all([table.boxed(), models.boxed()].into_iter().chain(agents)).await
    }
}

async fn checked<E: std::error::Error>(
    name: String,
    part: Part,
    within: Duration,
    work: impl Future<Output = Result<(), E>>,
) -> Checked {
    let begun = Instant::now();
    let problem = match timeout(within, work).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".into()),
    };
    Checked {
        name,
        part,
        up: problem.is_none(),
        latency: begun.elapsed(),
        problem,
    }
}
