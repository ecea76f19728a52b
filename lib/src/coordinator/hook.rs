//! The points of a turn at which hooks are asked, and what comes of what they say.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::consult::Job;
use super::memory::{Known, Recollection};
use super::part::{Part, reports};
use super::{Coordinator, Progress};
use crate::domain::agent::Effect;
use crate::domain::conversation::Outcome;
use crate::domain::failure::{Code, Failure};
use crate::domain::hook::{HookCall, Point};
use crate::domain::ids::AgentId;
use crate::domain::phrase::Phrase;
use crate::domain::plan::{Assignment, DecisionSource, RoutingDecision, Rung, RungVerdict};
use crate::domain::turn::ChatTurn;
use crate::hooks::{Event, Ruling};
use crate::route::Verdict;
use crate::stream::{AnswerSink, FinishReason, labels};

/// How long all that is told at a turn's end may take together: less than a turn has whose reader left.
const AFTERWARDS: Duration = Duration::from_secs(2);

impl Coordinator {
    /// Asks the hooks of this point, if there are any. An error ends the turn: one of them refused it. Before the route
    /// one may choose the agent.
    pub(super) async fn hook(
        &self,
        at: Point,
        turn: &ChatTurn,
        progress: &mut Progress,
    ) -> Result<Option<AgentId>, Failure> {
        if !self.hooks.look_on(at) {
            return Ok(None);
        }
        let reported: Vec<&str> = reports(&progress.parts).map(|(_, text)| text).collect();
        let (answer, agents_calls) = (reported.join("\n\n"), progress.calls());
        let mut event = self.event(at, turn, progress);
        event.calls = &agents_calls;
        let mut done = Effect::None;
        if at == Point::BeforeSynthesis {
            event.answer = Some(&answer);
            // What the agents did is done.
            done = self.effect(progress);
        }
        let mut calls = Vec::new();
        // Most turns have no hooks: they do not carry this.
        let ruled = Box::pin(self.ask_hooks(&event, turn, done, &mut calls)).await;
        progress.hooks.append(&mut calls);
        ruled
    }

    /// Asks the hooks that look on at each agent's own part.
    pub(super) async fn agent_hook(
        &self,
        at: Point,
        job: Job<'_>,
        assignment: &Assignment,
        part: &mut Part,
    ) -> Result<(), Failure> {
        if !self.hooks.look_on(at) {
            return Ok(());
        }
        let note = assignment.note();
        let mut calls = Vec::new();
        let mut event = Event::new(at, job.turn, self.guard.now());
        known(&mut event, job.recalled);
        event.decision = job.decision;
        event.agent = Some(&assignment.agent);
        event.instructions = note.as_deref();
        event.calls = &part.calls;
        let mut done = Effect::None;
        if at == Point::AfterAgent {
            event.answer = Some(&part.report.text);
            let card = self.registry.get(assignment.agent.as_str());
            done = card.map_or(Effect::None, |card| card.effect);
        }
        let ruled = Box::pin(self.ask_hooks(&event, job.turn, done, &mut calls)).await;
        part.hooks.append(&mut calls);
        ruled.map(|_| ())
    }

    async fn ask_hooks(
        &self,
        event: &Event<'_>,
        turn: &ChatTurn,
        done: Effect,
        calls: &mut Vec<HookCall>,
    ) -> Result<Option<AgentId>, Failure> {
        let ruling = self.hooks.ask(event, turn.deadline, calls).await;
        let (name, sentence) = match ruling {
            Ruling::On(agent) => return Ok(agent),
            Ruling::Refused(name, sentence) => (name, sentence),
        };
        let reference = turn.id.reference();
        tracing::info!(
            hook.name = &*name,
            hook.point = event.at.as_str(),
            error.reference = reference,
            "a hook refused the turn"
        );
        Err(Failure::new(
            Code::Forbidden,
            format!("the hook {name} refused it, reference {reference}"),
            labels::refused(sentence.as_deref(), done, &reference),
        ))
    }

