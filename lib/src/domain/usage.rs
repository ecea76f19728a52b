//! Tokens used, per model and in sum; what is not reported stays unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// The turn's account: one line per model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    lines: Vec<ModelUsage>,
}

impl Tally {
    pub fn add(&mut self, model: &str, usage: Usage) {
        let line = match self.lines.iter_mut().find(|line| line.model == model) {
            Some(line) => line,
            None => {
                self.lines.push(ModelUsage {
                    model: model.to_owned(),
                    usage: Usage::default(),
                });
                let Some(line) = self.lines.last_mut() else {
                    return;
                };
                line
            }
        };
        line.usage = line.usage.plus(usage);
    }

    /// Adds every line of another account.
    pub fn merge(&mut self, other: &Self) {
        for line in &other.lines {
            self.add(&line.model, line.usage);
        }
    }

    pub fn per_model(&self) -> &[ModelUsage] {
        &self.lines
    }

    /// `None` when nobody reported anything: unknown is not zero.
    pub fn sum(&self) -> Option<Usage> {
        (!self.lines.is_empty()).then(|| {
            self.lines
                .iter()
                .fold(Usage::default(), |sum, line| sum.plus(line.usage))
        })
    }
}

/// What models cost, in millionths of a dollar for a million tokens: in, and out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(pub BTreeMap<String, (u64, u64)>);

impl Prices {
    /// The cost of an account in millionths of a dollar; `None` when no line of it has a price. Lines without a price
    /// are left out: unknown is not zero, and the sum then is a lower bound.
    pub fn of(&self, tally: &Tally) -> Option<u64> {
        let costs = tally.lines.iter().filter_map(|line| {
            let (input, output) = self.0.get(&line.model)?;
            let million = |tokens: u64, price: &u64| u128::from(tokens) * u128::from(*price);
            let sum = million(line.usage.prompt_tokens, input)
                + million(line.usage.completion_tokens, output);
            Some(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
        });
        costs.reduce(u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reported_is_unknown_and_the_same_model_is_one_line() {
        let mut tally = Tally::default();
        assert_eq!(tally.sum(), None);
        let used = Usage {
            prompt_tokens: 3,
            completion_tokens: 2,
            total_tokens: 5,
        };
        tally.add("gpt-4o", used);
        tally.add("gpt-4o", used);
        tally.add("GPA", used);
        assert_eq!(tally.per_model().len(), 2);
        assert_eq!(
            tally.sum(),
            Some(Usage {
                prompt_tokens: 9,
                completion_tokens: 6,
                total_tokens: 15
            })
        );
    }

    #[test]
    fn tokens_of_known_models_have_a_price() {
        let prices = Prices(BTreeMap::from([("gpt-4o".into(), (2_500_000, 10_000_000))]));
        let mut tally = Tally::default();
        let used = Usage {
            prompt_tokens: 1000,
            completion_tokens: 100,
            total_tokens: 1100,
        };
        tally.add("GPA", used);
        assert_eq!(prices.of(&tally), None, "unknown is not free");
        tally.add("gpt-4o", used);
        assert_eq!(prices.of(&tally), Some(3_500));
    }
}
