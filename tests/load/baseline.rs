//! The baseline: what sizes, memory and ratios were, and how much worse they may become.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// Room for a figure that is new to the baseline, in percent; ratios of times are never as steady as sizes.
const ROOM: f64 = 10.0;
const RATIO_ROOM: f64 = 50.0;
/// How the names of ratios end.
const RATIO: &str = "_to_direct_calls";

/// One figure of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub value: f64,
    /// How much worse than the value it may be, in percent. All figures are better when they are smaller.
    pub percent: f64,
    /// What it may be at most, whatever the value.
    pub at_most: Option<f64>,
}

/// All figures, by name.
#[derive(Debug, PartialEq)]
pub struct Baseline(pub BTreeMap<String, Known>);

/// What a comparison says.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    pub lines: Vec<String>,
    /// The lines of it that are failures.
    pub worse: Vec<String>,
}

impl Baseline {
    pub fn read(text: &str) -> Result<Self, String> {
        let file: BTreeMap<String, Map<String, Value>> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut known = BTreeMap::new();
        for (name, entry) in file {
            let number = |key: &str| entry.get(key).and_then(Value::as_f64);
            let figure = Known {
                value: number("value").ok_or_else(|| format!("{name} has no value"))?,
                percent: number("percent").ok_or_else(|| format!("{name} has no percent"))?,
                at_most: number("at_most"),
            };
            known.insert(name, figure);
        }
        Ok(Self(known))
    }

    /// Compares what was measured. A figure of the baseline that begins with one of `required` must be among it.
    pub fn compare(&self, measured: &BTreeMap<String, f64>, required: &[String]) -> Verdict {
        let mut verdict = Verdict::default();
        for (name, known) in &self.0 {
            let Some(value) = measured.get(name) else {
                if required.iter().any(|part| name.starts_with(part)) {
                    verdict.fail(format!("{name} was not measured"));
                }
                continue;
            };
            let change = (value / known.value - 1.0) * 100.0;
            let line = format!("{name}: {} ({change:+.1} %)", shown(*value));
            match known.at_most {
                _ if !change.is_finite() => verdict.fail(format!("{line}, no number")),
                Some(most) if *value > most => {
                    verdict.fail(format!("{line}, over its limit {}", shown(most)));
                }
                _ if change > known.percent => {
                    verdict.fail(format!("{line}, allowed are {:+} %", known.percent));
                }
                _ => verdict.lines.push(line),
            }
        }
        for name in measured.keys().filter(|name| !self.0.contains_key(*name)) {
            verdict.lines.push(format!("{name}: not in the baseline"));
        }
        verdict
    }

    /// Takes over what was measured; rooms and limits stay.
    pub fn renew(&mut self, measured: &BTreeMap<String, f64>) {
        for (name, value) in measured {
            let known = self.0.entry(name.clone()).or_insert(Known {
                value: *value,
                percent: if name.ends_with(RATIO) {
                    RATIO_ROOM
                } else {
                    ROOM
                },
                at_most: None,
            });
            known.value = (value * 1e3).round() / 1e3;
        }
    }

    /// As the file has it: a line for each figure.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for (name, known) in &self.0 {
            let mut entry = json!({"value": number(known.value), "percent": number(known.percent)});
            if let (Some(most), Some(entry)) = (known.at_most, entry.as_object_mut()) {
                entry.insert("at_most".into(), number(most));
            }
            lines.push(format!("  {}: {entry}", json!(name)));
        }
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

impl Verdict {
    fn fail(&mut self, line: String) {
        self.worse.push(line.clone());
        self.lines.push(line);
    }

    pub fn text(&self) -> String {
        let mut text = "against the baseline\n".to_owned();
        for line in &self.lines {
            let mark = if self.worse.contains(line) {
                "WORSE"
            } else {
                ""
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {mark:<6}{line}");
        }
        text
    }
}

/// Whole numbers without a point.
fn number(value: f64) -> Value {
    let shown = shown(value);
    serde_json::from_str(&shown).unwrap_or_default()
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}
