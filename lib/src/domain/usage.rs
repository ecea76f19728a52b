//! Tokens used and what they cost, per step of the turn; what is not reported stays unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::day::Day;
use super::ids::AgentId;

/// Tokens of one call or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default)]
    pub prompt_tokens: u64,
    #[serde(default)]
    pub completion_tokens: u64,
    #[serde(default)]
    pub total_tokens: u64,
}

impl Usage {
    /// The numbers come from outside: they stop at the largest one instead of overflowing.
    fn plus(self, more: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(more.prompt_tokens),
            completion_tokens: self
                .completion_tokens
                .saturating_add(more.completion_tokens),
            total_tokens: self.total_tokens.saturating_add(more.total_tokens),
        }
    }
}

/// Tokens of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage {
    pub model: String,
    #[serde(flatten)]
    pub usage: Usage,
}

/// What a turn pays for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    #[default]
    Route,
    Agent,
    Synthesis,
    /// An agent that was begun on a guess and dropped.
    Speculation,
    /// The reports of several agents were compared.
    Check,
    /// Facts were taken out of a report.
    Facts,
    /// A second model looked at a report.
    Judge,
}

impl Step {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Agent => "agent",
            Self::Synthesis => "synthesis",
            Self::Speculation => "speculation",
            Self::Check => "check",
            Self::Facts => "facts",
            Self::Judge => "judge",
        }
    }
}

/// What one step used of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUsage {
    #[serde(default)]
    pub step: Step,
    /// The agent that was at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// `None` where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `None` where nobody said: unknown is not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// In millionths of a dollar; `None` where no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
}

/// The turn's account: one line for each step and model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    lines: Vec<StepUsage>,
}

impl Tally {
    /// What a model of ours used; `None` when it did not say.
    pub fn add(&mut self, step: Step, model: &str, usage: Option<Usage>) {
        self.line(StepUsage {
            step,
            model: Some(model.to_owned()),
            usage,
            ..StepUsage::default()
        });
    }

    /// A call of which nothing is known but that it was made.
    pub fn add_unknown(&mut self, step: Step) {
        self.line(StepUsage {
            step,
            ..StepUsage::default()
        });
    }

    /// What an agent said that it used, model by model; nothing said is a line of its own.
    pub fn add_agent(&mut self, step: Step, agent: &AgentId, used: &[ModelUsage]) {
        let of_agent = |model: Option<&str>, usage| StepUsage {
            step,
            agent: Some(agent.clone()),
            model: model.map(str::to_owned),
            usage,
            cost: None,
        };
        if used.is_empty() {
            self.line(of_agent(None, None));
        }
        for line in used {
            self.line(of_agent(Some(&line.model), Some(line.usage)));
        }
    }

    /// Adds every line of another account.
    pub fn merge(&mut self, other: &Self) {
        for line in &other.lines {
            self.line(line.clone());
        }
    }

    fn line(&mut self, new: StepUsage) {
        let same = |line: &&mut StepUsage| {
            (line.step, &line.agent, &line.model) == (new.step, &new.agent, &new.model)
                && line.usage.is_some() == new.usage.is_some()
        };
        match self.lines.iter_mut().find(same) {
            Some(line) => line.usage = line.usage.zip(new.usage).map(|(a, b)| a.plus(b)),
            None => self.lines.push(new),
        }
    }

    pub fn lines(&self) -> &[StepUsage] {
        &self.lines
    }

    /// What is known, one line for each model.
    pub fn per_model(&self) -> Vec<ModelUsage> {
        let mut models: Vec<ModelUsage> = Vec::new();
        for line in &self.lines {
            let (Some(model), Some(usage)) = (&line.model, line.usage) else {
                continue;
            };
            match models.iter_mut().find(|known| known.model == *model) {
                Some(known) => known.usage = known.usage.plus(usage),
                None => models.push(ModelUsage {
                    model: model.clone(),
                    usage,
                }),
            }
        }
        models
    }

    /// `None` when nobody reported anything: unknown is not zero.
    pub fn sum(&self) -> Option<Usage> {
        (self.lines.iter())
            .filter_map(|line| line.usage)
            .reduce(Usage::plus)
    }

