//! One turn as samples of the catalogue.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue as all;
use super::{Metric, Sample};
use crate::domain::check::Again;
use crate::domain::conversation::{AgentCall, Outcome};
use crate::domain::experiment::ArmId;
use crate::domain::hook::HookCall;
use crate::domain::ids::Millis;
use crate::domain::plan::{DecisionSource, Kept, NOT_LOOKED_UP, Rung, RungVerdict};
use crate::domain::usage::{Step, StepUsage};

/// What a turn is counted by.
#[derive(Clone, Debug)]
pub struct Figures<'a> {
    pub now: Millis,
    /// `None` for a caller who was not verified.
    pub tenant: Option<&'a str>,
    pub outcome: Outcome,
    pub source: Option<DecisionSource>,
    pub agent: Option<&'a str>,
    pub is_default: bool,
    /// Where the decision was found, if it was made before.
    pub kept: Option<Kept>,
    pub rungs: &'a [Rung],
    pub calls: &'a [AgentCall],
    pub hooks: &'a [HookCall],
    pub whole: Duration,
    pub first_byte: Option<Duration>,
    pub first_stage: Option<Duration>,
    pub first_text: Option<Duration>,
    pub stages: &'a [(&'static str, Option<Duration>)],
    /// What became of a guess, in a word, and how far ahead it was.
    pub guess: Option<&'static str>,
    pub saved: Option<Duration>,
    /// Whether the model still says what was decided before.
    pub agrees: Option<bool>,
    pub pruned: &'a [Step],
    /// With prices.
    pub usage: &'a [StepUsage],
    /// Every peer, and the name of its breaker's state.
    pub breakers: Vec<(Arc<str>, &'static str)>,
    /// The turn's arms in experiments, how it counts there, and those that it has stopped.
    pub arms: &'a [ArmId],
    pub arms_result: &'static str,
    pub stopped: &'a [ArmId],
}

/// A longer name of a model is none.
const NAME: usize = 64;

/// The samples so far.
struct Samples<'a>(Vec<Sample<'a>>);

impl<'a> Samples<'a> {
    fn add<const N: usize>(&mut self, metric: &'static Metric, labels: [&'a str; N], value: f64) {
        let labels = metric.labels.iter().zip(labels);
        self.0.push(Sample {
            metric,
            labels: labels
                .map(|(name, value)| (*name, Cow::Borrowed(value)))
                .collect(),
            value,
        });
    }

    fn time<const N: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [&'a str; N],
        time: Option<Duration>,
    ) {
        if let Some(time) = time {
            self.add(metric, labels, time.as_secs_f64());
        }
    }
}

