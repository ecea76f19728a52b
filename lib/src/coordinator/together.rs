//! Several agents in one turn: each at its part as soon as what it waits for is there.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use futures_util::join;
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::consult::Job;
use super::memory::Recollection;
use super::part::Part;
use super::run::{Due, Journal};
use super::{Coordinator, Progress};
use crate::domain::agent::{AgentCard, Effect};
use crate::domain::budget::Budget;
use crate::domain::conversation::Exchange;
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::phrase::Phrase;
use crate::domain::plan::{DecisionSource, RoutingDecision, Step};
use crate::domain::preference::Stages;
use crate::domain::rulebook::Demands;
use crate::domain::turn::{ChatTurn, Given};
use crate::domain::usage::Tally;
use crate::stream::{AnswerSink, FinishReason, Stage, labels, preferences};

/// What a finished step leaves to those that wait for it.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub exchange: Exchange,
    /// The agent's own conversation.
    pub session: Option<String>,
}

/// The steps of one turn, and how far they are.
struct Work<'a> {
    turn: &'a ChatTurn,
    recalled: &'a Recollection,
    sink: &'a AnswerSink,
    decision: Option<&'a RoutingDecision>,
    /// Results of an earlier turn.
    given: &'a [Given],
    stage: &'a Stage,
    budget: Budget,
    spent: &'a Tally,
    until: Instant,
    steps: &'a [Step],
    demands: &'a Demands,
    journal: Journal<'a>,
    /// What each step gave; `None` where it gave nothing.
    done: Vec<SetOnce<Option<Output>>>,
    quorum: Quorum,
}

/// How many answers are enough, and how many there are.
struct Quorum {
    of: usize,
    met: AtomicUsize,
    enough: SetOnce<()>,
}

