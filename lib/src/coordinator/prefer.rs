//! What the user wants of every turn: wishes fulfilled, and what they are told of them.

use super::memory::{Known, Recollection};
use super::{Coordinator, Progress};
use crate::domain::agent::AgentCard;
use crate::domain::audit::By;
use crate::domain::conversation::Outcome;
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::phrase::Phrase;
use crate::domain::plan::Plan;
use crate::domain::preference::{Preferences, Wish};
use crate::domain::rulebook::Demands;
use crate::domain::turn::{AgentTask, ChatTurn};
use crate::route::Verdict;
use crate::store::Changed;
use crate::stream::{AnswerSink, FinishReason, preferences};

impl Coordinator {
    /// Fulfils what the message says of preferences. Where it says more, that is decided next, as they are now.
    pub(super) async fn fulfil(
        &self,
        turn: &ChatTurn,
        known: &Known,
        verdict: Verdict,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<Verdict, Failure> {
        let Plan::Preferences(wishes) = &verdict.decision.plan else {
            return Ok(verdict);
        };
        let text = self.grant(turn, wishes, sink, progress).await;
        let Some(rest) = verdict.decision.request.clone() else {
            progress.told = Some(text);
            return Ok(verdict);
        };
        let name = preferences::preferences_stage().told(sink.language());
        let stage = sink.open_stage(Some(&name), None);
        stage.text(&text);
        stage.close(StageStatus::Completed);
        let asking = turn.asking(rest.clone());
        // The hooks have seen the whole message.
        let mut next = Box::pin(self.climb(&asking, known, true, progress)).await?;
        next.decision.request.get_or_insert(rest);
        next.rungs.splice(0..0, verdict.rungs);
        Ok(next)
    }

    /// What is wanted of a turn, by somebody with these preferences.
    pub(super) fn wanted_of(&self, turn: &ChatTurn, preferences: Preferences) -> Preferences {
        turn.overrides.over(preferences, &self.registry)
    }

    /// Changes what is to be changed, and tells what is set then.
    async fn grant(
        &self,
        turn: &ChatTurn,
        wishes: &[Wish],
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> String {
        let Some(recalled) = &mut progress.recalled else {
            return preferences::preferences_unreachable().told(sink.language());
        };
        if turn.what_if && wishes.iter().any(Wish::changes) {
            return preferences::preferences_stay().told(sink.language());
        }
        if wishes.iter().any(Wish::changes) {
            let changed = Changed {
                owner: &recalled.owner,
                turn: turn.id,
                by: By::Themselves,
                who: recalled.pseudonym,
                audit: &self.audit,
            };
            let step = |old: &Preferences| wishes.iter().fold(old.clone(), Preferences::with);
            match self.wishes.change(changed, step).await {
                Ok(Some((now, _))) => {
                    recalled.preferences = self.wanted_of(turn, now.clone());
                    recalled.kept = now;
                }
                Ok(None) => tracing::info!("the person was erased meanwhile: nothing is kept"),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "preferences cannot be changed"
                    );
                    return preferences::preferences_unreachable().told(sink.language());
                }
            }
            speak(&recalled.preferences, sink);
        }
        preferences::told(
            &recalled.kept,
            &self.registry.default_agent().id,
            !self.prices.is_empty(),
            sink.language(),
        )
    }

    /// The answer to whoever only spoke of preferences, or named an agent that they blocked.
    pub(super) fn tell_preferences(
        blocked: Option<&AgentId>,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> FinishReason {
        let why = (progress.recalled.as_ref())
            .zip(blocked)
            .and_then(|(recalled, agent)| unwanted(recalled, agent));
        let text = match why {
            Some(why) => why.told(sink.language()),
            None => progress.told.take().unwrap_or_default(),
        };
        progress.say(sink, &text);
        progress.outcome = Some(Outcome::Answered);
        FinishReason::Stop
    }

    /// Nothing more may be spent for whoever has reached the limit that they set themselves.
    pub(super) fn keep_own_limit(turn: &ChatTurn, progress: &Progress) -> Result<(), Failure> {
        let Some(recalled) = &progress.recalled else {
            return Ok(());
        };
        let limit = recalled.preferences.spend_per_day;
        let Some(money) = limit.filter(|limit| recalled.spent_today >= limit.0) else {
            return Ok(());
        };
        let reference = turn.id.reference();
        Err(Failure::new(
            Code::RateLimitExceeded,
            format!("the day's money that the caller set is used up, reference {reference}"),
            preferences::own_limit_reached(money.to_string(), &reference),
        ))
    }

    /// An agent whose text is the answer is told in what language that is to be.
    pub(super) fn in_their_language(
        &self,
        mut task: AgentTask,
        card: &AgentCard,
        demands: &Demands,
        preferences: &Preferences,
    ) -> AgentTask {
        if let Some(tongue) = preferences.language
            && self.passes(card, demands, preferences)
        {
            let instruction = format!("Answer in {}.", tongue.english());
            task.instructions = Some(match task.instructions {
                Some(before) => format!("{before}\n{instruction}"),
                None => instruction,
            });
        }
        task
    }
}

impl Progress {
    /// What the user wants, as far as it is known.
    pub(super) fn wanted(&self) -> Preferences {
        let recalled = self.recalled.as_ref();
        recalled.map_or_else(Preferences::default, |recalled| {
            recalled.preferences.clone()
        })
    }
}

/// Why an agent is not asked, where the user never wants it, or the request wants others alone.
pub(super) fn unwanted(recalled: &Recollection, agent: &AgentId) -> Option<Phrase> {
    if !recalled.preferences.blocks(agent) {
        return None;
    }
    Some(if recalled.kept.blocks(agent) {
        preferences::is_blocked(agent)
    } else {
        preferences::not_among(agent)
    })
}

/// Our own words are in the language of the answers from here on.
pub(super) fn speak(preferences: &Preferences, sink: &AnswerSink) {
    if let Some(tongue) = preferences.language {
        sink.speak(tongue.ours());
    }
}