impl<'a> Figures<'a> {
    /// Every sample of the turn. What agents call their models becomes a label only where that is free.
    pub fn samples(&self, free: bool) -> Vec<Sample<'a>> {
        let mut samples = Samples(Vec::with_capacity(40));
        samples.add(all::TURNS, [word(self.outcome)], 1.0);
        samples.time(all::TURN, [], Some(self.whole));
        samples.time(all::FIRST_BYTE, [], self.first_byte);
        samples.time(all::FIRST_STAGE, [], self.first_stage);
        samples.time(all::FIRST_TOKEN, [], self.first_text);
        for (stage, time) in self.stages {
            samples.time(all::STAGE, [stage], *time);
        }
        self.routing(&mut samples);
        for call in self.calls {
            let agent = call.agent.as_str();
            samples.add(all::CALLS, [agent, &call.outcome], 1.0);
            if call.outcome != "dropped" {
                let time = Duration::from_millis(call.duration_ms);
                samples.time(all::AGENT, [agent], Some(time));
            }
        }
        self.checks(&mut samples);
        for call in self.hooks {
            let (hook, at) = (&*call.hook, call.at.as_str());
            samples.add(all::HOOKS, [hook, at, call.said.as_str()], 1.0);
            let time = Duration::from_micros(call.micros);
            samples.time(all::HOOK, [hook, at], Some(time));
        }
        self.money(&mut samples, free);
        for step in self.pruned {
            samples.add(all::PRUNED, [step.as_str()], 1.0);
        }
        for ArmId { experiment, arm } in self.arms {
            let labels = [&**experiment, &**arm, self.arms_result];
            samples.add(all::EXPERIMENT, labels, 1.0);
        }
        for ArmId { experiment, arm } in self.stopped {
            samples.add(all::ARMS_STOPPED, [&**experiment, &**arm], 1.0);
        }
        for (peer, state) in &self.breakers {
            let value = match *state {
                "closed" => 0.0,
                "open" => 2.0,
                _ => 1.0,
            };
            samples.0.push(Sample {
                metric: all::BREAKER,
                labels: vec![("peer", Cow::Owned(peer.to_string()))],
                value,
            });
        }
        samples.0
    }

    fn checks(&self, samples: &mut Samples<'a>) {
        for (at, call) in self.calls.iter().enumerate() {
            let Some(checked) = &call.checked else {
                continue;
            };
            let agent = call.agent.as_str();
            let again = checked.again.map_or("none", Again::as_str);
            for check in &checked.failed {
                samples.add(all::CHECKS, [agent, check.as_str(), again], 1.0);
            }
            if let Some(judged) = checked.judged {
                samples.add(all::JUDGEMENTS, [agent, judged.as_str()], 1.0);
            }
            if checked.again == Some(Again::Asked) {
                // The calls of a part stand together.
                let next = self
                    .calls
                    .get(at + 1)
                    .filter(|next| next.agent == call.agent);
                let helped =
                    next.is_some_and(|next| next.outcome == "answered" && !next.is_faulty());
                let result = if helped { "better" } else { "no_better" };
                samples.add(all::REWORKS, [agent, result], 1.0);
            }
        }
    }

    fn routing(&self, samples: &mut Samples<'a>) {
        if let Some(source) = self.source {
            samples.add(
                all::DECISIONS,
                [source.as_str(), self.agent.unwrap_or("none")],
                1.0,
            );
        }
        if self.is_default {
            samples.add(all::DEFAULT_AGENT, [], 1.0);
        }
        for rung in self.rungs {
            let name = &*rung.name;
            samples.add(all::VERDICTS, [name, rung.verdict.as_str()], 1.0);
            let time = Duration::from_micros(rung.micros);
            samples.time(all::RUNG, [name], Some(time));
            if name == "cache" && rung.reason != NOT_LOOKED_UP {
                let result = match (rung.verdict, self.kept) {
                    (RungVerdict::Failed, _) => "failed",
                    (_, Some(kept)) if kept.near => "front",
                    (_, Some(_)) => "table",
                    (_, None) => "miss",
                };
                samples.add(all::LOOKUPS, [result], 1.0);
            }
        }
        samples.time(all::AGE, [], self.kept.map(|kept| kept.age));
        if let (Some(source), Some(agrees)) = (self.source, self.agrees) {
            let agrees = if agrees { "yes" } else { "no" };
            samples.add(all::AGREEMENT, [source.as_str(), agrees], 1.0);
        }
        if let Some(guess) = self.guess {
            samples.add(all::SPECULATION, [guess], 1.0);
        }
        samples.time(all::SAVED, [], self.saved);
    }

    fn money(&self, samples: &mut Samples<'a>, free: bool) {
        #[expect(clippy::cast_precision_loss, reason = "no turn has so many")]
        let amount = |count: u64| count as f64;
        for line in self.usage {
            let step = line.step.as_str();
            let agent = line.agent.as_ref().map(crate::domain::ids::AgentId::as_str);
            let Some((model, usage)) = line.model.as_deref().zip(line.usage) else {
                samples.add(all::UNKNOWN_USAGE, [step], 1.0);
                continue;
            };
            let plain = model.len() <= NAME && model.bytes().all(|byte| byte.is_ascii_graphic());
            let model = if plain && (free || line.cost.is_some() || line.agent.is_none()) {
                model
            } else {
                "other"
            };
            samples.add(
                all::TOKENS,
                [step, model, "prompt"],
                amount(usage.prompt_tokens),
            );
            let completion = amount(usage.completion_tokens);
            samples.add(all::TOKENS, [step, model, "completion"], completion);
            if line.step == Step::Speculation {
                samples.add(all::WASTED, [], amount(usage.total_tokens));
            }
            match line.cost {
                Some(cost) => samples.add(
                    all::COST,
                    [
                        self.tenant.unwrap_or("none"),
                        step,
                        agent.or(self.agent).unwrap_or("none"),
                    ],
                    amount(cost) / 1e6,
                ),
                None => samples.add(all::UNKNOWN_PRICE, [model], 1.0),
            }
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::AnsweredRaw => "answered_raw",
        Outcome::Failed => "failed",
        Outcome::Clarified => "clarified",
        Outcome::Proposed => "proposed",
        Outcome::Rejected => "rejected",
        Outcome::Refused => "refused",
        Outcome::Left => "left",
    }
}