    /// Asks the hooks that come before the ladder; `Some` where one of them has decided.
    pub(super) async fn preempt(
        &self,
        turn: &ChatTurn,
        known: &Known,
        progress: &mut Progress,
    ) -> Result<Option<Verdict>, Failure> {
        if !self.hooks.look_on(Point::BeforeRoute) {
            return Ok(None);
        }
        // Whoever is over a limit gets no hook's time.
        self.recall(turn, known, progress).await?;
        let begun = Instant::now();
        let chosen = self.hook(Point::BeforeRoute, turn, progress).await?;
        let chosen = chosen.map(|agent| {
            let why = "a hook of the administrator chose the agent";
            let mut verdict =
                Verdict::of(RoutingDecision::plain(&agent, DecisionSource::Hook, why));
            verdict.rungs.push(Rung {
                name: Cow::Borrowed("hook"),
                verdict: RungVerdict::Decided,
                reason: Cow::Borrowed(""),
                micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            });
            verdict
        });
        Ok(chosen.map(|verdict| self.ruled(turn, known, verdict, progress)))
    }

    /// What a hook has still to look at reaches no agent.
    pub(super) fn may_guess(&self) -> bool {
        ![Point::AfterRoute, Point::BeforeAgent]
            .map(|at| self.hooks.look_on(at))
            .contains(&true)
    }

    /// Tells the hooks how a verified caller's turn ended, beside its saving. What is kept for ending a turn well is for
    /// more than them.
    pub(super) async fn tell_hooks(
        &self,
        turn: &ChatTurn,
        progress: &Progress,
        begun: Instant,
    ) -> Vec<HookCall> {
        let mut calls = Vec::new();
        if self.hooks.look_on(Point::AfterTurn) && progress.recalled.is_some() {
            let agents_calls = progress.calls();
            let mut event = self.event(Point::AfterTurn, turn, progress);
            event.calls = &agents_calls;
            event.answer = Some(&progress.shown);
            event.outcome = Some(progress.outcome.unwrap_or(Outcome::Failed));
            event.error = progress.error;
            event.elapsed = begun.elapsed();
            let reserve = self.times.turn_reserve.mul_f64(2.0 / 3.0);
            let until = Instant::now() + reserve.min(AFTERWARDS);
            Box::pin(self.hooks.ask(&event, until, &mut calls)).await;
        }
        calls
    }

    /// The turn as far as it has come.
    fn event<'a>(&self, at: Point, turn: &'a ChatTurn, progress: &'a Progress) -> Event<'a> {
        let mut event = Event::new(at, turn, self.guard.now());
        if let Some(recalled) = &progress.recalled {
            known(&mut event, recalled);
        }
        event.decision = progress.decision.as_ref();
        let assignment = event.decision.and_then(RoutingDecision::assignment);
        let decided = assignment.map(|assignment| &assignment.agent);
        event.agent = progress.agents().next().or(decided);
        event.instructions = assignment.and_then(|one| one.instructions.as_deref());
        event
    }
}

/// Whose turn it is, and in which conversation.
fn known<'a>(event: &mut Event<'a>, recalled: &'a Recollection) {
    event.tenant = recalled.owner().tenant();
    event.person = recalled.pseudonym;
    event.conversation = recalled.memory.conversation.as_str();
}

impl Progress {
    /// The hook that refused the turn.
    pub(super) fn refused_by(&self) -> Option<&Arc<str>> {
        let refused = self.hooks.iter().find(|call| call.said.refuses());
        refused.map(|call| &call.hook)
    }

    /// The turn is refused: the sentence is its answer, after whatever was shown.
    pub(super) fn withhold(&mut self, sink: &AnswerSink, sentence: &Phrase) -> FinishReason {
        if !self.shown.trim().is_empty() {
            self.say(sink, "\n\n");
        }
        self.say(sink, &sentence.told(sink.language()));
        self.filtered = true;
        self.outcome = Some(Outcome::Refused);
        FinishReason::ContentFilter
    }
}
