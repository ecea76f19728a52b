//! The agent at work, and the one that is asked in its place when it cannot answer.

use std::iter::successors;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::memory::Recollection;
use super::part::Part;
use super::together::Output;
use super::{Coordinator, Progress};
use crate::context;
use crate::domain::agent::{AgentCard, Effect};
use crate::domain::budget::Budget;
use crate::domain::conversation::AgentCall;
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::hook::Point;
use crate::domain::ids::AgentId;
use crate::domain::plan::{Assignment, RoutingDecision};
use crate::domain::rulebook::Demands;
use crate::domain::turn::{AgentTask, ChatTurn, Given};
use crate::domain::usage::Tally;
use crate::orchestrate::{Asked, Error, Guess, Out, Report};
use crate::stream::{AnswerSink, FinishReason, checks, labels};
use crate::telemetry;

/// Whom a part is for, and what it may build on.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub turn: &'a ChatTurn,
    pub recalled: &'a Recollection,
    pub sink: &'a AnswerSink,
    pub decision: Option<&'a RoutingDecision>,
    /// What the turn may use, and what it had used before its agents were asked.
    pub budget: Budget,
    pub spent: &'a Tally,
    /// By when the agent must have answered.
    pub until: Instant,
    /// Results that the agent is told.
    pub given: &'a [Given],
    /// What the agents of other parts of this turn have done already.
    pub earlier: &'a [Output],
    /// The agents of the other parts: none of them stands in for another.
    pub others: &'a [AgentId],
    /// What the rules demand.
    pub demands: &'a Demands,
    /// The agent is the only one, so its text may be the answer.
    pub alone: bool,
}

impl Job<'_> {
    /// What the agent is asked: its own history, the request, and what other parts of this turn give it.
    fn task(&self, card: &AgentCard, assignment: &Assignment, budget: usize) -> AgentTask {
        let memory = &self.recalled.memory;
        let mut task = context::view(self.turn, memory, card, assignment, budget);
        task.deadline = self.until;
        task.given = self.given.to_vec();
        for output in self
            .earlier
            .iter()
            .filter(|output| output.exchange.agent == card.id)
        {
            task.history.push(output.exchange.clone());
            if let Some(session) = &output.session {
                task.session = Some(session.clone());
            }
        }
        task
    }
}

