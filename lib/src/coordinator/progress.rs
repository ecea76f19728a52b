//! How far a turn has come, and what that comes to when it ends, well or cut off.

use std::sync::Arc;

use super::budget::Extra;
use super::figures::Marks;
use super::memory::{Entered, Known, Recollection};
use super::part::Part;
use crate::domain::conflict::Conflict;
use crate::domain::conversation::{AgentCall, Last, Outcome};
use crate::domain::experiment::ArmId;
use crate::domain::fact::Fact;
use crate::domain::failure::Code;
use crate::domain::hook::HookCall;
use crate::domain::message::Message;
use crate::domain::plan::{Plan, RoutingDecision, Rung};
use crate::domain::rulebook::Demands;
use crate::domain::run::Kept;
use crate::domain::turn::Given;
use crate::domain::usage::{Step, Tally};
use crate::orchestrate::Guess;
use crate::telemetry;

/// How far a turn has come. It outlives the turn's own future, so that a turn cut off by its deadline still leaves
/// its state and its record.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Default)]
pub(super) struct Progress {
    /// In whose account the turn is: it must leave it, also when it ends before anything else is known.
    pub entered: Arc<Entered>,
    pub recalled: Option<Recollection>,
    /// Who calls, and where the turn is in experiments.
    pub known: Option<Arc<Known>>,
    /// The arms that the turn belongs to.
    pub arms: Vec<ArmId>,
    /// The decision as it was before an experiment put other agents into it.
    pub meant: Option<RoutingDecision>,
    /// How the turn before this one ended, as the routing saw it.
    pub before: Option<Last>,
    pub decision: Option<RoutingDecision>,
    /// What the rules demand, whoever decided.
    pub demands: Demands,
    /// What each rung of the ladder said.
    pub rungs: Vec<Rung>,
    /// The step in which a model of ours is being asked, and has not said yet what it used.
    pub asking: Option<Step>,
    /// The routing model is being asked whether it still decides as before.
    pub checking: bool,
    /// The agent begun on a guess, until it is dropped or becomes the turn's own call.
    pub guess: Option<Guess>,
    /// The calls that were begun on a guess and dropped.
    pub dropped: Vec<AgentCall>,
    /// What the agents were asked in place of the turn's own message, which only said whom to ask, or approved it.
    pub asked: Option<Message>,
    /// The plan of several as it is kept, and what was done of it before this turn.
    pub run: Option<Kept>,
    /// What is kept of the request is another turn's plan.
    pub other_run: bool,
    /// Results of an earlier turn that the plan builds on.
    pub given: Vec<Given>,
    /// What each agent of the plan does.
    pub parts: Vec<Part>,
    /// Every hook that was asked, in order, and what came of it.
    pub hooks: Vec<HookCall>,
    /// What several agents say differently.
    pub conflicts: Vec<Conflict>,
    /// The answer was withheld.
    pub filtered: bool,
    /// So many reports are being looked at for facts.
    pub extracting: usize,
    /// What was found out in this turn that other agents may want to know.
    pub found: Vec<Fact>,
    /// The agents have done what they will do, and there is something to answer from.
    pub reported: bool,
    /// The client has its half of the memory.
    pub stated: bool,
    /// What the budget had no room for.
    pub given_up: Vec<Extra>,
    /// What the user is told of their preferences.
    pub told: Option<String>,
    /// The text the user was shown.
    pub shown: String,
    pub outcome: Option<Outcome>,
    /// Why the turn failed.
    pub error: Option<Code>,
    pub tally: Tally,
    pub marks: Marks,
}

impl Progress {
    /// Says in the turn's span how it ended.
    pub(super) fn trace(&self) {
        let outcome = self.outcome.unwrap_or(Outcome::Failed);
        let source = self.decision.as_ref().map(|decision| decision.source);
        telemetry::ended(
            outcome,
            self.error,
            self.agents().next(),
            source,
            &self.arms,
        );
    }

    /// What was cut off has used something, too, and what of it was shown is known.
    pub(super) fn cut_off(&mut self) {
        if let Some(guess) = self.guess.take() {
            self.dropped(guess);
        }
        self.parts.iter_mut().for_each(Part::cut_off);
        self.gather();
        // What one agent has finished is not lost because of another.
        self.reported |= self.refused_by().is_none() && self.parts.iter().any(|part| part.reported);
        if let Some(step) = self.asking.take() {
            self.tally.add_unknown(step);
        }
        for _ in 0..std::mem::take(&mut self.extracting) {
            self.tally.add_unknown(Step::Facts);
        }
        if std::mem::take(&mut self.checking) {
            self.tally.add_unknown(Step::Route);
        }
        if let [part] = self.parts.as_slice()
            && part.passed
            && !part.held
            && self.shown.is_empty()
        {
            self.shown.clone_from(&part.report.text);
        }
    }

    /// How much of the agents' work is shown, where a rule says so of this turn.
    pub(super) fn show_as_ruled(&mut self, plan: &Plan) {
        let of_agents = plan.agents().next().is_some();
        if let (Some(stages), Some(recalled), true) =
            (self.demands.stages, self.recalled.as_mut(), of_agents)
        {
            recalled.preferences.stages = stages;
        }
    }

    /// How this turn ends, as the next one's routing will see it.
    pub(super) fn last(&self) -> Option<Last> {
        let plan = self.decision.as_ref().map(|decision| &decision.plan);
        match plan {
            Some(Plan::Clarify(_)) => Some(Last {
                agent: None,
                asks: true,
            }),
            // A question about the system changes nothing for the agent that had asked before.
            Some(Plan::About(_) | Plan::Preferences(_) | Plan::Blocked(_)) => self.before.clone(),
            Some(Plan::Single(_) | Plan::Steps(_)) if self.reported => self.last_part(),
            _ => None,
        }
    }
}