    /// The lines with what they cost on a day.
    pub fn priced(&self, prices: &Prices, day: Day) -> Vec<StepUsage> {
        let priced = |line: &StepUsage| StepUsage {
            cost: (line.model.as_deref().zip(line.usage))
                .and_then(|(model, usage)| prices.of(model, usage, day)),
            ..line.clone()
        };
        self.lines.iter().map(priced).collect()
    }
}

/// What all these lines cost together, in millionths of a dollar. Lines without a price are left out: the sum then is a
/// lower bound. `None` when no line has one.
pub fn cost(lines: &[StepUsage]) -> Option<u64> {
    (lines.iter())
        .filter_map(|line| line.cost)
        .reduce(u64::saturating_add)
}

/// What a million tokens of a model cost from some day on, in millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// `None`: it has always been so.
    pub from: Option<Day>,
    pub input: u64,
    pub output: u64,
}

/// What models cost, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Vec<Price>>);

impl Prices {
    /// Whether no model has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a price. Of several of one model, the newest that has begun holds.
    pub fn set(&mut self, model: &str, price: Price) {
        let known = self.0.entry(model.to_owned()).or_default();
        known.push(price);
        known.sort_by_key(|price| price.from);
    }

    /// What these tokens of a model cost on a day, in millionths of a dollar; `None` where no price is known.
    pub fn of(&self, model: &str, usage: Usage, day: Day) -> Option<u64> {
        let holds = |price: &&Price| price.from.is_none_or(|from| from <= day);
        let price = self.0.get(model)?.iter().rfind(holds)?;
        let million = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = million(usage.prompt_tokens, price.input)
            + million(usage.completion_tokens, price.output);
        Some(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(prompt_tokens: u64, completion_tokens: u64) -> Usage {
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }

    #[test]
    fn nothing_reported_is_unknown_and_the_same_step_and_model_is_one_line() {
        let mut tally = Tally::default();
        assert_eq!(tally.sum(), None);
        let gpa = AgentId::new("GPA");
        tally.add(Step::Route, "gpt-4o", Some(used(3, 2)));
        tally.add(Step::Route, "gpt-4o", Some(used(3, 2)));
        tally.add(Step::Synthesis, "gpt-4o", None);
        tally.add_agent(Step::Agent, &gpa, &[]);
        assert_eq!(tally.sum(), Some(used(6, 4)));
        let said = ModelUsage {
            model: "gpt-4o".into(),
            usage: used(1, 1),
        };
        tally.add_agent(Step::Agent, &gpa, &[said]);
        assert_eq!(tally.lines().len(), 4);
        assert_eq!(
            tally.per_model(),
            [ModelUsage {
                model: "gpt-4o".into(),
                usage: used(7, 5)
            }]
        );
    }

    #[test]
    fn tokens_of_known_models_have_the_price_of_their_day() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let mut prices = Prices::default();
        let price = |from: Option<&str>, input, output| Price {
            from: from.map(day),
            input,
            output,
        };
        prices.set("gpt-4o", price(Some("2026-12-01"), 1_000_000, 2_000_000));
        prices.set("gpt-4o", price(None, 2_500_000, 10_000_000));
        let of = |model, on| prices.of(model, used(1000, 100), day(on));
        assert_eq!(of("GPA", "2026-11-20"), None, "unknown is not free");
        assert_eq!(of("gpt-4o", "2026-11-30"), Some(3_500));
        assert_eq!(of("gpt-4o", "2026-12-01"), Some(1_200));
        let mut tally = Tally::default();
        tally.add(Step::Route, "gpt-4o", Some(used(1000, 100)));
        tally.add(Step::Synthesis, "other", Some(used(1000, 100)));
        let lines = tally.priced(&prices, day("2026-12-01"));
        assert_eq!(
            lines.iter().map(|line| line.cost).collect::<Vec<_>>(),
            [Some(1_200), None]
        );
        assert_eq!(cost(&lines), Some(1_200), "a lower bound");
    }
}
