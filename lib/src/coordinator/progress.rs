//! What a turn's progress comes to when it ends, well or cut off.

use super::Progress;
use crate::domain::conversation::{Last, Outcome};
use crate::domain::plan::Plan;
use crate::domain::usage::Step;
use crate::telemetry;

impl Progress {
    /// Says in the turn's span how it ended.
    pub(super) fn trace(&self) {
        let outcome = self.outcome.unwrap_or(Outcome::Failed);
        let source = self.decision.as_ref().map(|decision| decision.source);
        telemetry::ended(outcome, self.error, self.agents().next(), source);
    }

    /// What was cut off has used something, too, and what of it was shown is known.
    pub(super) fn cut_off(&mut self) {
        if let Some(guess) = self.guess.take() {
            self.dropped(guess);
        }
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
            && self.shown.is_empty()
        {
            self.shown.clone_from(&part.report.text);
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
