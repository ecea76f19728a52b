//! What the user reads: the decision shown, the coordinator's own sentences, the synthesis, and what stands in for it.

use tokio::time::Instant;

use super::budget::given_up;
use super::{Coordinator, Progress};
use crate::domain::agent::AgentCard;
use crate::domain::conversation::Outcome;
use crate::domain::event::StageStatus;
use crate::domain::failure::Failure;
use crate::domain::ids::AgentId;
use crate::domain::language::Language;
use crate::domain::phrase::Phrase;
use crate::domain::plan::DecisionSource;
use crate::domain::preference::{Preferences, Stages};
use crate::domain::rules::Synthesis;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Step;
use crate::policy::Consent;
use crate::route::Verdict;
use crate::stream::about::{self, Shown};
use crate::stream::{AnswerSink, FinishReason, Stage, labels};
use crate::synthesize;
use crate::telemetry;

impl Coordinator {
    /// Whether an agent's own text is the answer, so that nobody waits for a second model.
    pub(super) fn passes(&self, card: &AgentCard, preferences: &Preferences) -> bool {
        match self.synthesis {
            _ if preferences.skip_synthesis => true,
            Synthesis::Always => false,
            Synthesis::Auto => card.ready,
            Synthesis::Never => true,
        }
    }

    /// What the system can do, from the registry alone.
    pub(super) fn tell_about(
        &self,
        language: Option<Language>,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> FinishReason {
        // The question tells its language, unless the user always wants another one.
        let preferred = progress.wanted().language.is_some();
        let language = (language.filter(|_| !preferred)).unwrap_or_else(|| sink.language());
        let agents: Vec<_> = self.registry.iter().map(|card| self.shown(card)).collect();
        progress.say(sink, &about::about(&agents, language));
        progress.outcome = Some(Outcome::Answered);
        FinishReason::Stop
    }

    /// One question back to the user: which of the two agents is meant?
    pub(super) fn clarify(
        &self,
        agents: &[AgentId; 2],
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> FinishReason {
        // The model names none but the registry's.
        let card = |agent: &AgentId| {
            let card = self.registry.get(agent.as_str());
            self.shown(card.unwrap_or(self.registry.default_agent()))
        };
        let [first, second] = agents;
        let text = about::which([card(first), card(second)], sink.language());
        progress.say(sink, &text);
        sink.form(&about::which_form(agents));
        progress.outcome = Some(Outcome::Clarified);
        FinishReason::Stop
    }

    fn shown<'a>(&self, card: &'a AgentCard) -> Shown<'a> {
        Shown {
            agent: &card.id,
            description: &card.description,
            resting: self.agents.is_resting(&card.id),
        }
    }

    /// The answer, as the model writes it; what it loses of the agent's links and images is appended.
    pub(super) async fn synthesize(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let Some(agent) = progress.agent.clone() else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let begun = Instant::now();
        let write = self.write(turn, &agent, sink, progress);
        let written = telemetry::within(telemetry::synthesis(), write).await;
        progress.marks.synthesis = Some(begun.elapsed());
        let reason = match written {
            Err(synthesize::Error::Filtered) => {
                progress.filtered = true;
                progress.outcome = Some(Outcome::Answered);
                return Ok(FinishReason::ContentFilter);
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the synthesis failed"
                );
                return Ok(fall_back(sink, progress));
            }
            Ok(_) if progress.shown.trim().is_empty() => return Ok(fall_back(sink, progress)),
            Ok(reason) => reason,
        };
        if let Some(lost) = synthesize::lost(&progress.report.text, &progress.shown) {
            progress.say(sink, &lost);
        }
        progress.outcome = Some(Outcome::Answered);
        Ok(reason)
    }

    async fn write(
        &self,
        turn: &ChatTurn,
        agent: &AgentId,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, synthesize::Error> {
        progress.asking = Some(Step::Synthesis);
        let (mut text, pruned) = self
            .synthesizer
            .answer(
                turn,
                agent,
                &progress.report.text,
                self.caps.synthesis_history,
                progress.wanted().language,
            )
            .await?;
        if pruned {
            progress.marks.pruned.push(Step::Synthesis);
        }
        let end = loop {
            sink.ready().await;
            match text.next().await {
                Ok(Some(piece)) => progress.say(sink, &piece),
                Ok(None) if text.is_cut() => break Ok(FinishReason::Length),
                Ok(None) => break Ok(FinishReason::Stop),
                Err(error) => break Err(error),
            }
        };
        progress.asking = None;
        (progress.tally).add(Step::Synthesis, self.synthesizer.model(), text.usage());
        end
    }
}

impl Progress {
    pub(super) fn say(&mut self, sink: &AnswerSink, text: &str) {
        sink.text(text);
        self.shown.push_str(text);
    }
}

/// Shows the decision: the agent in the stage's name, the rest in its text. It is a failed stage where nobody decided since
/// a rung failed; a rung that failed before another one decided is nothing to the user.
pub(super) fn show(stage: &Stage, verdict: &Verdict, progress: &Progress, language: Language) {
    stage.name(&labels::routed_to(&verdict.decision.plan).told(language));
    if progress.wanted().stages == Stages::Full {
        stage.text(&labels::decision(&verdict.decision));
    }
    for phrase in given_up(progress) {
        stage.say(phrase);
    }
    let undecided = verdict.decision.source == DecisionSource::Default;
    let failed = undecided && verdict.troubles.iter().any(|(rung, _)| *rung == "model");
    for (rung, error) in &verdict.troubles {
        tracing::warn!(
            route.rung = rung,
            error = error as &dyn std::error::Error,
            "a routing rung failed"
        );
        if failed && *rung == "model" {
            stage.say(labels::nobody_decided(rung, &verdict.decision));
        }
    }
    stage.close(if failed {
        StageStatus::Failed
    } else {
        StageStatus::Completed
    });
}

/// A consent that leads to nothing, by the user's own will or because there is nothing to approve.
pub(super) fn refuse(
    stage: &Stage,
    consent: &Consent,
    words: &Phrase,
    sink: &AnswerSink,
    progress: &mut Progress,
) -> FinishReason {
    stage.close(StageStatus::Completed);
    progress.outcome = Some(if consent.given {
        Outcome::Answered
    } else {
        Outcome::Rejected
    });
    progress.say(sink, &words.told(sink.language()));
    FinishReason::Stop
}

/// The agent's own text is the answer, after what there is of a synthesis.
pub(super) fn fall_back(sink: &AnswerSink, progress: &mut Progress) -> FinishReason {
    if !progress.shown.trim().is_empty() {
        progress.say(sink, &labels::synthesis_broke_off().told(sink.language()));
    }
    let text = std::mem::take(&mut progress.report.text);
    progress.say(sink, &text);
    progress.report.text = text;
    progress.outcome = Some(Outcome::AnsweredRaw);
    FinishReason::Stop
}
