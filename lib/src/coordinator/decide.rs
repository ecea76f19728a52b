//! Who answers: the ladder, beside the memory it may need, and beside an agent that is begun on a guess.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Extra;
use super::consult::out_of_time;
use super::memory::Known;
use super::{Coordinator, Progress, Recollection, Verification};
use crate::context;
use crate::domain::agent::{AgentCard, Approval, Effect, Protocol};
use crate::domain::budget::Budget;
use crate::domain::conversation::{Last, Outcome};
use crate::domain::failure::Failure;
use crate::domain::ids::AgentId;
use crate::domain::plan::{Assignment, DecisionSource, RoutingDecision};
use crate::domain::preference::Preferences;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Step;
use crate::orchestrate::{Chance, Guess};
use crate::resilience::retry::luck;
use crate::route::{RouteQuery, Verdict};
use crate::store;

/// Why an agent that was begun on a guess was not, or not for this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guessed {
    Adopted,
    Dropped,
    /// Too few guesses were right of late.
    Withheld,
}

impl Guessed {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Dropped => "dropped",
            Self::Withheld => "withheld",
        }
    }
}

impl Coordinator {
    /// What the ladder says of a turn that is not taken: no agent is called, nothing is remembered.
    pub async fn explain(
        &self,
        turn: &ChatTurn,
        verification: Verification,
    ) -> Result<Verdict, Failure> {
        let mut progress = Progress::default();
        let decided = timeout_at(turn.deadline, async {
            let known = self.identify(turn, verification).await?;
            Box::pin(self.decide(turn, &known, false, &mut progress)).await
        });
        let verdict = decided
            .await
            .unwrap_or_else(|_| Err(out_of_time(turn, Effect::None)));
        if let Ok(verdict) = &verdict {
            progress.tally.merge(&verdict.tally);
        }
        let until = Instant::now() + self.times.save;
        self.leave(turn, &progress, until).await;
        verdict
    }

    /// Asks the ladder. The memory is there when it has decided.
    ///
    /// It does not wait for the user's preferences: what this process saw of them last is assumed, and where they turn out
    /// to say something else of who is to answer, the ladder is asked anew.
    pub(super) async fn decide(
        &self,
        turn: &ChatTurn,
        known: &Known,
        guessing: bool,
        progress: &mut Progress,
    ) -> Result<Verdict, Failure> {
        let mut assumed = match &progress.recalled {
            Some(recalled) => recalled.preferences.clone(),
            None => self.wishes.seen(&known.owner),
        };
        loop {
            let decided = self.decide_for(turn, known, guessing, &assumed, progress);
            if let Some(verdict) = Box::pin(decided).await? {
                return Ok(verdict);
            }
            if progress.asking.take().is_some() {
                progress.tally.add_unknown(Step::Route);
            }
            assumed = progress.wanted();
        }
    }

