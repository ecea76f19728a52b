//! Which arm a turn is in, and which arms were stopped, as all instances know it.

mod judge;
mod report;
pub mod statistics;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

pub use report::{ArmReport, Difference, Report};

use crate::domain::day::Day;
use crate::domain::experiment::{Arm, ArmId, CONTROL, Experiment, Place, Placed};
use crate::domain::ids::{AgentId, Clock, Millis, Owner};
use crate::domain::situation::Situation;
use crate::domain::trial::{Counts, Stopped, Trial};
use crate::store::{self, Trials};

/// For so long it is not looked again which arms were stopped.
const FRESH: Duration = Duration::from_secs(10);
/// What was seen longer ago than this counts for nothing: whoever does not know whether an arm was stopped is in none.
const OLDEST: Duration = Duration::from_mins(1);

/// The experiments of the document. A copy shares what is known of them.
#[derive(Clone, Debug)]
pub struct Experiments {
    all: Arc<[Experiment]>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    trials: Trials,
    clock: Clock,
    /// How long the table may take.
    patience: Duration,
    seen: Mutex<Seen>,
    /// Held while looking: who comes meanwhile waits for what is seen.
    looking: tokio::sync::Mutex<()>,
}

/// What this instance knows.
#[derive(Debug, Default)]
struct Seen {
    /// When the table was asked last, and when it answered.
    asked: Option<Millis>,
    read: Option<Millis>,
    trials: HashMap<ArmId, Trial>,
}

