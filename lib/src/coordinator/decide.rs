//! Who answers: the ladder, beside the memory it may need, and beside an agent that is begun on a guess.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout, timeout_at};

use super::consult::out_of_time;
use super::memory::Known;
use super::{Coordinator, Progress, Recollection, Verification};
use crate::context;
use crate::domain::access::Role;
use crate::domain::agent::{AgentCard, Approval, Effect, Protocol};
use crate::domain::conversation::{Last, Outcome};
use crate::domain::failure::Failure;
use crate::domain::ids::{AgentId, Owner};
use crate::domain::plan::{Assignment, DecisionSource, RoutingDecision};
use crate::domain::rulebook::Demands;
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
        let turn = &*self.hooks.redacted(turn, &mut progress.hooks);
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
    pub(super) async fn decide(
        &self,
        turn: &ChatTurn,
        known: &Known,
        guessing: bool,
        progress: &mut Progress,
    ) -> Result<Verdict, Failure> {
        if let Some(verdict) = self.preempt(turn, known, progress).await? {
            return Ok(verdict);
        }
        let hint = context::last_turn(turn, &known.recalled);
        let before = match hint {
            Some(last) => last,
            // Only the store can tell.
            None => {
                self.recall(turn, known, progress).await?;
                (progress.recalled.as_ref()).and_then(|recalled| recalled.memory.last.clone())
            }
        };
        progress.before.clone_from(&before);
        let query = self.query(turn, &known.owner, &known.roles, before.as_ref());
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
                    }
                }
            }
        };
        progress.demands = begun.demands().clone();
        let asking = !begun.is_over();
        progress.asking = asking.then_some(Step::Route);
        let mut guessing = guessing && asking && self.may_guess();
        // What agents found out is in the store alone.
        let waits = self.account_first || self.extractor.is_some();
        if asking && waits && progress.recalled.is_none() {
            progress.recalled = Some(recall.as_mut().await?);
        }
        let facts = match &progress.recalled {
            Some(recalled) if asking => self.facts(turn, recalled),
            _ => Vec::new(),
        };
        let query = RouteQuery {
            facts: &facts,
            ..query
        };
        let verdict = {
            let mut rest = pin!(self.chain.finish(&query, begun));
            loop {
                if let (true, Some(recalled)) = (guessing, &progress.recalled) {
                    guessing = false;
                    match self.guess(turn, recalled, before.as_ref(), &progress.demands) {
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
                    }
                    () = ahead => {}
                }
            }
        };
        progress.asking = None;
        if progress.recalled.is_none() {
            progress.recalled = Some(recall.await?);
        }
        progress.settle(&verdict.decision);
        Ok(verdict)
    }

    /// What the model decided tells what it will decide.
    pub(super) fn learn_likely(&self, progress: &Progress, verdict: &Verdict) {
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
        owner: &'a Owner,
        roles: &'a [Role],
        last: Option<&'a Last>,
    ) -> RouteQuery<'a> {
        RouteQuery {
            messages: &turn.messages,
            caller: &turn.caller,
            // An answer that trickles in must leave time for the agent.
            deadline: turn
                .deadline
                .min(Instant::now() + self.times.model_first_byte * 2),
            tenant: owner.tenant(),
            roles,
            at: turn.received_at,
            choice: turn.choice.as_ref(),
            last,
            facts: &[],
            judged: None,
        }
    }

    /// Begins the likeliest agent, if it only reads; `Err` where guesses do not pay.
    fn guess(
        &self,
        turn: &ChatTurn,
        recalled: &Recollection,
        before: Option<&Last>,
        demands: &Demands,
    ) -> Option<Result<Guess, Guessed>> {
        let likely = self.likely.as_ref()?;
        let Chance { agent, pays, .. } =
            likely.agent(before.and_then(|last| last.agent.as_ref()))?;
        let card = self
            .registry
            .get(agent.as_str())
            .filter(|card| may_be_guessed(card))
            .filter(|card| {
                demands.forbids(&card.id).is_none() && !demands.wants_approval(&card.id)
            })?;
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
        let events = self.agents.begin(&agent, task).ok()?;
        Some(Ok(Guess::new(agent, events)))
    }

    /// Whether this decision, made before, is compared with what the model says now.
    pub(super) fn is_checked(&self, turn: &ChatTurn, decision: &RoutingDecision) -> bool {
        let share = f64::from(self.routing.check.unwrap_or(0)) / 100.0;
        // Who comes through an agent has another turn's time to keep.
        decision.source == DecisionSource::Cache && turn.caller.depth == 0 && luck() < share
    }

    /// What the model says now.
    pub(super) async fn second_opinion(
        &self,
        turn: &ChatTurn,
        known: &Known,
        before: Option<Last>,
    ) -> Verdict {
        let query = self.query(turn, &known.owner, &known.roles, before.as_ref());
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
            decision.assignment().map(|assignment| &assignment.agent) == progress.agents().next();
        let query = self.query(turn, recalled.owner(), &[], progress.before.as_ref());
        let wrong = !(well && own) || progress.marks.agrees == Some(false);
        let kept = match decision.source {
            DecisionSource::Model if well && own => cache.keep(&query, decision).boxed(),
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

impl Progress {
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
        .filter(|assignment| assignment.is_plain() && decision.request.is_none())
        .map(|assignment| &assignment.agent)
}

/// An agent that changes nothing, makes no conversation of its own, and that nobody has to approve.
fn may_be_guessed(card: &AgentCard) -> bool {
    card.effect == Effect::None
        && card.approval == Approval::Never
        && matches!(card.protocol, Protocol::Dial | Protocol::Openai)
}
