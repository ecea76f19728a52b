//! How measured values spread: percentiles, with what failed counted as worse than everything that did not.

use std::time::Duration;

use serde_json::{Map, Value};

/// Percentiles by name, in thousandths.
pub const MEDIAN: (&str, usize) = ("median", 500);
pub const P90: (&str, usize) = ("p90", 900);
pub const P95: (&str, usize) = ("p95", 950);
pub const P99: (&str, usize) = ("p99", 990);
pub const P999: (&str, usize) = ("p99.9", 999);

/// Measured values, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn add(&mut self, value: Duration) {
        self.0.push(value.as_secs_f64() * 1e6);
    }

    pub fn add_difference(&mut self, value: Duration, less: Duration) {
        self.0
            .push((value.as_secs_f64() - less.as_secs_f64()) * 1e6);
    }

    /// Something that never came, however long one had waited.
    pub fn add_miss(&mut self) {
        self.0.push(f64::INFINITY);
    }

    pub fn add_kib(&mut self, value: u64) {
        self.0
            .push(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
    }

    /// The value that so many thousandths of all values stay below; not a number where there are none.
    pub fn at(&self, (_, thousandths): (&str, usize)) -> f64 {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        let at = (values.len() * thousandths / 1000).min(values.len().saturating_sub(1));
        values.get(at).copied().unwrap_or(f64::NAN)
    }

    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// What is not a finite number becomes null.
    pub fn json(&self, percentiles: &[(&str, usize)]) -> Value {
        let pair = |name: &(&str, usize)| (name.0.to_owned(), self.at(*name).round().into());
        Value::Object(percentiles.iter().map(pair).collect::<Map<_, _>>())
    }

    /// A row of a table: a label of 38 letters, then whole numbers.
    pub fn row(&self, label: &str, percentiles: &[(&str, usize)]) -> String {
        let cells = percentiles.iter().map(|name| {
            let value = self.at(*name);
            format!("{value:>9.0}")
        });
        format!("  {label:<38}{}\n", cells.collect::<String>())
    }
}

/// The row above such rows.
pub fn heading(percentiles: &[(&str, usize)]) -> String {
    let cells = percentiles.iter().map(|(name, _)| format!("{name:>9}"));
    format!("  {:<38}{}\n", "", cells.collect::<String>())
}