impl Experiments {
    pub fn new(all: Vec<Experiment>, trials: Trials, clock: Clock, patience: Duration) -> Self {
        Self {
            all: all.into(),
            shared: Arc::new(Shared {
                trials,
                clock,
                patience,
                seen: Mutex::default(),
                looking: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Those of another document.
    #[must_use]
    pub fn renewed(&self, all: Vec<Experiment>) -> Self {
        Self {
            all: all.into(),
            shared: Arc::clone(&self.shared),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Where a turn is. It waits for the table only where it would be in an arm, and the last look is too old.
    pub async fn place(
        &self,
        situation: &Situation<'_>,
        owner: &Owner,
        conversation: Option<&str>,
    ) -> Placed {
        let mut placed = Placed::default();
        let today = Day::of(self.shared.clock.now());
        let on = self.all.iter().filter(|experiment| experiment.is_on(today));
        for experiment in on.filter(|experiment| concerns(experiment, situation)) {
            let arm = experiment.arm(owner, conversation);
            let id = experiment.id(arm);
            if let Some(arm) = arm {
                let stands = arm.variant.agents.iter();
                (placed.stands).extend(stands.map(|(of, by)| (of.clone(), by.clone())));
                if self.is_stopped(&id).await != Some(false) {
                    continue;
                }
                placed.enter(arm, &id);
            }
            placed.places.push(Place {
                id,
                agents: experiment.agents(),
            });
        }
        placed
    }

    /// Who may stand in whose place in any arm: the other one comes first.
    pub fn stand_ins(&self) -> impl Iterator<Item = (&AgentId, &AgentId)> {
        let arms = self.all.iter().flat_map(|experiment| &experiment.arms);
        arms.flat_map(|arm| &arm.variant.agents)
    }

    /// Adds a turn to its arms. Gives back those that it has stopped. What cannot be written is not counted.
    pub async fn count(&self, arms: &[ArmId], counts: &Counts) -> Vec<ArmId> {
        let counted = join_all(arms.iter().map(|arm| self.count_one(arm, counts))).await;
        let stopped = arms.iter().zip(counted).filter(|(_, stopped)| *stopped);
        stopped.map(|(arm, _)| arm.clone()).collect()
    }

    async fn count_one(&self, id: &ArmId, counts: &Counts) -> bool {
        let shared = &self.shared;
        let trial = match shared.trials.add(id, counts).await {
            Ok(trial) => trial,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(experiment.arm = %id, error, "a turn cannot be counted for its experiment");
                return false;
            }
        };
        let control = {
            let mut seen = shared.lock();
            seen.trials.insert(id.clone(), trial.clone());
            let control = ArmId {
                arm: CONTROL.into(),
                ..id.clone()
            };
            (seen.trials.get(&control)).map_or_else(Counts::default, |trial| trial.counts)
        };
        let guard = self.arm(id).and_then(|arm| arm.guard.as_ref());
        let broken = guard.and_then(|guard| judge::broken(guard, &trial.counts, &control));
        let Some(why) = broken.filter(|_| trial.stopped.is_none()) else {
            return false;
        };
        let stopped = Stopped {
            at: shared.clock.now(),
            why,
        };
        let first = match shared.trials.stop(id, &stopped).await {
            Ok(first) => first,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(experiment.arm = %id, error, "an arm of an experiment should be stopped, and cannot be");
                return false;
            }
        };
        if first {
            let why = stopped.why.as_str();
            tracing::error!(experiment.arm = %id, why, "an arm of an experiment was stopped");
        }
        let stopped = Trial {
            stopped: Some(stopped),
            ..trial
        };
        shared.lock().trials.insert(id.clone(), stopped);
        first
    }

    /// What every experiment has shown so far.
    pub async fn report(&self) -> Result<Vec<Report>, store::Error> {
        let trials: HashMap<ArmId, Trial> = self.shared.trials.all().await?.into_iter().collect();
        let today = Day::of(self.shared.clock.now());
        let all = self.all.iter();
        Ok(all
            .map(|experiment| report::of(experiment, &trials, today))
            .collect())
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.all.iter().any(|experiment| *experiment.name == *name)
    }

    /// Begins an experiment anew: what was counted is forgotten, and no arm is stopped.
    pub async fn reset(&self, name: &str) -> Result<(), store::Error> {
        let found = (self.all.iter()).filter(|experiment| *experiment.name == *name);
        for experiment in found {
            for arm in experiment.arms.iter().map(Some).chain([None]) {
                let id = experiment.id(arm);
                self.shared.trials.forget(&id).await?;
                self.shared.lock().trials.remove(&id);
            }
        }
        Ok(())
    }

    fn arm(&self, id: &ArmId) -> Option<&Arm> {
        let experiment = (self.all.iter()).find(|experiment| experiment.name == id.experiment)?;
        experiment.arms.iter().find(|arm| arm.name == id.arm)
    }

    /// Whether an arm was stopped; `None` where that cannot be said.
    async fn is_stopped(&self, id: &ArmId) -> Option<bool> {
        self.shared.look().await;
        let now = self.shared.clock.now();
        let seen = self.shared.lock();
        let known = seen.read.filter(|at| now.since(*at) <= OLDEST);
        known.map(|_| (seen.trials.get(id)).is_some_and(|trial| trial.stopped.is_some()))
    }
}

impl Shared {
    /// Looks which arms were stopped, if the last look is too old.
    async fn look(&self) {
        if !self.is_due() {
            return;
        }
        let _looking = self.looking.lock().await;
        if !self.is_due() {
            return;
        }
        let now = self.clock.now();
        let read = timeout(self.patience, self.trials.all()).await;
        let read = read.unwrap_or(Err(store::Error::Slow));
        let mut seen = self.lock();
        seen.asked = Some(now);
        match read {
            Ok(all) => {
                seen.trials = all.into_iter().collect();
                seen.read = Some(now);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "it cannot be seen which arms were stopped");
            }
        }
    }

    fn is_due(&self) -> bool {
        let (now, asked) = (self.clock.now(), self.lock().asked);
        asked.is_none_or(|at| now < at || now.since(at) >= FRESH)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Placed {
    /// What this arm does otherwise is in force.
    fn enter(&mut self, arm: &Arm, id: &ArmId) {
        self.variant.and(&arm.variant);
        if arm.variant.routes() {
            let _ = write!(self.routing, "{id},");
        }
    }
}

/// Whether an experiment is about a request. One whose condition cannot be tested is not.
fn concerns(experiment: &Experiment, situation: &Situation<'_>) -> bool {
    let Some(condition) = &experiment.condition else {
        return true;
    };
    condition.holds(situation).unwrap_or_else(|why| {
        tracing::warn!(
            experiment.name = &*experiment.name,
            why,
            "an experiment's condition cannot be tested"
        );
        false
    })
}
