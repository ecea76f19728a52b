//! The figures: how they spread, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// Measured values, in microseconds.
#[derive(Default)]
pub struct Spread(Vec<f64>);

/// Turns one after another.
#[derive(Default)]
pub struct Lone {
    /// The three upstream calls made directly.
    pub direct: Spread,
    pub turn: Spread,
    /// Turn less direct calls, pair by pair.
    pub added: Spread,
    pub first_byte: Spread,
    /// A write to the table made directly: part of what is added.
    pub table_write: Spread,
    /// Connections that the program made to the upstreams in all these turns.
    pub connections: usize,
}

/// Turns of several callers at once.
#[derive(Default)]
pub struct Loop {
    pub concurrency: usize,
    pub turn: Spread,
    /// Seconds.
    pub wall: f64,
    /// Seconds of the program's processor time.
    pub cpu: f64,
    /// Seconds of the generator's and the upstreams' processor time.
    pub own_cpu: f64,
    pub connections: usize,
}

/// Turns that wait for their agents.
#[derive(Default)]
pub struct Held {
    pub most: usize,
    pub rss_kib: u64,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    pub lone: Lone,
    pub loops: Vec<Loop>,
    pub held: Held,
    pub at_rest_kib: u64,
    pub peak_kib: u64,
    pub errors: Vec<String>,
    /// Warnings of the program's own log.
    pub said: Vec<String>,
}

impl Spread {
    pub fn add(&mut self, value: Duration) {
        self.0.push(value.as_secs_f64() * 1e6);
    }

    pub fn add_difference(&mut self, value: Duration, less: Duration) {
        self.0
            .push((value.as_secs_f64() - less.as_secs_f64()) * 1e6);
    }

    /// Median, p90 and p99.
    fn percentiles(&self) -> [f64; 3] {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        [50, 90, 99].map(|part| {
            let at = (values.len() * part / 100).min(values.len().saturating_sub(1));
            values.get(at).copied().unwrap_or(f64::NAN)
        })
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn json(&self) -> Value {
        let [median, p90, p99] = self.percentiles().map(f64::round);
        json!({"median": median, "p90": p90, "p99": p99})
    }
}

impl Loop {
    fn per_second(&self) -> f64 {
        f64::from(self.turn.count()) / self.wall
    }

    fn per_cpu_second(&self) -> f64 {
        f64::from(self.turn.count()) / self.cpu
    }
}

impl Lone {
    fn rows(&self) -> [(&'static str, &'static str, &Spread); 5] {
        [
            (
                "direct_calls_us",
                "three upstream calls, direct",
                &self.direct,
            ),
            ("turn_us", "the turn", &self.turn),
            ("added_us", "added by the turn", &self.added),
            (
                "table_write_us",
                "  of which a table write, direct",
                &self.table_write,
            ),
            ("first_byte_us", "first byte of the turn", &self.first_byte),
        ]
    }
}

impl Report {
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} turns, one by one (microseconds)",
            self.lone.turn.count()
        )?;
        writeln!(out, "  {:<34}{:>9}{:>9}{:>9}", "", "median", "p90", "p99")?;
        for (_, label, spread) in self.lone.rows() {
            let [median, p90, p99] = spread.percentiles();
            writeln!(out, "  {label:<34}{median:>9.0}{p90:>9.0}{p99:>9.0}")?;
        }
        writeln!(
            out,
            "  upstream connections made: {}",
            self.lone.connections
        )?;
        for closed in &self.loops {
            let [median, _, p99] = closed.turn.percentiles();
            writeln!(
                out,
                "{} turns, {} at once",
                closed.turn.count(),
                closed.concurrency
            )?;
            writeln!(
                out,
                "  {:.0} turns a second; median {median:.0}, p99 {p99:.0} microseconds",
                closed.per_second()
            )?;
            writeln!(
                out,
                "  {:.2} s of processor time: {:.0} turns a second and core; everything else took {:.2} s of {:.2} s",
                closed.cpu,
                closed.per_cpu_second(),
                closed.own_cpu,
                closed.wall
            )?;
            writeln!(out, "  upstream connections made: {}", closed.connections)?;
        }
        let mib = |kib: u64| kib.div_ceil(1024);
        writeln!(
            out,
            "memory: {} MiB after start, {} MiB with {} turns in flight, {} MiB at most",
            mib(self.at_rest_kib),
            mib(self.held.rss_kib),
            self.held.most,
            mib(self.peak_kib)
        )?;
        writeln!(out, "errors: {}", self.errors.len())?;
        for line in self.errors.iter().take(3).chain(&self.said) {
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }

    pub fn json(&self) -> Value {
        let mut lone: serde_json::Map<String, Value> = self
            .lone
            .rows()
            .into_iter()
            .map(|(key, _, spread)| (key.to_owned(), spread.json()))
            .collect();
        lone.insert("turns".into(), self.lone.turn.count().into());
        lone.insert("connections".into(), self.lone.connections.into());
        let loops: Vec<Value> = self.loops.iter().map(closed_json).collect();
        json!({
            "one_by_one": lone,
            "closed_loops": loops,
            "memory_kib": {
                "at_rest": self.at_rest_kib,
                "held": self.held.rss_kib,
                "held_turns": self.held.most,
                "peak": self.peak_kib,
            },
            "errors": self.errors.len(),
            "first_errors": self.errors.iter().take(3).collect::<Vec<_>>(),
            "log": self.said,
        })
    }
}

fn closed_json(closed: &Loop) -> Value {
    json!({
        "concurrency": closed.concurrency,
        "turns": closed.turn.count(),
        "turns_per_second": closed.per_second().round(),
        "turns_per_cpu_second": closed.per_cpu_second().round(),
        "turn_us": closed.turn.json(),
        "cpu_seconds": closed.cpu,
        "other_cpu_seconds": closed.own_cpu,
        "wall_seconds": closed.wall,
        "connections": closed.connections,
    })
}
