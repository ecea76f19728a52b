//! What experiments do to a turn: where it is in them, who is asked in whose place, and what of it is counted.

use tokio::time::{Instant, timeout};

use super::figures::{DROPPED, SPARED};
use super::{Coordinator, Progress};
use crate::context;
use crate::domain::access::Role;
use crate::domain::conversation::{AgentCall, Outcome, Recalled};
use crate::domain::experiment::{ArmId, Placed};
use crate::domain::ids::{AgentId, Owner};
use crate::domain::plan::{Assignment, DecisionSource, Plan, RungVerdict};
use crate::domain::situation::{Asked, Files, Situation};
use crate::domain::trial::{Counts, Sum};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::cost;
use crate::route::Verdict;

/// A call that went as it should, or was nobody's fault.
const FINE: [&str; 3] = ["answered", DROPPED, SPARED];

impl Coordinator {
    /// Where a turn is in experiments. One that comes through an agent is in none, since it is another turn's, nor is one that
    /// only asks what would happen.
    pub(super) async fn place(
        &self,
        turn: &ChatTurn,
        owner: &Owner,
        roles: &[Role],
        recalled: &[Recalled],
    ) -> Placed {
        if self.experiments.is_empty() || turn.caller.depth > 0 || turn.what_if {
            return Placed::default();
        }
        let last = turn.messages.last();
        // Nobody waits for the store: what the client does not tell of the turn before is not known here.
        let before = context::last_turn(turn, recalled).flatten();
        let before = before.as_ref().and_then(|last| last.agent.as_ref());
        let situation = Situation::new(Asked {
            text: last.map_or("", |last| last.text.as_str()),
            files: Files::Sent(last.map_or(&[], |last| &last.attachments)),
            tenant: owner.tenant(),
            roles,
            previous: before.map(AgentId::as_str),
            depth: 0,
            at: turn.received_at,
            language: None,
        });
        let conversation = turn.caller.conversation.as_deref();
        let place = self.experiments.place(&situation, owner, conversation);
        Box::pin(place).await
    }

    /// The decision with the agents of the turn's arms in it. Who was named is asked, and what was approved is done.
    ///
    /// What the rules demand of an agent, and whether what it would do is approved first, holds for whoever is in its place.
    pub(super) fn vary(&self, turn: &ChatTurn, verdict: &mut Verdict, progress: &mut Progress) {
        let Some(known) = progress.known.clone() else {
            return;
        };
        let placed = &known.placed;
        let source = verdict.decision.source;
        // It was decided before, with the agents of its arms in it, perhaps in one that the turn is in no more.
        let goes_on = progress.run.is_some();
        let stands: Vec<(AgentId, AgentId)> = match source {
            DecisionSource::Explicit => return,
            _ if goes_on || source == DecisionSource::Approval => {
                let all = self.experiments.stand_ins();
                all.map(|(of, by)| (of.clone(), by.clone())).collect()
            }
            _ => placed.stands.clone(),
        };
        for (of, by) in &stands {
            verdict.judgement.demands.stand_in(of, by);
            progress.demands.stand_in(of, by);
        }
        if source == DecisionSource::Sticky {
            self.bring_back(placed, verdict);
        }
        let decision = verdict.decision.clone();
        verdict.decision = verdict.judgement.allowed(decision);
        progress.arms = placed.arms(Some(&verdict.decision.plan));
        if source == DecisionSource::Approval || stands.is_empty() {
            return;
        }
        if !goes_on {
            progress.meant = Some(verdict.decision.clone());
            swap(placed, &mut verdict.decision.plan, progress);
        }
        let request = verdict.decision.request.clone();
        let asking = request.map_or_else(|| turn.clone(), |request| turn.asking(request));
        for assignment in verdict.decision.plan.assignments_mut() {
            let by = assignment.agent.clone();
            let standing = stands.iter().filter(|(_, other)| *other == by);
            for (of, _) in standing {
                let own = Assignment {
                    agent: of.clone(),
                    ..assignment.clone()
                };
                if self.needs_approval(&asking, &own, &progress.demands) {
                    progress.demands.demand_approval(&by);
                }
            }
        }
    }

    /// A reply to an agent whose arm was stopped goes to the one in whose place it was; unless it answers in its own right,
    /// too.
    fn bring_back(&self, placed: &Placed, verdict: &mut Verdict) {
        for assignment in verdict.decision.plan.assignments_mut() {
            let by = &assignment.agent;
            let listed = self
                .registry
                .get(by.as_str())
                .is_some_and(|card| card.listed);
            let stopped = |(of, other): &&(AgentId, AgentId)| {
                other == by && placed.variant.agents.get(of) != Some(other)
            };
            let of = placed.stands.iter().find(stopped).filter(|_| !listed);
            if let Some((of, _)) = of {
                assignment.agent = of.clone();
            }
        }
    }

    /// Counts the turn for its arms, beside its saving. Gives back those that it has stopped.
    pub(super) async fn count(&self, progress: &Progress, begun: Instant) -> Vec<ArmId> {
        // What an owner's limit keeps out is no turn: it tells nothing of an arm.
        if progress.arms.is_empty() || progress.entered.owner().is_none() {
            return Vec::new();
        }
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let spend = cost(&self.priced(progress));
        let source = progress.decision.as_ref().map(|decision| decision.source);
        let counts = Counts {
            turns: 1,
            failures: u64::from(progress.has_failed()),
            clarified: u64::from(progress.outcome == Some(Outcome::Clarified)),
            defaulted: u64::from(source == Some(DecisionSource::Default)),
            time: Sum::of(took),
            spend: spend.map_or_else(Sum::default, Sum::of),
            priced: u64::from(spend.is_some()),
        };
        let counting = self.experiments.count(&progress.arms, &counts);
        let counted = timeout(self.times.save, Box::pin(counting)).await;
        counted.unwrap_or_default()
    }
}

/// Puts the agents of a turn's arms into its plan, where they may be.
fn swap(placed: &Placed, plan: &mut Plan, progress: &Progress) {
    let (wanted, recalled) = (progress.wanted(), progress.recalled.as_ref());
    let demands = &progress.demands;
    placed.variant.swap(plan, |one, other| {
        let answered = |agent: &AgentId| {
            let memory = recalled.map(|recalled| &recalled.memory.exchanges);
            memory.is_some_and(|all| all.iter().any(|one| one.agent == *agent))
        };
        // It would know nothing of what was said before.
        let amid = answered(&one.agent) && !answered(other);
        demands.forbids(other).is_none() && !wanted.blocks(other) && !amid
    });
}

impl Progress {
    /// Where the turn is in experiments.
    pub(super) fn placed(&self) -> Option<&Placed> {
        self.known.as_ref().map(|known| &known.placed)
    }

    /// Whether a part of the turn failed, also where something stood in for it.
    pub(super) fn has_failed(&self) -> bool {
        let failed = |call: &AgentCall| !FINE.contains(&&*call.outcome);
        let unsaid = matches!(
            self.outcome,
            Some(Outcome::Failed | Outcome::AnsweredRaw) | None
        );
        let undecided = (self.rungs.iter())
            .any(|rung| rung.name == "model" && rung.verdict == RungVerdict::Failed);
        unsaid || undecided || self.calls().iter().any(failed)
    }
}
