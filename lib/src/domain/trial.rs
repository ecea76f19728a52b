//! What was counted of an arm: sums, of which every figure is made.

use super::ids::Millis;

/// The turns of an arm, added up. No more of anybody is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub turns: u64,
    /// Turns of which a part failed, also where something stood in for it.
    pub failures: u64,
    /// Turns that ended with a question which agent is meant.
    pub clarified: u64,
    /// Turns that nothing but the default agent was left for.
    pub defaulted: u64,
    /// How long they took, in milliseconds.
    pub time: Sum,
    /// What those cost whose price is known, in millionths of a dollar.
    pub spend: Sum,
    /// How many those are.
    pub priced: u64,
}

/// A sum of numbers, and of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub all: u64,
    pub squares: u64,
}

impl Sum {
    pub fn of(number: u64) -> Self {
        Self {
            all: number,
            squares: number.saturating_mul(number),
        }
    }
}

/// An arm as all instances see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    pub counts: Counts,
    pub stopped: Option<Stopped>,
}

/// That an arm was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    pub at: Millis,
    /// In a sentence.
    pub why: String,
}