impl Coordinator {
    /// Carries out a plan of several steps. It goes well if one of them does: what is missing is said in the answer.
    pub(super) async fn together(
        &self,
        turn: &ChatTurn,
        steps: &[Step],
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<Option<FinishReason>, Failure> {
        let begun = Instant::now();
        progress.parts = (steps.iter())
            .map(|step| Part::new(&step.name, step.assignment.clone()))
            .collect();
        progress.marks.stage();
        let budget = self.budget(turn, progress);
        self.leave_out(turn, progress);
        let Some(recalled) = &progress.recalled else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let stage = if recalled.preferences.stages == Stages::None {
            sink.hidden_stage()
        } else {
            sink.open_stage(Some(&labels::plan_stage().told(sink.language())), None)
        };
        stage.text(&labels::plan(steps, sink.language()));
        let work = Work {
            turn,
            recalled,
            sink,
            decision: progress.decision.as_ref(),
            given: &progress.given,
            stage: &stage,
            budget,
            spent: &progress.tally,
            until: self.until(turn),
            steps,
            demands: &progress.demands,
            journal: self.journal(turn, recalled, progress.run.as_ref()),
            done: steps.iter().map(|_| SetOnce::new()).collect(),
            quorum: Quorum::of(progress.quorum()),
        };
        let parts = progress.parts.iter_mut().enumerate();
        let steps = try_join_all(parts.map(|(at, part)| self.step(&work, at, part)));
        let ((), ended) = join!(work.journal.begin(), steps);
        let other_run = work.journal.is_others();
        drop(work);
        progress.other_run = other_run;
        progress.marks.agents = Some(begun.elapsed());
        progress.gather();
        ended?;
        let whole = progress.parts.iter().all(Part::is_settled);
        stage.close(if whole {
            StageStatus::Completed
        } else {
            StageStatus::Failed
        });
        if progress.parts.iter().any(|part| part.reported) {
            return Ok(None);
        }
        let mut failures = progress
            .parts
            .iter_mut()
            .filter_map(|part| part.failure.take());
        let first = failures.next();
        Err(first.unwrap_or_else(|| Failure::internal(&turn.id.reference())))
    }

    /// Of several agents, those for which the budget has no room are left out: never the first. What was done before costs
    /// nothing.
    fn leave_out(&self, turn: &ChatTurn, progress: &mut Progress) {
        let mut agents = Vec::new();
        let room: Vec<bool> = (progress.parts.iter())
            .map(|part| {
                if progress.was_begun(&part.name) {
                    return true;
                }
                agents.push(part.assignment.agent.clone());
                agents.len() == 1 || self.has_room_for(turn, &agents, progress)
            })
            .collect();
        for (part, fits) in progress.parts.iter_mut().zip(room) {
            if !fits {
                part.failure = Some(not_asked(turn, labels::no_room()));
            }
        }
    }

    /// By when agents must have answered, so that there is time to write the answer: one that is late costs nothing of
    /// what the others did.
    fn until(&self, turn: &ChatTurn) -> Instant {
        let left = turn.deadline.saturating_duration_since(Instant::now());
        turn.deadline - (left / 4).min(self.times.model_first_byte)
    }

    /// One step, from the moment that those it waits for are done. An error ends the turn: a hook refused it.
    async fn step(&self, work: &Work<'_>, at: usize, part: &mut Part) -> Result<(), Failure> {
        let given = self.give(work, at, part).await;
        if given.is_err() {
            note(work, at, part).await;
        }
        let output = given?;
        let name = &part.name;
        match &part.failure {
            None => (work.stage).say(match part.time {
                Some(time) => labels::step_took(name, time),
                None => labels::step_kept(labels::quoted(name)),
            }),
            Some(failure) => {
                let language = work.sink.language();
                let line = labels::step_stopped(name, &failure.display, language);
                work.stage.text(&line);
            }
        }
        if output.is_some() {
            work.quorum.count();
        }
        if let Some(done) = work.done.get(at) {
            // Each step ends once.
            let _ = done.set(output);
        }
        note(work, at, part).await;
        Ok(())
    }

    /// What the step gives, or why it gives nothing, in its part.
    async fn give(
        &self,
        work: &Work<'_>,
        at: usize,
        part: &mut Part,
    ) -> Result<Option<Output>, Failure> {
        let Some(step) = work.steps.get(at).filter(|_| part.failure.is_none()) else {
            return Ok(None);
        };
        let turn = work.turn;
        let (given, earlier) = match self.inputs(work, at, step).await {
            Ok(inputs) => inputs,
            Err(why) => {
                part.failure = Some(not_asked(turn, why));
                return Ok(None);
            }
        };
        if let Some(why) = barred(work, &step.assignment.agent) {
            part.failure = Some(not_asked(turn, why));
            return Ok(None);
        }
        let agent = &step.assignment.agent;
        let not_now = match work.journal.due(step).await {
            Due::Nothing(done) => {
                part.restore(*done, work.recalled.preferences.stages, work.sink);
                return Ok(output(turn, part));
            }
            Due::Unknown => Some(labels::may_be_done(agent)),
            // The plan may be older than the registry.
            Due::All => (self.registry.get(agent.as_str()).is_none()).then(|| labels::gone(agent)),
        };
        if let Some(why) = not_now {
            part.failure = Some(not_asked(turn, why));
            return Ok(None);
        }
        let others: Vec<AgentId> = (work.steps.iter())
            .map(|step| step.assignment.agent.clone())
            .collect();
        let job = Job {
            turn,
            recalled: work.recalled,
            sink: work.sink,
            decision: work.decision,
            budget: work.budget,
            spent: work.spent,
            until: work.until,
            given: &given,
            earlier: &earlier,
            others: &others,
            demands: work.demands,
            alone: false,
        };
        let begun = Instant::now();
        let changes = self.line(agent).any(|card| card.effect != Effect::None);
        let consulted = tokio::select! {
            biased;
            consulted = self.consult(job, part, None) => Some(consulted),
            // What changes something is waited for: nobody would know what it did.
            () = work.quorum.enough(), if !changes => None,
        };
        let Some(consulted) = consulted else {
            part.spare(begun.elapsed());
            if !part.go_back() {
                part.failure = Some(not_asked(turn, labels::not_waited_for()));
            }
            return Ok(output(turn, part));
        };
        match consulted {
            Ok(None) => {}
            Ok(Some(_)) => {
                part.failure = Some(not_asked(turn, labels::withheld()));
            }
            Err(refusal) if part.hooks.iter().any(|call| call.said.refuses()) => {
                return Err(refusal);
            }
            Err(failure) => part.failure = Some(failure),
        }
        Ok(output(turn, part))
    }

    /// What a step is told, and what its own agent has done before it, once that is there; or why it cannot be done.
    async fn inputs(
        &self,
        work: &Work<'_>,
        at: usize,
        step: &Step,
    ) -> Result<(Vec<Given>, Vec<Output>), Phrase> {
        let known = (work.given.iter()).filter(|given| step.after.contains(&given.name));
        let (mut given, mut earlier) = (known.cloned().collect::<Vec<_>>(), Vec::new());
        for (other, done) in work.steps.iter().zip(&work.done).take(at) {
            let needed = step.after.contains(&other.name);
            // One agent does one thing after the other.
            let same = other.assignment.agent == step.assignment.agent;
            if !needed && !same {
                continue;
            }
            let Some(output) = done.wait().await else {
                if needed {
                    return Err(labels::step_needs(labels::quoted(&other.name)));
                }
                continue;
            };
            let Exchange { agent, answer, .. } = &output.exchange;
            if needed {
                let gives = |card: &AgentCard| card.facts.gives || *agent == step.assignment.agent;
                if !self.registry.get(agent.as_str()).is_some_and(gives) {
                    return Err(labels::results_stay(agent));
                }
                given.push(self.given(&other.name, agent, answer));
            }
            earlier.push(output.clone());
        }
        Ok((given, earlier))
    }

    /// A result as the next agent is told it.
    pub(super) fn given(&self, name: &str, agent: &AgentId, text: &str) -> Given {
        let end = text.floor_char_boundary(self.caps.given);
        let fitting = text.get(..end).unwrap_or(text);
        let mark = if end < text.len() { "\n[\u{2026}]" } else { "" };
        Given {
            name: name.to_owned(),
            agent: agent.clone(),
            text: format!("{fitting}{mark}").into(),
        }
    }
}

impl Quorum {
    /// Where none is asked for, all are waited for.
    fn of(quorum: Option<usize>) -> Self {
        Self {
            of: quorum.unwrap_or(usize::MAX),
            met: AtomicUsize::new(0),
            enough: SetOnce::new(),
        }
    }

