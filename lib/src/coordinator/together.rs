//! Several agents in one turn: each at its part as soon as what it waits for is there.

use futures_util::future::try_join_all;
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::consult::Job;
use super::memory::Recollection;
use super::part::Part;
use super::{Coordinator, Progress};
use crate::domain::agent::Approval;
use crate::domain::conversation::Exchange;
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::phrase::Phrase;
use crate::domain::plan::{RoutingDecision, Step};
use crate::domain::rulebook::Demands;
use crate::domain::turn::{ChatTurn, Given};
use crate::stream::{AnswerSink, FinishReason, Stage, labels};

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
    stage: &'a Stage,
    until: Instant,
    steps: &'a [Step],
    demands: &'a Demands,
    /// What each step gave; `None` where it gave nothing.
    done: Vec<SetOnce<Option<Output>>>,
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
        let Some(recalled) = &progress.recalled else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let stage = sink.open_stage(Some(&labels::plan_stage().told(sink.language())), None);
        stage.text(&labels::plan(steps, sink.language()));
        let work = Work {
            turn,
            recalled,
            sink,
            decision: progress.decision.as_ref(),
            stage: &stage,
            until: self.until(turn),
            steps,
            demands: &progress.demands,
            done: steps.iter().map(|_| SetOnce::new()).collect(),
        };
        let parts = progress.parts.iter_mut().enumerate();
        let ended = try_join_all(parts.map(|(at, part)| self.step(&work, at, part))).await;
        drop(work);
        progress.marks.agents = Some(begun.elapsed());
        progress.gather();
        ended?;
        let whole = progress.parts.iter().all(|part| part.failure.is_none());
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

    /// By when agents must have answered, so that there is time to write the answer: one that is late costs nothing of
    /// what the others did.
    fn until(&self, turn: &ChatTurn) -> Instant {
        let left = turn.deadline.saturating_duration_since(Instant::now());
        turn.deadline - (left / 4).min(self.times.model_first_byte)
    }

    /// One step, from the moment that those it waits for are done. An error ends the turn: a hook refused it.
    async fn step(&self, work: &Work<'_>, at: usize, part: &mut Part) -> Result<(), Failure> {
        let output = self.give(work, at, part).await?;
        let name = &part.name;
        match &part.failure {
            None => (work.stage).say(labels::step_took(name, part.time.unwrap_or_default())),
            Some(failure) => {
                let language = work.sink.language();
                let line = labels::step_stopped(name, &failure.display, language);
                work.stage.text(&line);
            }
        }
        if let Some(done) = work.done.get(at) {
            // Each step ends once.
            let _ = done.set(output);
        }
        Ok(())
    }

    /// What the step gives, or why it gives nothing, in its part.
    async fn give(
        &self,
        work: &Work<'_>,
        at: usize,
        part: &mut Part,
    ) -> Result<Option<Output>, Failure> {
        let Some(step) = work.steps.get(at) else {
            return Ok(None);
        };
        let turn = work.turn;
        let (mut given, mut earlier) = (Vec::new(), Vec::new());
        for (other, done) in work.steps.iter().zip(&work.done).take(at) {
            let needed = step.after.contains(&other.name);
            // One agent does one thing after the other.
            let same = other.assignment.agent == step.assignment.agent;
            if !needed && !same {
                continue;
            }
            match done.wait().await {
                Some(output) => {
                    if needed {
                        given.push(self.given(&other.name, output));
                    }
                    earlier.push(output.clone());
                }
                None if needed => {
                    part.failure = Some(not_asked(
                        turn,
                        labels::step_needs(labels::quoted(&other.name)),
                    ));
                    return Ok(None);
                }
                None => {}
            }
        }
        let agent = &step.assignment.agent;
        if let Some((_, forbidden)) = work.demands.forbids(agent) {
            let why = labels::forbids(agent, forbidden.say.as_deref());
            part.failure = Some(not_asked(turn, why));
            return Ok(None);
        }
        if work.demands.wants_approval(agent)
            || (self.registry.get(agent.as_str()))
                .is_some_and(|card| card.approval == Approval::Always)
        {
            let why = labels::step_needs_approval(agent);
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
            until: work.until,
            given: &given,
            earlier: &earlier,
            others: &others,
            demands: work.demands,
            alone: false,
        };
        match self.consult(job, part, None).await {
            Ok(None) => {}
            Ok(Some(_)) => {
                part.failure = Some(not_asked(turn, labels::withheld()));
            }
            Err(refusal) if part.hooks.iter().any(|call| call.said.refuses()) => {
                return Err(refusal);
            }
            Err(failure) => part.failure = Some(failure),
        }
        let exchange = turn.messages.last().and_then(|asked| part.exchange(asked));
        Ok(exchange.map(|exchange| Output {
            exchange,
            session: part.report.session.as_ref().map(|(id, _)| id.clone()),
        }))
    }

    /// A result as the next agent is told it.
    fn given(&self, name: &str, output: &Output) -> Given {
        let text = &output.exchange.answer;
        let end = text.floor_char_boundary(self.caps.given);
        let fitting = text.get(..end).unwrap_or(text);
        let mark = if end < text.len() { "\n[\u{2026}]" } else { "" };
        Given {
            name: name.to_owned(),
            agent: output.exchange.agent.clone(),
            text: format!("{fitting}{mark}").into(),
        }
    }
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
