//! What the log says of a turn.

use tokio::time::Instant;

use super::Progress;
use crate::domain::conversation::Outcome;
use crate::domain::failure::Code;
use crate::domain::ids::AgentId;
use crate::domain::turn::ChatTurn;
use crate::store::chain::Anchor;
use crate::telemetry;

/// One line per turn: ids, words and times, never content.
pub(super) fn ended(progress: &Progress, anchor: Option<&Anchor>, begun: Instant) {
    tracing::event!(
        target: telemetry::ENDED,
        tracing::Level::INFO,
        route.agent = progress.agents().next().map(AgentId::as_str),
        route.source = progress.decision.as_ref().map(|decision| decision.source.as_str()),
        turn.outcome = ?progress.outcome.unwrap_or(Outcome::Failed),
        error.code = progress.error.map(Code::as_str),
        // Names the turn's line of the audit log where nobody who can change the table can change it.
        audit.anchor = anchor.map(tracing::field::display),
        duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "turn ended"
    );
}

/// What was said, for debugging: the one place from which text gets into the log, and only where `MAS_LOG_CONTENT` says so.
pub(super) fn said(turn: &ChatTurn, progress: &Progress) {
    let reports = progress.parts.iter().map(|part| part.report.text.as_str());
    tracing::debug!(
        request = turn.messages.last().map(|message| message.text.as_str()),
        report = reports.collect::<Vec<_>>().join("\n\n"),
        answer = progress.shown,
        "what was said"
    );
}
