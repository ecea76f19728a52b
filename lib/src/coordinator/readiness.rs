//! Asking everything a turn depends on.

use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use futures_util::join;
use tokio::time::{Instant, timeout};

use super::Coordinator;
use crate::domain::ids::AgentId;
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
        let asked = join_all([table.boxed(), models.boxed()].into_iter().chain(agents));
        // What the other instances found counts, too: this one may be asked for nothing but its health.
        let (mut checks, _) = join!(asked, timeout(within, self.guard.refresh()));
        for check in checks.iter_mut().filter(|check| check.part == Part::Agent) {
            if self.agents.is_resting(&AgentId::new(&check.name)) {
                check.up = false;
                check.problem = Some("it failed too often and is left alone for a while".into());
            }
        }
        checks
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