    /// One more answer is there.
    fn count(&self) {
        if self.met.fetch_add(1, Ordering::Relaxed) + 1 == self.of {
            // Counted up to it once.
            let _ = self.enough.set(());
        }
    }

    async fn enough(&self) {
        self.enough.wait().await;
    }
}

/// Keeps what came of a step.
async fn note(work: &Work<'_>, at: usize, part: &Part) {
    if let (Some(step), Some(asked)) = (work.steps.get(at), work.turn.messages.last()) {
        work.journal.end(step, part, asked).await;
    }
}

/// What a part leaves to the steps that wait for it.
fn output(turn: &ChatTurn, part: &Part) -> Option<Output> {
    let exchange = part.exchange(turn.messages.last()?)?;
    Some(Output {
        exchange,
        session: part.report.session.as_ref().map(|(id, _)| id.clone()),
    })
}

/// Why an agent may not be asked at all: the user does not want it, or a rule forbids it.
fn barred(work: &Work<'_>, agent: &AgentId) -> Option<Phrase> {
    if work.recalled.preferences.blocks(agent) {
        return Some(preferences::is_blocked(agent));
    }
    let (_, forbidden) = work.demands.forbids(agent)?;
    Some(labels::forbids(agent, forbidden.say.as_deref()))
}

/// A step whose agent was not asked, or whose answer is not to be had.
fn not_asked(turn: &ChatTurn, why: Phrase) -> Failure {
    let reference = turn.id.reference();
    Failure::new(
        Code::AgentUnavailable,
        format!("a step of the plan was not done, reference {reference}"),
        why,
    )
}

impl Progress {
    /// As many answers are enough, where the rules chose who is asked.
    fn quorum(&self) -> Option<usize> {
        let decision = self.decision.as_ref();
        let ruled = decision.is_some_and(|decision| decision.source == DecisionSource::Rule);
        self.demands.quorum.filter(|_| ruled)
    }

    /// The parts of which there is no answer, and why.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&AgentId, Phrase)> {
        (self.parts.iter())
            .filter(|part| !part.reported)
            .map(|part| {
                let failure = part.failure.as_ref();
                let why =
                    failure.map_or_else(labels::unfinished, |failure| failure.display.clone());
                (&part.assignment.agent, why)
            })
    }
}
