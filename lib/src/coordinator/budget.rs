//! What a turn's budget has room for: extras are given up in a fixed order, and what was given up is said.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::consult::Job;
use super::part::Part;
use super::{Coordinator, Progress};
use crate::domain::budget::{Allowance, Budget, Estimate};
use crate::domain::day::Day;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::phrase::Phrase;
use crate::domain::preference::Preferences;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::{Step, StepUsage, Tally, Usage, cost};
use crate::stream::labels;

/// As long as nothing is known, a summary is thought to take so long.
const SYNTHESIS: Duration = Duration::from_secs(5);
/// Bytes of a token, and the fewest tokens of an answer, where nothing is known.
const BYTES: u64 = 4;
const FEWEST: u64 = 100;
/// What a prompt has beside the conversation and the report, in bytes.
const FRAME: u64 = 1000;

/// What a turn can do without, in the order in which it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extra {
    /// Asking the model whether it still decides as before.
    Comparison,
    /// An agent begun on a guess.
    Guess,
    Synthesis,
}

/// What steps took of late, in this process.
#[derive(Debug, Default)]
pub struct Experience(Mutex<HashMap<(Step, Option<AgentId>), Estimate>>);

impl Experience {
    fn of(&self, step: Step, agent: Option<&AgentId>) -> Estimate {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&(step, agent.cloned()))
            .copied()
            .unwrap_or_default()
    }

    /// What is new counts for a quarter.
    fn learn(&self, step: Step, agent: Option<AgentId>, new: Estimate) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = known.entry((step, agent)).or_default();
        let mean = |old: Option<u64>, new: Option<u64>| match (old, new) {
            (Some(old), Some(new)) => Some((old.saturating_mul(3).saturating_add(new)) / 4),
            (old, new) => new.or(old),
        };
        *old = Estimate {
            cost: mean(old.cost, new.cost),
            tokens: mean(old.tokens, new.tokens),
            time: match (old.time, new.time) {
                (Some(old), Some(new)) => Some((old * 3 + new) / 4),
                (old, new) => new.or(old),
            },
        };
    }
}

impl Coordinator {
    /// What the turn may use: the least of what the request, its user and the service say.
    pub(super) fn budget(&self, turn: &ChatTurn, progress: &Progress) -> Budget {
        self.budget_of(turn, &progress.wanted())
    }

    /// The same for somebody with these preferences.
    pub(super) fn budget_of(&self, turn: &ChatTurn, preferences: &Preferences) -> Budget {
        let own = Budget {
            dollars: preferences.spend_per_turn,
            ..Budget::default()
        };
        turn.budget.least(own).least(self.budget)
    }

