//! What one turn may use, and what it has used of that.

use std::time::Duration;

use serde::Deserialize;

use super::day::Day;
use super::money::Money;
use super::usage::{Prices, Tally, cost};

/// A turn's budget. What is not set is not limited, but by the service's own caps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    #[serde(default)]
    pub seconds: Option<f64>,
    #[serde(default)]
    pub dollars: Option<Money>,
    /// For where no prices are known.
    #[serde(default)]
    pub tokens: Option<u64>,
}

impl Budget {
    /// The smaller of each: nobody raises what another one has set.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            seconds: match (self.seconds, other.seconds) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
            dollars: least(self.dollars, other.dollars),
            tokens: least(self.tokens, other.tokens),
        }
    }

    /// As a time to wait; `None` for what is none.
    pub fn time(&self) -> Option<Duration> {
        let time = Duration::try_from_secs_f64(self.seconds?).ok();
        time.filter(|time| !time.is_zero())
    }

    /// Whether it limits what calls cost.
    pub fn is_of_cost(&self) -> bool {
        self.dollars.is_some() || self.tokens.is_some()
    }
}

fn least<T: Ord>(one: Option<T>, two: Option<T>) -> Option<T> {
    [one, two].into_iter().flatten().min()
}

/// What a step costs, or is thought to cost. `None` is unknown, which is not nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// In millionths of a dollar.
    pub cost: Option<u64>,
    pub tokens: Option<u64>,
    pub time: Option<Duration>,
}

impl Estimate {
    /// Both together, as far as both are known.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = |one: Option<u64>, two: Option<u64>| Some(one?.saturating_add(two?));
        Self {
            cost: sum(self.cost, other.cost),
            tokens: sum(self.tokens, other.tokens),
            time: self.time.zip(other.time).map(|(one, two)| one + two),
        }
    }
}

/// A budget, and what calls cost on this day.
#[derive(Clone, Copy, Debug)]
pub struct Allowance<'a> {
    pub budget: Budget,
    pub prices: &'a Prices,
    pub day: Day,
}

impl Allowance<'_> {
    /// Nothing more may be begun. What has no price, and what nobody reports, cannot be counted.
    pub fn is_used_up(&self, used: &Tally) -> bool {
        let Used { cost, tokens } = self.used(used);
        self.budget.dollars.is_some_and(|most| cost >= most.0)
            || self.budget.tokens.is_some_and(|most| tokens >= most)
    }

    /// Whether a step fits into what is left. Only what is limited must be known.
    pub fn has_room(&self, used: &Tally, step: Estimate) -> bool {
        let Used { cost, tokens } = self.used(used);
        let fits = |most: Option<u64>, used: u64, more: Option<u64>| match (most, more) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(most), Some(more)) => used.saturating_add(more) <= most,
        };
        fits(self.budget.dollars.map(|most| most.0), cost, step.cost)
            && fits(self.budget.tokens, tokens, step.tokens)
    }

    fn used(&self, used: &Tally) -> Used {
        Used {
            cost: cost(&used.priced(self.prices, self.day)).unwrap_or_default(),
            tokens: used.sum().map_or(0, |sum| sum.total_tokens),
        }
    }
}

/// What is known to have been used.
struct Used {
    cost: u64,
    tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Price, Step, Usage};

    fn tally(prompt_tokens: u64) -> Tally {
        let mut tally = Tally::default();
        let usage = Usage {
            prompt_tokens,
            completion_tokens: 0,
            total_tokens: prompt_tokens,
        };
        tally.add(Step::Route, "m", Some(usage));
        tally.add(Step::Synthesis, "unknown", None);
        tally
    }

    #[test]
    fn the_smaller_budget_counts() {
        let one = Budget {
            seconds: Some(3.0),
            dollars: Some(Money(5)),
            tokens: None,
        };
        let two = Budget {
            seconds: None,
            dollars: Some(Money(7)),
            tokens: Some(9),
        };
        let least = Budget {
            tokens: Some(9),
            ..one
        };
        assert_eq!((one.least(two), two.least(one)), (least, least));
        assert_eq!(one.time(), Some(Duration::from_secs(3)));
        for seconds in [0.0, -1.0, f64::NAN] {
            let none = Budget {
                seconds: Some(seconds),
                ..one
            };
            assert_eq!(none.time(), None);
        }
    }

    #[test]
    fn what_is_limited_must_be_known_and_fit() {
        let mut prices = Prices::default();
        prices.set(
            "m",
            Price {
                from: None,
                input: 1_000_000,
                output: 1_000_000,
            },
        );
        let allowance = |dollars: Option<u64>, tokens: Option<u64>| Allowance {
            budget: Budget {
                seconds: None,
                dollars: dollars.map(Money),
                tokens,
            },
            prices: &prices,
            day: "2026-11-20".parse().unwrap(),
        };
        let step = |cost: Option<u64>, tokens: Option<u64>| Estimate {
            cost,
            tokens,
            time: None,
        };
        let used = tally(10);
        assert!(!allowance(None, None).is_used_up(&used));
        assert!(allowance(Some(10), None).is_used_up(&used));
        assert!(!allowance(Some(11), Some(11)).is_used_up(&used));
        assert!(allowance(None, Some(10)).is_used_up(&used));
        assert!(allowance(Some(15), None).has_room(&used, step(Some(5), None)));
        assert!(!allowance(Some(15), None).has_room(&used, step(Some(6), None)));
        assert!(!allowance(Some(15), None).has_room(&used, step(None, Some(1))));
        assert!(!allowance(Some(15), Some(11)).has_room(&used, step(Some(1), Some(2))));
        assert!(allowance(None, None).has_room(&used, step(None, None)));
    }
}
