//! What a turn is measured by, and what the log says of it.

use std::time::Duration;

use tokio::time::Instant;

use super::decide::Guessed;
use super::{Coordinator, Progress};
use crate::domain::conversation::{AgentCall, Outcome};
use crate::domain::day::Day;
use crate::domain::experiment::ArmId;
use crate::domain::failure::Code;
use crate::domain::ids::AgentId;
use crate::domain::plan::Plan;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Step;
use crate::metrics::Figures;
use crate::orchestrate::Guess;
use crate::store::chain::Anchor;
use crate::stream::AnswerSink;
use crate::telemetry;

/// What came of a call that was given up before anything of it was used.
pub(super) const DROPPED: &str = "dropped";
/// What came of a call that nobody waited for, since enough others had answered.
pub(super) const SPARED: &str = "spared";

/// When what happened, counted from the turn's beginning, and what became of a guess.
#[derive(Debug)]
pub(super) struct Marks {
    begun: Instant,
    pub first_byte: Option<Duration>,
    pub first_stage: Option<Duration>,
    pub route: Duration,
    /// How long several agents were at work together.
    pub agents: Option<Duration>,
    pub synthesis: Option<Duration>,
    pub store: Duration,
    pub guess: Option<Guessed>,
    /// How long the adopted agent had been at work.
    pub saved: Option<Duration>,
    /// Whether the model still says what was decided before.
    pub agrees: Option<bool>,
    /// Where a history was cut.
    pub pruned: Vec<Step>,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            first_byte: None,
            first_stage: None,
            route: Duration::ZERO,
            agents: None,
            synthesis: None,
            store: Duration::ZERO,
            guess: None,
            saved: None,
            agrees: None,
            pruned: Vec::new(),
        }
    }
}

impl Marks {
    /// An agent's stage opens.
    pub fn stage(&mut self) {
        let begun = self.begun;
        self.first_stage.get_or_insert_with(|| begun.elapsed());
    }
}

impl Progress {
    /// An agent that was begun on a guess is given up: nothing of it stays but what it cost.
    pub(super) fn dropped(&mut self, guess: Guess) {
        self.marks.guess = Some(Guessed::Dropped);
        (self.tally).add_agent(Step::Speculation, &guess.agent, &guess.used());
        self.dropped.push(AgentCall {
            duration_ms: u64::try_from(guess.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            agent: guess.agent,
            outcome: DROPPED.into(),
            checked: None,
        });
    }
}

impl Coordinator {
    /// Hands everything that is counted to the metrics.
    pub(super) fn measure(
        &self,
        sink: &AnswerSink,
        progress: &Progress,
        stopped: &[ArmId],
        begun: Instant,
    ) {
        let marks = &progress.marks;
        let decision = progress.decision.as_ref();
        let agent = decision.and_then(|decision| match &decision.plan {
            Plan::Single(assignment) => Some(assignment.agent.as_str()),
            Plan::Steps(_) => Some("several"),
            Plan::About(_)
            | Plan::Clarify(_)
            | Plan::Refused(_)
            | Plan::Preferences(_)
            | Plan::Blocked(_) => None,
        });
        let calls = progress.calls();
        let worked = progress.parts.iter().filter_map(|part| part.time).max();
        let lines = progress
            .tally
            .priced(&self.prices, Day::of(self.guard.now()));
        self.metrics.turn(&Figures {
            now: self.guard.now(),
            tenant: (progress.recalled.as_ref()).map(|recalled| recalled.owner().tenant()),
            outcome: progress.outcome.unwrap_or(Outcome::Failed),
            source: decision.map(|decision| decision.source),
            agent,
            is_default: agent == Some(self.registry.default_agent().id.as_str()),
            kept: decision.and_then(|decision| decision.kept),
            rungs: &progress.rungs,
            calls: &calls,
            hooks: &progress.hooks,
            whole: begun.elapsed(),
            first_byte: marks.first_byte,
            first_stage: marks.first_stage,
            first_text: sink.spoke_at().map(|at| at.duration_since(begun)),
            stages: &[
                ("route", Some(marks.route)),
                ("agent", marks.agents.or(worked)),
                ("synthesis", marks.synthesis),
                ("store", Some(marks.store)),
            ],
            guess: marks.guess.map(Guessed::as_str),
            saved: marks.saved,
            agrees: marks.agrees,
            pruned: &marks.pruned,
            usage: &lines,
            breakers: self.guard.states(),
            arms: &progress.arms,
            arms_result: if progress.has_failed() {
                "failed"
            } else {
                "well"
            },
            stopped,
        });
    }
}

/// One line per turn: ids, words and times, never content.
pub(super) fn log(progress: &Progress, registry: &str, anchor: Option<&Anchor>, begun: Instant) {
    tracing::event!(
        target: telemetry::ENDED,
        tracing::Level::INFO,
        route.agent = progress.agents().next().map(AgentId::as_str),
        route.source = progress.decision.as_ref().map(|decision| decision.source.as_str()),
        registry.version = registry,
        experiment.arms = (!progress.arms.is_empty()).then(|| arms(progress)),
        turn.outcome = ?progress.outcome.unwrap_or(Outcome::Failed),
        error.code = progress.error.map(Code::as_str),
        // Names the turn's line of the audit log where nobody who can change the table can change it.
        audit.anchor = anchor.map(tracing::field::display),
        duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "turn ended"
    );
}

/// The arms of the turn, on one line.
fn arms(progress: &Progress) -> String {
    let arms: Vec<String> = progress.arms.iter().map(ToString::to_string).collect();
    arms.join(",")
}

/// What was said, for debugging: the one place from which text gets into the log, and only where `MAS_LOG_CONTENT` says so.
pub(super) fn log_content(turn: &ChatTurn, progress: &Progress) {
    let reports = progress.parts.iter().map(|part| part.report.text.as_str());
    tracing::debug!(
        request = turn.messages.last().map(|message| message.text.as_str()),
        report = reports.collect::<Vec<_>>().join("\n\n"),
        answer = progress.shown,
        "what was said"
    );
}
