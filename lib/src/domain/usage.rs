//! Tokens used, per model and in sum; what is not reported stays unknown.

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
}