impl Coordinator {
    /// One agent answers the whole request. `Some` ends the turn here: it withheld its answer.
    pub(super) async fn alone(
        &self,
        turn: &ChatTurn,
        assignment: Assignment,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<Option<FinishReason>, Failure> {
        progress.parts = vec![Part::new("", assignment)];
        progress.marks.stage();
        let guess = progress.guess.take();
        let budget = self.budget(turn, progress);
        let (Some(recalled), [part]) = (&progress.recalled, progress.parts.as_mut_slice()) else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let job = Job {
            turn,
            recalled,
            sink,
            decision: progress.decision.as_ref(),
            budget,
            spent: &progress.tally,
            until: turn.deadline,
            given: &[],
            earlier: &[],
            others: &[],
            demands: &progress.demands,
            alone: true,
        };
        let consulted = self.consult(job, part, guess).await;
        if part.passed && !part.held {
            progress.shown.push_str(&part.report.text);
            if !part.reported && !part.report.text.is_empty() {
                progress
                    .shown
                    .push_str(&labels::partial().told(sink.language()));
            }
        }
        progress.gather();
        consulted
    }

    /// Asks the agent of a part, once more where a check wants that, and then those that stand in for it. `Some`: an agent
    /// withheld its answer.
    pub(super) async fn consult(
        &self,
        job: Job<'_>,
        part: &mut Part,
        mut guess: Option<Guess>,
    ) -> Result<Option<FinishReason>, Failure> {
        let turn = job.turn;
        let mut assignment = part.assignment.clone();
        let mut instead_of: Option<AgentId> = None;
        let mut budget = self.caps.agent_history;
        loop {
            // The schema and the chain name none but the registry's agents.
            let Some(card) = self.registry.get(assignment.agent.as_str()) else {
                return Err(Failure::internal(&turn.id.reference()));
            };
            let preferences = &job.recalled.preferences;
            let task = job.task(card, &assignment, budget);
            let task = self.in_their_language(task, card, job.demands, preferences);
            let task = self.following(task, job, part);
            let (pruned, history) = (task.pruned, task.history.len());
            part.pruned |= pruned;
            let asking = self.agent_hook(Point::BeforeAgent, job, &assignment, part);
            if let Err(refusal) = asking.await {
                part.untouched = part.calls.is_empty();
                return Err(refusal);
            }
            part.told = assignment.note();
            show_shared(&assignment, job.sink);
            let guess = guess.take().filter(|guess| guess.agent == card.id);
            let called = self
                .call(card, task, guess, instead_of.as_ref(), job, part)
                .await;
            let Err(error) = called else {
                self.agent_hook(Point::AfterAgent, job, &assignment, part)
                    .await?;
                part.reported = true;
                if let Some(again) = self.look_at(card, &assignment, job, part).await {
                    assignment = again;
                    continue;
                }
                show_held(part, job.sink).await;
                return Ok(None);
            };
            tracing::warn!(
                agent.id = %card.id, error = &error as &dyn std::error::Error,
                error.reference = turn.id.reference(), "the agent failed"
            );
            if part.go_back() {
                show_held(part, job.sink).await;
                return Ok(None);
            }
            if error.is_filtered() {
                return Ok(Some(FinishReason::ContentFilter));
            }
            if error.is_empty()
                && let Some(again) = self.look_at_nothing(card, &assignment, job, part)
            {
                assignment = again;
                continue;
            }
            // An agent that only reads is told half of its history where all of it is too long.
            let again = error.is_too_long() && card.effect == Effect::None && history > 0;
            let affordable = !self.has_used_up(job, part);
            let again = again && affordable;
            if again && budget == self.caps.agent_history && nothing_seen(&part.report) {
                budget = card.history.bytes.map_or(budget, |own| own.min(budget)) / 2;
                continue;
            }
            part.untouched = error.is_unasked() && part.calls.len() == 1;
            let stand_in = self.stand_in(card, &error, part, job);
            let Some(fallback) = stand_in.filter(|_| affordable) else {
                return Err(failed(turn, card, &error));
            };
            part.attempts.begin_anew();
            instead_of = Some(card.id.clone());
            // What an agent was told of its own answer is nothing to another one.
            assignment = self.instead(job, &part.assignment, fallback);
        }
    }

    /// One call, from the moment that it begins, or goes on if it was begun on a guess.
    async fn call(
        &self,
        card: &AgentCard,
        task: AgentTask,
        guess: Option<Guess>,
        instead_of: Option<&AgentId>,
        job: Job<'_>,
        part: &mut Part,
    ) -> Result<(), Error> {
        part.begin(&card.id, task.session.as_ref());
        let begun = guess
            .as_ref()
            .map_or_else(Instant::now, |guess| guess.begun);
        let preferences = &job.recalled.preferences;
        part.passed = job.alone && self.passes(card, job.demands, preferences);
        part.held = part.passed && card.checks.hold;
        let out = Out {
            sink: job.sink,
            stages: preferences.stages,
            answers: part.passed && !part.held,
            attached: part.attempts.attached(),
        };
        let language = job.sink.language();
        let why = (part.attempts.because()).map(|failed| checks::wrong(failed).told(language));
        let asked = match (&why, instead_of) {
            (Some(why), _) => Asked::Again(why),
            (None, Some(other)) => Asked::Instead(other),
            (None, None) => Asked::First,
        };
        let events = match guess {
            Some(guess) => Ok(guess.adopt()),
            None => self.agents.begin(&card.id, task),
        };
        let called = match events {
            Ok(events) => {
                let show = (self.agents).show(card, events, asked, out, &mut part.report);
                telemetry::within(telemetry::agent(&card.id), show).await
            }
            Err(error) => Err(error),
        };
        part.time = Some(part.time.unwrap_or_default() + begun.elapsed());
        part.count();
        part.calls.push(AgentCall {
            agent: card.id.clone(),
            outcome: called
                .as_ref()
                .map_or_else(Error::word, |()| "answered")
                .into(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            checked: None,
        });
        called
    }

    /// Who is asked instead: only when the agent has surely changed nothing and nothing of an answer was shown.
    fn stand_in(
        &self,
        card: &AgentCard,
        error: &Error,
        part: &Part,
        job: Job<'_>,
    ) -> Option<AgentId> {
        let harmless = error.is_unasked() || card.effect == Effect::None;
        let unseen = nothing_seen(&part.report);
        let asked = |agent: &AgentId| part.calls.iter().any(|call| call.agent == *agent);
        (card.fallback.clone())
            .filter(|_| harmless && unseen && part.calls.len() < self.caps.calls)
            .filter(|agent| !asked(agent) && !job.others.contains(agent))
            .filter(|agent| !job.recalled.preferences.blocks(agent))
            // Consent was given for one agent, or was not needed.
            .filter(|agent| {
                let instead = self.instead(job, &part.assignment, agent.clone());
                !self.waits(job.turn, &instead, job.demands) && job.demands.forbids(agent).is_none()
            })
    }

    /// Whoever may be asked for a part: its agent, and those who stand in for it.
    pub(super) fn line<'a>(&'a self, agent: &AgentId) -> impl Iterator<Item = &'a AgentCard> {
        let first = self.registry.get(agent.as_str());
        let next = |card: &&'a AgentCard| self.registry.get(card.fallback.as_ref()?.as_str());
        // They may stand in for each other.
        successors(first, next).take(self.caps.calls)
    }

    /// Lets the agents stop whose answers nobody reads to their ends: the turn ended during the call.
    pub(super) async fn abandon(&self, progress: &Progress) {
        let left = progress.parts.iter().filter_map(Part::unread);
        let abandoned = left.map(|(agent, session)| async move {
            let abandoning = self.agents.abandon(agent, session, self.times.save);
            if let Err(error) = abandoning.await {
                tracing::info!(
                    agent.id = %agent, error = &error as &dyn std::error::Error,
                    "the agent could not be told that nobody waits for it"
                );
            }
        });
        join_all(abandoned).await;
    }

    /// The worst that the agents of this turn may have changed.
    pub(super) fn effect(&self, progress: &Progress) -> Effect {
        (progress.agents())
            .filter_map(|agent| self.registry.get(agent.as_str()))
            .map(|card| card.effect)
            .max()
            .unwrap_or(Effect::None)
    }
}

/// The user sees what an agent is told of others' answers.
fn show_shared(assignment: &Assignment, sink: &AnswerSink) {
    if !assignment.facts.is_empty() {
        let name = labels::shared_with(&assignment.agent).told(sink.language());
        let stage = sink.open_stage(Some(&name), None);
        stage.text(&labels::shared(&assignment.facts));
        stage.close(StageStatus::Completed);
    }
}

/// What was held back until it was checked is the answer.
async fn show_held(part: &mut Part, sink: &AnswerSink) {
    if std::mem::take(&mut part.held) {
        sink.stream(&part.report.text).await;
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