    /// `None` once the user's preferences are known and are not those that were assumed.
    async fn decide_for(
        &self,
        turn: &ChatTurn,
        known: &Known,
        guessing: bool,
        assumed: &Preferences,
        progress: &mut Progress,
    ) -> Result<Option<Verdict>, Failure> {
        let hint = context::last_turn(turn, &known.recalled);
        let before = match hint {
            Some(last) => last,
            // Only the store can tell.
            None => {
                if progress.recalled.is_none() {
                    self.recall(turn, known, progress).await?;
                }
                (progress.recalled.as_ref()).and_then(|recalled| recalled.memory.last.clone())
            }
        };
        progress.before.clone_from(&before);
        if progress.wants_other(assumed) {
            return Ok(None);
        }
        // Their own limit counts once it is known; until then the request's and the service's.
        let budget = turn.budget.least(self.budget).least(Budget {
            dollars: assumed.spend_per_turn,
            ..Budget::default()
        });
        let mut query = self.query(turn, known.owner.tenant(), before.as_ref(), assumed);
        query.allowance = Some(self.allowance(budget));
        let entered = Arc::clone(&progress.entered);
        let mut recall = Box::pin(self.recollection(turn, known, &entered));

        // What is there is kept at once: the turn may be cut off at any moment.
        let begun = {
            let mut quick = pin!(self.chain.begin(&query));
            loop {
                tokio::select! {
                    biased;
                    begun = &mut quick => break begun,
                    done = &mut recall, if progress.recalled.is_none() => {
                        progress.recalled = Some(done?);
                        if progress.wants_other(assumed) {
                            return Ok(None);
                        }
                    }
                }
            }
        };
        let asking = !begun.is_over();
        progress.asking = asking.then_some(Step::Route);
        let mut guessing = guessing && asking;
        if asking && self.account_first && progress.recalled.is_none() {
            progress.recalled = Some(recall.as_mut().await?);
        }
        if progress.wants_other(assumed) {
            return Ok(None);
        }
        if asking {
            Self::keep_own_limit(turn, progress)?;
        }
        let verdict = {
            let mut rest = pin!(self.chain.finish(&query, begun));
            loop {
                if let (true, Some(recalled)) = (guessing, &progress.recalled) {
                    guessing = false;
                    match self.guess(turn, recalled, before.as_ref()) {
                        // Nothing is sent before it is polled.
                        Some(Ok(guess))
                            if !self.has_room(turn, Extra::Guess, Some(&guess.agent), progress) =>
                        {
                            progress.given_up.push(Extra::Guess);
                        }
                        Some(Ok(guess)) => progress.guess = Some(guess),
                        Some(Err(withheld)) => progress.marks.guess = Some(withheld),
                        None => {}
                    }
                }
                let ahead = async {
                    match progress.guess.as_mut() {
                        Some(guess) => guess.read_ahead().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    verdict = &mut rest => break verdict,
                    done = &mut recall, if progress.recalled.is_none() => {
                        progress.recalled = Some(done?);
                        if progress.wants_other(assumed) {
                            return Ok(None);
                        }
                        if asking {
                            Self::keep_own_limit(turn, progress)?;
                        }
                    }
                    () = ahead => {}
                }
            }
        };
        progress.asking = None;
        if progress.recalled.is_none() {
            progress.recalled = Some(recall.await?);
            if progress.wants_other(assumed) {
                progress.tally.merge(&verdict.tally);
                return Ok(None);
            }
        }
        progress.settle(&verdict.decision);
        Ok(Some(verdict))
    }

    /// What the model decided tells what it will decide.
    pub(super) fn learn_likely(&self, progress: &Progress, verdict: &Verdict) {
        // One person's taste tells nothing of what others ask.
        if progress.wanted().steer() {
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

    /// What the ladder is asked.
    pub(super) fn query<'a>(
        &self,
        turn: &'a ChatTurn,
        tenant: &'a str,
        last: Option<&'a Last>,
        preferences: &'a Preferences,
    ) -> RouteQuery<'a> {
        RouteQuery {
            messages: &turn.messages,
            caller: &turn.caller,
            // An answer that trickles in must leave time for the agent.
            deadline: turn
                .deadline
                .min(Instant::now() + self.times.model_first_byte * 2),
            tenant,
            choice: turn.choice.as_ref(),
            last,
            preferences,
            allowance: None,
        }
    }

    /// Begins the likeliest agent, if it only reads; `Err` where guesses do not pay.
    fn guess(
        &self,
        turn: &ChatTurn,
        recalled: &Recollection,
        before: Option<&Last>,
    ) -> Option<Result<Guess, Guessed>> {
        let likely = self.likely.as_ref()?;
        let Chance { agent, pays, .. } =
            likely.agent(before.and_then(|last| last.agent.as_ref()))?;
        let card = self
            .registry
            .get(agent.as_str())
            .filter(|card| may_be_guessed(card) && !recalled.preferences.blocks(&card.id))?;
        if !pays {
            return Some(Err(Guessed::Withheld));
        }
        let task = context::view(
            turn,
            &recalled.memory,
            card,
            &Assignment::plain(&agent),
            self.caps.agent_history,
        );
        let task = self.in_their_language(task, card, &recalled.preferences);
        let events = self.agents.begin(&agent, task).ok()?;
        Some(Ok(Guess::new(agent, events)))
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
        if decision.source != DecisionSource::Cache || turn.caller.depth > 0 || luck() >= share {
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
        let query = self.query(turn, known.owner.tenant(), before.as_ref(), preferences);
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
            .decision
            .as_ref()
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
        let (Some(cache), Some(decision), Some(recalled)) =
            (&self.cache, &progress.decision, &progress.recalled)
        else {
            return;
        };
        let well = !progress.filtered
            && matches!(
                progress.outcome,
                Some(Outcome::Answered | Outcome::AnsweredRaw)
            );
        let own =
            decision.assignment().map(|assignment| &assignment.agent) == progress.agent.as_ref();
        let before = progress.before.as_ref();
        let query = self.query(
            turn,
            recalled.owner().tenant(),
            before,
            &recalled.preferences,
        );
        let wrong = !(well && own) || progress.marks.agrees == Some(false);
        let kept = match decision.source {
            DecisionSource::Model if well && own => cache.keep(&query, decision).boxed(),
            // Who left has not judged the answer.
            DecisionSource::Cache if wrong && progress.outcome != Some(Outcome::Left) => {
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

impl Progress {
    /// Whether what the user wants is known, and says something else of who is to answer.
    fn wants_other(&self, assumed: &Preferences) -> bool {
        (self.recalled.as_ref()).is_some_and(|recalled| !recalled.preferences.steer_like(assumed))
    }

    /// The agent begun on a guess is the turn's own if it is the one decided for, and dropped if not.
    fn settle(&mut self, decision: &RoutingDecision) {
        let Some(guess) = self.guess.take() else {
            return;
        };
        if plainly(decision) == Some(&guess.agent) {
            self.marks.guess = Some(Guessed::Adopted);
            self.marks.saved = Some(guess.begun.elapsed());
            self.guess = Some(guess);
        } else {
            self.dropped(guess);
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

/// The agent of a decision that leaves the request as it is.
fn plainly(decision: &RoutingDecision) -> Option<&AgentId> {
    (decision.assignment())
        .filter(|assignment| assignment.instructions.is_none() && decision.request.is_none())
        .map(|assignment| &assignment.agent)
}

/// An agent that changes nothing, makes no conversation of its own, and that nobody has to approve.
fn may_be_guessed(card: &AgentCard) -> bool {
    card.effect == Effect::None
        && card.approval == Approval::Never
        && card.protocol == Protocol::Dial
}
