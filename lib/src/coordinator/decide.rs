//! Who answers: the ladder, beside the memory it may need, and beside an agent that is begun on a guess.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::budget::Extra;
use super::consult::out_of_time;
use super::memory::Known;
use super::memory::Recollection;
use super::{Coordinator, Progress, Verification};
use crate::context;
use crate::domain::agent::{AgentCard, Approval, Effect, Protocol};
use crate::domain::conversation::Last;
use crate::domain::experiment::Placed;
use crate::domain::failure::Failure;
use crate::domain::ids::AgentId;
use crate::domain::plan::{Assignment, RoutingDecision};
use crate::domain::preference::Preferences;
use crate::domain::rulebook::Demands;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Step;
use crate::orchestrate::{Chance, Guess};
use crate::route::{Climb, RouteQuery, Verdict};

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
    /// What the ladder says of a turn that is not taken, and where that is in experiments: no agent is called, nothing is
    /// remembered or counted.
    pub async fn explain(
        &self,
        turn: &ChatTurn,
        verification: Verification,
    ) -> Result<(Verdict, Placed), Failure> {
        let mut progress = Progress::default();
        let turn = &*self.hooks.redacted(turn, &mut progress.hooks);
        let decided = timeout_at(turn.deadline, async {
            let known = Arc::new(self.identify(turn, verification).await?);
            progress.known = Some(Arc::clone(&known));
            let mut verdict = Box::pin(self.decide(turn, &known, false, &mut progress)).await?;
            self.vary(turn, &mut verdict, &mut progress);
            Ok(verdict)
        });
        let verdict = decided
            .await
            .unwrap_or_else(|_| Err(out_of_time(turn, Effect::None)));
        if let Ok(verdict) = &verdict {
            progress.tally.merge(&verdict.tally);
        }
        let until = Instant::now() + self.times.save;
        self.leave(turn, &progress, until).await;
        let placed = progress.placed().cloned().unwrap_or_default();
        verdict.map(|verdict| (verdict, placed))
    }

    /// Asks the hooks that come before the ladder, and the ladder. The memory is there when it has decided.
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
        self.climb(turn, known, guessing, progress).await
    }

    /// Asks the ladder alone.
    ///
    /// It does not wait for the user's preferences: what this process saw of them last is assumed, and where they turn out
    /// to say something else of who is to answer, the ladder is asked anew.
    pub(super) async fn climb(
        &self,
        turn: &ChatTurn,
        known: &Known,
        guessing: bool,
        progress: &mut Progress,
    ) -> Result<Verdict, Failure> {
        let mut assumed = match &progress.recalled {
            Some(recalled) => recalled.preferences.clone(),
            None => self.wanted_of(turn, self.wishes.seen(&known.owner)),
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
        let before = self.before(turn, known, progress).await?;
        progress.before.clone_from(&before);
        if progress.wants_other(assumed) {
            return Ok(None);
        }
        let mut query = self.query(turn, known, before.as_ref(), assumed);
        query.allowance = Some(self.allowance(self.budget_of(turn, assumed)));
        let entered = Arc::clone(&progress.entered);
        let mut recall = Box::pin(self.recollection(turn, known, &entered));

        let begun = self.begin(&query, recall.as_mut(), progress).await?;
        if progress.wants_other(assumed) {
            return Ok(None);
        }
        progress.demands = demanded(begun.demands(), turn);
        let asking = !begun.is_over();
        progress.asking = asking.then_some(Step::Route);
        let mut guessing = guessing && asking && self.may_guess() && as_ever(&known.placed);
        // What agents found out is in the store alone.
        let waits = self.account_first || self.extractor.is_some();
        if asking && waits && progress.recalled.is_none() {
            progress.recalled = Some(recall.as_mut().await?);
        }
        if progress.wants_other(assumed) {
            return Ok(None);
        }
        if asking {
            Self::keep_own_limit(turn, progress)?;
        }
        let recalled = progress.recalled.as_ref().filter(|_| asking);
        let facts = recalled.map_or_else(Vec::new, |recalled| self.facts(turn, recalled));
        let query = RouteQuery {
            facts: &facts,
            ..query
        };
        let verdict = {
            let mut rest = pin!(self.chain.finish(&query, begun));
            loop {
                if guessing && progress.recalled.is_some() {
                    guessing = false;
                    self.begin_guess(turn, before.as_ref(), progress);
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

    /// Asks the rungs that need no model, beside what is loaded. What is there is kept at once: the turn may be cut off at
    /// any moment.
    async fn begin(
        &self,
        query: &RouteQuery<'_>,
        mut recall: Pin<&mut (impl Future<Output = Result<Recollection, Failure>> + Send)>,
        progress: &mut Progress,
    ) -> Result<Climb, Failure> {
        let mut quick = pin!(self.chain.begin(query));
        loop {
            tokio::select! {
                biased;
                begun = &mut quick => return Ok(begun),
                done = &mut recall, if progress.recalled.is_none() => {
                    progress.recalled = Some(done?);
                }
            }
        }
    }

    /// What the rules let be of a decision that no rung made: what they forbid, nobody chooses.
    pub(super) fn ruled(
        &self,
        turn: &ChatTurn,
        known: &Known,
        verdict: Verdict,
        progress: &mut Progress,
    ) -> Verdict {
        let recalled = progress.recalled.as_ref();
        let before = recalled.and_then(|recalled| recalled.memory.last.clone());
        let wanted = progress.wanted();
        let query = self.query(turn, known, before.as_ref(), &wanted);
        let judgement = self.chain.judge(&query);
        progress.demands = demanded(&judgement.demands, turn);
        progress.before = before;
        Verdict {
            decision: judgement.allowed(verdict.decision),
            judgement,
            ..verdict
        }
    }

    /// The same for what was approved, by the rules of now. Nothing is added to it: it is what was shown.
    pub(super) fn still_ruled(
        &self,
        turn: &ChatTurn,
        known: &Known,
        verdict: Verdict,
        progress: &mut Progress,
    ) -> Verdict {
        let request = verdict.decision.request.clone();
        let asking = request.map_or_else(|| turn.clone(), |request| turn.asking(request));
        let verdict = self.ruled(&asking, known, verdict, progress);
        progress.demands.share.clear();
        verdict
    }

    /// How the turn before this one ended.
    async fn before(
        &self,
        turn: &ChatTurn,
        known: &Known,
        progress: &mut Progress,
    ) -> Result<Option<Last>, Failure> {
        if let Some(last) = context::last_turn(turn, &known.recalled) {
            return Ok(last);
        }
        // Only the store can tell.
        if progress.recalled.is_none() {
            self.recall(turn, known, progress).await?;
        }
        let recalled = progress.recalled.as_ref();
        Ok(recalled.and_then(|recalled| recalled.memory.last.clone()))
    }

    /// Begins the likeliest agent, if that pays and the budget has room for it. Nothing is sent before it is polled.
    fn begin_guess(&self, turn: &ChatTurn, before: Option<&Last>, progress: &mut Progress) {
        let Some(recalled) = &progress.recalled else {
            return;
        };
        match self.guess(turn, recalled, before, &progress.demands) {
            Some(Ok(guess)) if !self.has_room(turn, Extra::Guess, Some(&guess.agent), progress) => {
                progress.given_up.push(Extra::Guess);
            }
            Some(Ok(guess)) => progress.guess = Some(guess),
            Some(Err(withheld)) => progress.marks.guess = Some(withheld),
            None => {}
        }
    }

    /// What the ladder is asked.
    pub(super) fn query<'a>(
        &self,
        turn: &'a ChatTurn,
        known: &'a Known,
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
            tenant: known.owner.tenant(),
            roles: &known.roles,
            at: turn.received_at,
            choice: turn.choice.as_ref(),
            last,
            facts: &[],
            judged: None,
            preferences,
            allowance: None,
            placed: Some(&known.placed),
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
            .filter(|card| may_be_guessed(card) && !recalled.preferences.blocks(&card.id))
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
        let task = self.in_their_language(task, card, demands, &recalled.preferences);
        let events = self.agents.begin(&agent, task).ok()?;
        Some(Ok(Guess::new(agent, events)))
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

/// Whether an experiment lets whoever is decided for be whoever is asked.
fn as_ever(placed: &Placed) -> bool {
    placed.routes_as_ever() && placed.variant.agents.is_empty()
}

/// What the rules demand. What they leave open, the request may say.
fn demanded(demands: &Demands, turn: &ChatTurn) -> Demands {
    let mut demands = demands.clone();
    demands.synthesis = demands.synthesis.or(turn.overrides.synthesis);
    demands
}

/// The agent of a decision that leaves the request as it is.
pub(super) fn plainly(decision: &RoutingDecision) -> Option<&AgentId> {
    (decision.assignment())
        .filter(|assignment| assignment.is_plain() && decision.request.is_none())
        .map(|assignment| &assignment.agent)
}

/// An agent that changes nothing, makes no conversation of its own, and that nobody has to approve.
fn may_be_guessed(card: &AgentCard) -> bool {
    card.effect == Effect::None
        && card.approval != Approval::Always
        && matches!(card.protocol, Protocol::Dial | Protocol::Openai)
}
