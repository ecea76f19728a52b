//! What the user reads: the decision shown, the coordinator's own sentences, the synthesis, and what stands in for it.

use tokio::time::Instant;

use super::budget::{Extra, given_up};
use super::part::reports;
use super::{Coordinator, Progress};
use crate::domain::agent::AgentCard;
use crate::domain::conversation::Outcome;
use crate::domain::event::StageStatus;
use crate::domain::experiment::Told;
use crate::domain::failure::Failure;
use crate::domain::ids::AgentId;
use crate::domain::language::Language;
use crate::domain::phrase::Phrase;
use crate::domain::plan::{DecisionSource, Refusal};
use crate::domain::preference::{Preferences, Stages};
use crate::domain::rulebook::Demands;
use crate::domain::rules::Synthesis;
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Step;
use crate::orchestrate::{Said, may_conflict};
use crate::policy::{Consent, Reply};
use crate::route::Verdict;
use crate::stream::about::{self, Shown};
use crate::stream::{AnswerSink, FinishReason, Stage, labels};
use crate::synthesize;
use crate::telemetry;

impl Coordinator {
    /// Whether an agent's own text is the answer, so that nobody waits for a second model.
    pub(super) fn passes(
        &self,
        card: &AgentCard,
        demands: &Demands,
        preferences: &Preferences,
    ) -> bool {
        match demands.synthesis.unwrap_or(self.synthesis) {
            // What a rule says of this request goes before what the user wants of every one.
            Synthesis::Always if demands.synthesis.is_some() => false,
            _ if preferences.skip_synthesis => true,
            Synthesis::Always => false,
            Synthesis::Auto => card.ready,
            Synthesis::Never => true,
        }
    }

    /// Whether anybody wants what several agents say put into one. What a rule demands goes first.
    pub(super) fn wants_synthesis(&self, demands: &Demands, preferences: &Preferences) -> bool {
        match demands.synthesis {
            Some(Synthesis::Always) => true,
            Some(Synthesis::Never) => false,
            _ if preferences.skip_synthesis => false,
            demanded => demanded.unwrap_or(self.synthesis) != Synthesis::Never,
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
        let listed = self.registry.iter().filter(|card| card.listed);
        let agents: Vec<_> = listed.map(|card| self.shown(card)).collect();
        progress.say(sink, &about::about(&agents, language));
        progress.outcome = Some(Outcome::Answered);
        FinishReason::Stop
    }

    /// One question back to the user: which of the two agents is meant?
    pub(super) fn clarify(
        &self,
        agents: &[AgentId; 2],
        turn: &ChatTurn,
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
        // A pressed button would be a request of its own.
        if !turn.what_if {
            sink.form(&about::which_form(agents));
        }
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

    /// The answer: the agent's own, which the user has read already, or one written from the reports.
    pub(super) async fn write(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        if progress.parts.iter().all(|part| part.passed) {
            progress.say_faults(sink);
        } else {
            let room = self.has_room(turn, Extra::Synthesis, None, progress);
            let wanted = self.wants_synthesis(&progress.demands, &progress.wanted());
            if wanted && room {
                return self.synthesize(turn, sink, progress).await;
            }
            if wanted {
                let reason = fall_back(sink, progress);
                progress.say(sink, &labels::no_synthesis().told(sink.language()));
                return Ok(reason);
            }
            // Each agent's own text, and what they say differently: nobody puts several into one.
            if room {
                self.contradictions(turn, sink, progress).await;
            }
            progress.say_reports(sink);
        }
        progress.outcome = Some(Outcome::Answered);
        Ok(FinishReason::Stop)
    }

    /// The answer, as the model writes it; what it loses of the agent's links and images is appended.
    async fn synthesize(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let begun = Instant::now();
        self.contradictions(turn, sink, progress).await;
        let write = self.compose(turn, sink, progress);
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
        if let Some(lost) = synthesize::lost(
            reports(&progress.parts).map(|(_, text)| text),
            &progress.shown,
        ) {
            progress.say(sink, &lost);
        }
        progress.say_missing(sink);
        progress.outcome = Some(Outcome::Answered);
        Ok(reason)
    }

    async fn compose(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, synthesize::Error> {
        progress.asking = Some(Step::Synthesis);
        let reports: Vec<_> = reports(&progress.parts).collect();
        let placed = progress.placed();
        let other = placed.map_or_else(Told::default, |placed| placed.variant.synthesis.clone());
        let synthesizer = self.synthesizer.varied(&other);
        let (mut text, pruned) = synthesizer
            .answer(
                turn,
                &reports,
                &progress.conflicts,
                self.caps.synthesis_history,
                progress.wanted().language,
            )
            .await?;
        drop(reports);
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
        (progress.tally).add(Step::Synthesis, synthesizer.model(), text.usage());
        end
    }
}

impl Coordinator {
    /// Looks for contradictions between what several agents reported, and shows them.
    async fn contradictions(&self, turn: &ChatTurn, sink: &AnswerSink, progress: &mut Progress) {
        if self.is_used_up(turn, progress) {
            return;
        }
        let Progress {
            parts,
            asking,
            tally,
            conflicts,
            ..
        } = progress;
        let said: Vec<_> = reports(parts)
            .map(|(agent, text)| Said { agent, text })
            .collect();
        if said.len() < 2 || !may_conflict(&said) {
            return;
        }
        *asking = Some(Step::Check);
        let until = Instant::now() + self.times.model_first_byte;
        let found = self.comparer.compare(turn, &said, until, tally).await;
        *asking = None;
        match found {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                let stage =
                    sink.open_stage(Some(&labels::contradictions().told(sink.language())), None);
                stage.text(&labels::conflicts(&found));
                stage.close(StageStatus::Completed);
                *conflicts = found;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the reports cannot be compared"
            ),
        }
    }
}

impl Progress {
    /// What the agents that answered said, each in its own words, and which did not.
    fn say_reports(&mut self, sink: &AnswerSink) {
        let reports: Vec<_> = reports(&self.parts).collect();
        let text = match reports.as_slice() {
            [(_, text)] => (*text).to_owned(),
            several => labels::side_by_side(several),
        };
        self.say(sink, &text);
        self.say_missing(sink);
    }

    /// What is wrong with the answers that are used, and which agents did not answer, below what is said.
    fn say_missing(&mut self, sink: &AnswerSink) {
        self.say_faults(sink);
        let missing: Vec<String> = (self.missing())
            .map(|(agent, why)| labels::missing(agent, why).told(sink.language()))
            .collect();
        for line in missing {
            self.say(sink, &line);
        }
    }

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

/// A rule forbids the agent that was chosen: nobody is asked.
pub(super) fn forbidden(
    refusal: &Refusal,
    sink: &AnswerSink,
    progress: &mut Progress,
) -> FinishReason {
    let words = labels::forbids(&refusal.agent, refusal.say.as_deref());
    progress.say(sink, &words.told(sink.language()));
    progress.outcome = Some(Outcome::Answered);
    FinishReason::Stop
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
    progress.outcome = Some(if consent.reply == Reply::Approve {
        Outcome::Answered
    } else {
        Outcome::Rejected
    });
    progress.say(sink, &words.told(sink.language()));
    FinishReason::Stop
}

/// The agents' own texts are the answer, after what there is of a synthesis.
pub(super) fn fall_back(sink: &AnswerSink, progress: &mut Progress) -> FinishReason {
    if !progress.shown.trim().is_empty() {
        progress.say(sink, &labels::synthesis_broke_off().told(sink.language()));
    }
    progress.say_reports(sink);
    progress.outcome = Some(Outcome::AnsweredRaw);
    FinishReason::Stop
}
