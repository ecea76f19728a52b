//! The agent at work, and the one that is asked in its place when it cannot answer.

use tokio::time::Instant;

use super::figures::DROPPED;
use super::{Coordinator, Progress};
use crate::context;
use crate::domain::agent::{AgentCard, Approval, Effect};
use crate::domain::conversation::AgentCall;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::plan::Assignment;
use crate::domain::turn::{AgentTask, ChatTurn};
use crate::domain::usage::Step;
use crate::orchestrate::{Error, Out, Report};
use crate::stream::{AnswerSink, FinishReason, labels};
use crate::telemetry;

impl Coordinator {
    /// Asks the agent of the assignment, and then those that stand in for it. `Some` ends the turn here: an agent
    /// withheld its answer.
    pub(super) async fn consult(
        &self,
        turn: &ChatTurn,
        mut assignment: Assignment,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<Option<FinishReason>, Failure> {
        let mut instead_of: Option<AgentId> = None;
        let mut budget = self.caps.agent_history;
        loop {
            // The schema and the chain name none but the registry's agents.
            let (Some(card), Some(recalled)) = (
                self.registry.get(assignment.agent.as_str()),
                &progress.recalled,
            ) else {
                return Err(Failure::internal(&turn.id.reference()));
            };
            let task = context::view(turn, &recalled.memory, card, &assignment, budget);
            let (pruned, history) = (task.pruned, task.history.len());
            let called = self
                .call(card, task, instead_of.as_ref(), sink, progress)
                .await;
            if pruned {
                progress.marks.pruned.push(Step::Agent);
            }
            let Err(error) = called else {
                return Ok(None);
            };
            tracing::warn!(
                agent.id = %card.id, error = &error as &dyn std::error::Error,
                error.reference = turn.id.reference(), "the agent failed"
            );
            if error.is_filtered() {
                return Ok(Some(FinishReason::ContentFilter));
            }
            // An agent that only reads is told half of its history where all of it is too long.
            let again = error.is_too_long() && card.effect == Effect::None && history > 0;
            if again && budget == self.caps.agent_history && nothing_seen(&progress.report) {
                budget = card.history.bytes.map_or(budget, |own| own.min(budget)) / 2;
                continue;
            }
            let Some(fallback) = self.stand_in(card, &error, progress) else {
                return Err(failed(turn, card, &error));
            };
            instead_of = Some(std::mem::replace(&mut assignment.agent, fallback));
        }
    }

    /// One call, from the moment that it begins, or goes on if it was begun on a guess.
    async fn call(
        &self,
        card: &AgentCard,
        task: AgentTask,
        instead_of: Option<&AgentId>,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        progress.agent = Some(card.id.clone());
        progress.report = Report::default();
        progress.counted = false;
        progress.marks.stage();
        let guess = progress.guess.take().filter(|guess| guess.agent == card.id);
        let begun = guess
            .as_ref()
            .map_or_else(Instant::now, |guess| guess.begun);
        progress.passed = self.passes(card);
        let out = Out {
            sink,
            answers: progress.passed,
        };
        let events = match guess {
            Some(guess) => Ok(guess.adopt()),
            None => self.agents.begin(&card.id, task),
        };
        let called = match events {
            Ok(events) => {
                let show = (self.agents).show(card, events, instead_of, out, &mut progress.report);
                telemetry::within(telemetry::agent(&card.id), show).await
            }
            Err(error) => Err(error),
        };
        if out.answers {
            progress.shown.push_str(&progress.report.text);
            if called.is_err() && !progress.report.text.is_empty() {
                progress.shown.push_str(labels::PARTIAL);
            }
        }
        progress.marks.agent = Some(progress.marks.agent.unwrap_or_default() + begun.elapsed());
        progress.count();
        progress.calls.push(AgentCall {
            agent: card.id.clone(),
            outcome: called
                .as_ref()
                .map_or_else(Error::word, |()| "answered")
                .into(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        called
    }

    /// Who is asked instead: only when the agent has surely changed nothing and nothing of an answer was shown.
    fn stand_in(&self, card: &AgentCard, error: &Error, progress: &Progress) -> Option<AgentId> {
        let report = &progress.report;
        let harmless = error.is_unasked() || card.effect == Effect::None;
        let unseen = nothing_seen(report);
        // An agent that was begun on a guess and dropped has not been asked.
        let calls = || progress.calls.iter().filter(|call| call.outcome != DROPPED);
        let asked = |agent: &AgentId| calls().any(|call| call.agent == *agent);
        (card.fallback.clone())
            .filter(|_| harmless && unseen && calls().count() < self.caps.calls)
            .filter(|agent| !asked(agent))
            // Consent was given for one agent, or was not needed.
            .filter(|agent| {
                let card = self.registry.get(agent.as_str());
                card.is_some_and(|card| card.approval == Approval::Never)
            })
    }

    /// What the agent of this turn may have changed.
    pub(super) fn effect(&self, progress: &Progress) -> Effect {
        (progress.agent.as_ref())
            .and_then(|agent| self.registry.get(agent.as_str()))
            .map_or(Effect::None, |card| card.effect)
    }
}

/// Nothing of the agent's answer was shown.
fn nothing_seen(report: &Report) -> bool {
    report.text.is_empty() && report.attachments.is_empty() && !report.form
}

/// What the user is told.
fn failed(turn: &ChatTurn, card: &AgentCard, error: &Error) -> Failure {
    let effect = if error.is_unasked() {
        Effect::None
    } else {
        card.effect
    };
    // A call ends with the turn: then it is the turn that had no time, not the agent that was silent.
    if error.is_timeout() && Instant::now() >= turn.deadline {
        return out_of_time(turn, effect);
    }
    let (advice, reference) = (labels::advice(effect), turn.id.reference());
    let agent = &card.id;
    if error.is_timeout() {
        return Failure::new(
            Code::AgentTimeout,
            format!("agent {agent} did not answer in time, reference {reference}"),
            labels::agent_timeout(agent, advice, &reference),
        );
    }
    Failure::new(
        Code::AgentUnavailable,
        format!("agent {agent} failed, reference {reference}"),
        match error.display_message() {
            Some(said) => labels::agent_said(agent, &said, advice, &reference),
            None if error.is_resting() => labels::agent_resting(agent, &reference),
            None => labels::agent_unavailable(agent, advice, &reference),
        },
    )
}

pub(super) fn out_of_time(turn: &ChatTurn, effect: Effect) -> Failure {
    let reference = turn.id.reference();
    Failure::new(
        Code::DeadlineExceeded,
        format!("the turn's time was used up, reference {reference}"),
        labels::deadline(labels::advice(effect), &reference),
    )
}