    pub(super) fn allowance(&self, budget: Budget) -> Allowance<'_> {
        Allowance {
            budget,
            prices: &self.prices,
            day: Day::of(self.guard.now()),
        }
    }

    /// Whether the budget has room for an extra beside what the turn needs, with this agent.
    pub(super) fn has_room(
        &self,
        turn: &ChatTurn,
        extra: Extra,
        agent: Option<&AgentId>,
        progress: &Progress,
    ) -> bool {
        let mut budget = self.budget(turn, progress);
        let route = self.experience.of(Step::Route, None);
        let work = self.experience.of(Step::Agent, agent);
        let synthesis = self.synthesis_to_come(turn, progress);
        let needed = match extra {
            Extra::Comparison => route.and(work).and(synthesis),
            Extra::Guess => route.and(work).and(work).and(synthesis),
            Extra::Synthesis => synthesis,
        };
        if extra == Extra::Synthesis && synthesis.cost.is_none() {
            // Nobody knows what it costs: money is no reason to leave it out.
            budget.dollars = None;
        }
        let left = turn.deadline.saturating_duration_since(Instant::now());
        let late = extra == Extra::Synthesis
            && budget.time().is_some()
            && synthesis.time.unwrap_or(SYNTHESIS) > left;
        let allowance = self.allowance(budget);
        !late && (!budget.is_of_cost() || allowance.has_room(&progress.tally, needed))
    }

    /// No call may be begun once the budget is used up.
    pub(super) fn keep_budget(
        &self,
        turn: &ChatTurn,
        agent: &AgentId,
        progress: &Progress,
    ) -> Result<(), Failure> {
        if !self.is_used_up(turn, progress) {
            return Ok(());
        }
        let reference = turn.id.reference();
        Err(Failure::new(
            Code::RateLimitExceeded,
            format!("the turn's budget is used up, reference {reference}"),
            labels::budget_used_up(agent, &reference),
        ))
    }

    pub(super) fn is_used_up(&self, turn: &ChatTurn, progress: &Progress) -> bool {
        let allowance = self.allowance(self.budget(turn, progress));
        allowance.is_used_up(&progress.tally)
    }

    /// Whether a part has used up what the turn had left.
    pub(super) fn has_used_up(&self, job: Job<'_>, part: &Part) -> bool {
        let mut tally = job.spent.clone();
        tally.merge(&part.tally);
        self.allowance(job.budget).is_used_up(&tally)
    }

    /// Whether the budget has room for all these agents, and for an answer from what they report.
    pub(super) fn has_room_for(
        &self,
        turn: &ChatTurn,
        agents: &[AgentId],
        progress: &Progress,
    ) -> bool {
        let budget = self.budget(turn, progress);
        let needed = (agents.iter())
            .map(|agent| self.experience.of(Step::Agent, Some(agent)))
            .fold(self.synthesis_to_come(turn, progress), Estimate::and);
        !budget.is_of_cost() || self.allowance(budget).has_room(&progress.tally, needed)
    }

    /// Whether the budget has room for another answer of a part's agent, as dear as the last one, and for what is written
    /// from it.
    pub(super) fn has_room_again(&self, job: Job<'_>, part: &Part) -> bool {
        if !job.budget.is_of_cost() {
            return true;
        }
        let Some(agent) = &part.agent else {
            return false;
        };
        let mut last = Tally::default();
        last.add_agent(Step::Agent, agent, &part.report.used);
        let known = self.experience.of(Step::Agent, Some(agent));
        let lines = last.priced(&self.prices, Day::of(self.guard.now()));
        let answer = Estimate {
            cost: cost(&lines).or(known.cost),
            tokens: last.sum().map(|sum| sum.total_tokens).or(known.tokens),
            time: None,
        };
        let needed = if part.passed {
            answer
        } else {
            let reported = part.report.text.len() as u64;
            answer.and(self.synthesis_of(job.turn, reported))
        };
        let mut used = job.spent.clone();
        used.merge(&part.tally);
        self.allowance(job.budget).has_room(&used, needed)
    }

    /// What a summary of what there is will take.
    fn synthesis_to_come(&self, turn: &ChatTurn, progress: &Progress) -> Estimate {
        let reports = progress
            .parts
            .iter()
            .map(|part| part.report.text.len() as u64);
        self.synthesis_of(turn, reports.sum())
    }

    /// What a summary of so many bytes will take: as it was of late, or by the length of what is to be read.
    fn synthesis_of(&self, turn: &ChatTurn, report: u64) -> Estimate {
        let known = self.experience.of(Step::Synthesis, None);
        let read = turn
            .messages
            .iter()
            .map(|message| message.text.len() as u64);
        let history = read.sum::<u64>().min(self.caps.synthesis_history as u64);
        let prompt_tokens = (FRAME + history + report) / BYTES;
        let completion_tokens = (report / BYTES).max(FEWEST);
        let usage = Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        };
        let day = Day::of(self.guard.now());
        Estimate {
            cost: (known.cost).or_else(|| self.prices.of(self.synthesizer.model(), usage, day)),
            tokens: known.tokens.or(Some(usage.total_tokens)),
            time: known.time,
        }
    }

    /// Remembers what the turn's steps took.
    pub(super) fn learn_costs(&self, progress: &Progress) {
        let lines = progress
            .tally
            .priced(&self.prices, Day::of(self.guard.now()));
        let learn = |step: Step, agent: Option<&AgentId>, time: Option<Duration>| {
            let of_step = |line: &&StepUsage| line.step == step && line.agent.as_ref() == agent;
            let lines: Vec<StepUsage> = lines.iter().filter(of_step).cloned().collect();
            if lines.is_empty() {
                return;
            }
            let tokens = lines.iter().filter_map(|line| line.usage);
            let tokens = tokens.map(|usage| usage.total_tokens);
            let new = Estimate {
                cost: cost(&lines),
                tokens: tokens.reduce(u64::saturating_add),
                time,
            };
            self.experience.learn(step, agent.cloned(), new);
        };
        learn(Step::Route, None, Some(progress.marks.route));
        for part in progress.parts.iter().filter(|part| !part.is_reworked()) {
            learn(Step::Agent, part.agent.as_ref(), part.time);
        }
        learn(Step::Synthesis, None, progress.marks.synthesis);
    }
}

/// What was given up before an agent was asked, for the routing stage.
pub(super) fn given_up(progress: &Progress) -> Vec<Phrase> {
    let mut extras = progress.given_up.clone();
    extras.sort_unstable();
    extras.dedup();
    let told = extras.into_iter().filter_map(|extra| match extra {
        Extra::Comparison => Some(labels::no_comparison()),
        Extra::Guess => Some(labels::no_guess()),
        // That is said where it is missing: below the agent's own text.
        Extra::Synthesis => None,
    });
    told.collect()
}
