//! The points of a turn at which hooks are asked, and what comes of what they say.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::memory::Known;
use super::{Coordinator, Progress};
use crate::domain::agent::Effect;
use crate::domain::conversation::Outcome;
use crate::domain::failure::{Code, Failure};
use crate::domain::hook::{HookCall, Point};
use crate::domain::ids::AgentId;
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
        assignment: Option<&Assignment>,
        progress: &mut Progress,
    ) -> Result<Option<AgentId>, Failure> {
        if !self.hooks.look_on(at) {
            return Ok(None);
        }
        // Most turns have no hooks: they do not carry this.
        Box::pin(self.ask_hooks(at, turn, assignment, progress)).await
    }

    async fn ask_hooks(
        &self,
        at: Point,
        turn: &ChatTurn,
        assignment: Option<&Assignment>,
        progress: &mut Progress,
    ) -> Result<Option<AgentId>, Failure> {
        let mut calls = Vec::new();
        let ruling = {
            let mut event = self.event(at, turn, progress);
            if let Some(assignment) = assignment {
                event.agent = Some(&assignment.agent);
                event.instructions = assignment.instructions.as_deref();
            }
            if matches!(at, Point::AfterAgent | Point::BeforeSynthesis) {
                event.answer = Some(&progress.report.text);
            }
            self.hooks.ask(&event, turn.deadline, &mut calls).await
        };
        progress.hooks.append(&mut calls);
        let (name, sentence) = match ruling {
            Ruling::On(agent) => return Ok(agent),
            Ruling::Refused(name, sentence) => (name, sentence),
        };
        let reference = turn.id.reference();
        tracing::info!(
            hook.name = &*name,
            hook.point = at.as_str(),
            error.reference = reference,
            "a hook refused the turn"
        );
        // What the agent did is done.
        let done = match at {
            Point::AfterAgent | Point::BeforeSynthesis => self.effect(progress),
            _ => Effect::None,
        };
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
        let chosen = self.hook(Point::BeforeRoute, turn, None, progress).await?;
        Ok(chosen.map(|agent| {
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
        }))
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
            let mut event = self.event(Point::AfterTurn, turn, progress);
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
            event.tenant = recalled.owner().tenant();
            event.person = recalled.pseudonym;
            event.conversation = recalled.memory.conversation.as_str();
        }
        event.decision = progress.decision.as_ref();
        let assignment = event.decision.and_then(RoutingDecision::assignment);
        let decided = assignment.map(|assignment| &assignment.agent);
        event.agent = progress.agent.as_ref().or(decided);
        event.instructions = assignment.and_then(|one| one.instructions.as_deref());
        event.calls = &progress.calls;
        event
    }
}

impl Progress {
    /// The hook that refused the turn.
    pub(super) fn refused_by(&self) -> Option<&Arc<str>> {
        let refused = self.hooks.iter().find(|call| call.said.refuses());
        refused.map(|call| &call.hook)
    }

    /// The turn is refused: the sentence is its answer, after whatever was shown.
    pub(super) fn withhold(&mut self, sink: &AnswerSink, sentence: &str) -> FinishReason {
        if !self.shown.trim().is_empty() {
            self.say(sink, "\n\n");
        }
        self.say(sink, sentence);
        self.filtered = true;
        self.outcome = Some(Outcome::Refused);
        FinishReason::ContentFilter
    }
}
