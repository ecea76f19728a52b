//! What decisions teach: how likely they are, whether those that were kept still hold, and which are worth keeping.

use std::pin::pin;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::budget::Extra;
use super::decide::plainly;
use super::memory::Known;
use super::{Coordinator, Progress};
use crate::domain::conversation::{Last, Outcome};
use crate::domain::experiment::Placed;
use crate::domain::plan::{DecisionSource, RoutingDecision};
use crate::domain::preference::Preferences;
use crate::domain::turn::ChatTurn;
use crate::resilience::retry::luck;
use crate::route::Verdict;
use crate::store;

impl Coordinator {
    /// What the model decided tells what it will decide.
    pub(super) fn learn_likely(&self, progress: &Progress, verdict: &Verdict) {
        // One person's taste tells nothing of what others ask, and neither does another way to decide.
        if progress.wanted().steer() || !progress.placed().is_none_or(Placed::routes_as_ever) {
            return;
        }
        if let (Some(likely), DecisionSource::Model) = (&self.likely, verdict.decision.source) {
            let before = progress
                .before
                .as_ref()
                .and_then(|last| last.agent.as_ref());
            likely.learn(before, plainly(&verdict.decision));
        }
    }

    /// Whether this decision, made before, is compared with what the model says now.
    pub(super) fn is_checked(
        &self,
        turn: &ChatTurn,
        decision: &RoutingDecision,
        progress: &mut Progress,
    ) -> bool {
        let share = f64::from(self.routing.check.unwrap_or(0)) / 100.0;
        // Who comes through an agent has another turn's time to keep.
        let not_now = turn.what_if || turn.caller.depth > 0;
        if decision.source != DecisionSource::Cache || not_now || luck() >= share {
            return false;
        }
        let agent = decision.assignment().map(|assignment| &assignment.agent);
        let room = self.has_room(turn, Extra::Comparison, agent, progress);
        if !room {
            progress.given_up.push(Extra::Comparison);
        }
        room
    }

    /// What the model says now.
    pub(super) async fn second_opinion(
        &self,
        turn: &ChatTurn,
        known: &Known,
        before: Option<Last>,
        preferences: &Preferences,
    ) -> Verdict {
        let query = self.query(turn, known, before.as_ref(), preferences);
        self.chain.second_opinion(&query).await
    }

    /// Counts whether the model still decides as it did, and takes the old decision back if it does not.
    pub(super) fn compare(second: &Verdict, progress: &mut Progress) {
        progress.checking = false;
        progress.tally.merge(&second.tally);
        if second.decision.source != DecisionSource::Model {
            return;
        }
        let first = progress
            .meant
            .as_ref()
            .or(progress.decision.as_ref())
            .and_then(RoutingDecision::assignment);
        let now = second.decision.assignment();
        let agrees = first.map(|first| &first.agent) == now.map(|now| &now.agent);
        progress.marks.agrees = Some(agrees);
        if !agrees {
            tracing::info!("a decision that was used again was wrong");
        }
    }

    /// At the turn's end: keeps what the model decided if all went well, and takes back what did not.
    pub(super) async fn learn(&self, turn: &ChatTurn, progress: &Progress) {
        let (Some(cache), Some(decision), Some(known), Some(recalled)) = (
            &self.cache,
            &progress.decision,
            &progress.known,
            &progress.recalled,
        ) else {
            return;
        };
        if turn.what_if {
            return;
        }
        let well = !progress.filtered
            && !progress.is_faulty()
            && matches!(
                progress.outcome,
                Some(Outcome::Answered | Outcome::AnsweredRaw)
            );
        let own =
            decision.assignment().map(|assignment| &assignment.agent) == progress.agents().next();
        let before = progress.before.as_ref();
        let query = self.query(turn, known, before, &recalled.preferences);
        let wrong = !(well && own) || progress.marks.agrees == Some(false);
        let kept = match decision.source {
            // Whoever was asked in an experiment, kept is who was meant.
            DecisionSource::Model if well && own => {
                let meant = progress.meant.as_ref().unwrap_or(decision);
                cache.keep(&query, meant).boxed()
            }
            // Who left has not judged the answer, and a hook that refused it not the decision.
            DecisionSource::Cache
                if wrong && !matches!(progress.outcome, Some(Outcome::Left | Outcome::Refused)) =>
            {
                cache.forget(&query).boxed()
            }
            _ => return,
        };
        let kept = timeout(self.times.save, kept).await;
        if let Err(error) = kept.unwrap_or(Err(store::Error::Slow)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a decision cannot be kept, or taken back"
            );
        }
    }
}

/// Runs `side` for as long as `main` takes, and no longer.
pub(super) async fn beside<A, B>(
    main: impl Future<Output = A>,
    side: impl Future<Output = B>,
) -> (A, Option<B>) {
    let (main, side) = (pin!(main), pin!(side));
    match select(main, side).await {
        Either::Left((done, _)) => (done, None),
        Either::Right((said, main)) => (main.await, Some(said)),
    }
}
