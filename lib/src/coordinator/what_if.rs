//! A turn that only asks what would happen: what would be done is told, and nothing is kept or done.

use super::{Coordinator, Progress};
use crate::domain::agent::Effect;
use crate::domain::event::StageStatus;
use crate::domain::plan::Assignment;
use crate::domain::proposal::Proposal;
use crate::domain::rulebook::Demands;
use crate::domain::turn::ChatTurn;
use crate::stream::{AnswerSink, labels};

impl Coordinator {
    /// Whether an agent may not be asked now: its user has to approve it first, or it may change something where nothing
    /// is to be changed.
    pub(super) fn waits(
        &self,
        turn: &ChatTurn,
        assignment: &Assignment,
        demands: &Demands,
    ) -> bool {
        let card = self.registry.get(assignment.agent.as_str());
        let reads = card.is_some_and(|card| card.effect == Effect::None);
        (turn.what_if && !reads) || self.needs_approval(turn, assignment, demands)
    }

    /// What agents that only read began for the turn, they need not keep.
    pub(super) async fn clear_up(&self, turn: &ChatTurn, progress: &Progress) {
        self.abandon(progress).await;
        if turn.what_if {
            let sessions: Vec<_> = progress.sessions().collect();
            self.forget(&sessions).await;
        }
    }
}

/// Tells what agents would be asked, in place of proposing it.
pub(super) fn tell(proposal: &Proposal, sink: &AnswerSink, progress: &mut Progress) {
    let language = sink.language();
    let would = labels::proposal(proposal, language);
    let stage = sink.open_stage(Some(&labels::what_if_stage().told(language)), None);
    stage.text(&would);
    stage.close(StageStatus::Completed);
    progress.say(sink, &would);
}

/// Says below every answer what it is worth.
pub(super) fn note(sink: &AnswerSink, progress: &mut Progress) {
    let note = labels::what_if_note().told(sink.language());
    progress.say(sink, &note);
}
