//! What passes from one agent to another: what the rules let through, shown to the user, and what is kept for later.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::consult::Job;
use super::memory::Recollection;
use super::part::reports;
use super::{Coordinator, Progress};
use crate::context::facts as rules;
use crate::domain::fact::Fact;
use crate::domain::ids::AgentId;
use crate::domain::plan::{Assignment, DecisionSource, Plan};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::{Step, Tally};
use crate::facts::Reported;

impl Coordinator {
    /// What agents found out in this conversation, and still holds.
    pub(super) fn facts(&self, turn: &ChatTurn, recalled: &Recollection) -> Vec<Fact> {
        if self.extractor.is_none() {
            return Vec::new();
        }
        rules::known(&recalled.memory.facts, Vec::new(), turn.received_at)
    }

    /// The plan as it may be carried out: each agent gets what it may be told of others, and no more.
    pub(super) fn gated(&self, turn: &ChatTurn, progress: &mut Progress) -> Option<Plan> {
        let decision = progress.decision.as_mut()?;
        let source = decision.source;
        let recalled = progress.recalled.as_ref();
        for assignment in decision.plan.assignments_mut() {
            if let Some(recalled) = recalled {
                let ruled = rules::of_kinds(&recalled.memory.facts, &progress.demands.share);
                assignment.facts = rules::known(&assignment.facts, ruled, turn.received_at);
                self.gate(turn, recalled, assignment, source);
            }
        }
        Some(decision.plan.clone())
    }

    /// Leaves of an assignment what its agent may be told: the facts that it takes, and no words of the router that hold
    /// anything another agent said. Words of other rungs are the administrator's.
    pub(super) fn gate(
        &self,
        turn: &ChatTurn,
        recalled: &Recollection,
        assignment: &mut Assignment,
        source: DecisionSource,
    ) {
        let Some(card) = self.registry.get(assignment.agent.as_str()) else {
            return;
        };
        let now = turn.received_at;
        assignment.facts = rules::allowed(&assignment.facts, card, &self.registry, now);
        let leaks = |words: &String| {
            let (messages, memory) = (&turn.messages, &recalled.memory);
            rules::leaks(words, &card.id, messages, memory, &self.registry)
        };
        if source == DecisionSource::Model && assignment.instructions.as_ref().is_some_and(leaks) {
            tracing::info!(agent.id = %card.id, "the router's words held what another agent said: they are left out");
            assignment.instructions = None;
        }
    }

    /// The same request for an agent that stands in for another: nothing that was for the other one alone.
    pub(super) fn instead(
        &self,
        job: Job<'_>,
        assignment: &Assignment,
        agent: AgentId,
    ) -> Assignment {
        let source = job
            .decision
            .map_or(DecisionSource::Model, |decision| decision.source);
        let mut instead = Assignment {
            agent,
            ..assignment.clone()
        };
        if source == DecisionSource::Approval {
            instead.instructions = None;
        }
        self.gate(job.turn, job.recalled, &mut instead, source);
        instead
    }

    /// The reports that other agents may want to know something of.
    pub(super) fn telling(&self, turn: &ChatTurn, progress: &mut Progress) -> Vec<Reported> {
        // Nobody is told less for it now, so it is no use for a turn that has to save.
        let none = self.extractor.is_none() || turn.what_if;
        if none || self.budget(turn, progress).is_of_cost() {
            return Vec::new();
        }
        let request = (progress.asked.as_ref()).or(turn.messages.last());
        let request = request.map_or("", |asked| asked.text.as_str());
        let telling: Vec<_> = reports(&progress.parts)
            .filter(|(agent, _)| rules::are_wanted_from(&self.registry, agent))
            .map(|(agent, text)| Reported {
                agent: agent.clone(),
                request: request.to_owned(),
                text: text.to_owned(),
            })
            .collect();
        progress.extracting = telling.len();
        telling
    }

    /// Takes facts out of reports, while the answer is being written.
    pub(super) async fn extract(
        &self,
        turn: &ChatTurn,
        telling: Vec<Reported>,
    ) -> (Vec<Fact>, Tally) {
        let (mut facts, mut tally) = (Vec::new(), Tally::default());
        let Some(extractor) = self.extractor.as_ref().filter(|_| !telling.is_empty()) else {
            return (facts, tally);
        };
        let until = turn.deadline.min(Instant::now() + extractor.within());
        let caller = Arc::clone(&turn.caller);
        for reported in &telling {
            let looking = extractor.extract(&caller, reported, turn.received_at, until, &mut tally);
            match timeout_at(until, looking).await {
                Ok(Ok(found)) => facts.extend(found),
                Ok(Err(error)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no facts can be taken out of a report"
                ),
                Err(_) => {
                    tally.add_unknown(Step::Facts);
                    tracing::warn!("there was no time to take facts out of a report");
                }
            }
        }
        (facts, tally)
    }
}

impl Progress {
    /// What is known for other agents from now on.
    pub(super) fn learn_facts(&mut self, (found, tally): (Vec<Fact>, Tally)) {
        self.extracting = 0;
        self.tally.merge(&tally);
        self.found = found;
    }

    /// What is known for other agents after this turn.
    pub(super) fn known_facts(&self, turn: &ChatTurn) -> Vec<Fact> {
        let old = self
            .recalled
            .as_ref()
            .map_or(&[][..], |recalled| &recalled.memory.facts);
        rules::known(old, self.found.clone(), turn.received_at)
    }
}
