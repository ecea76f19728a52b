//! Samples as CloudWatch reads them from a log: the Embedded Metric Format, few lines a turn.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Kind, Sample};
use crate::domain::ids::Millis;

const NAMESPACE: &str = "MAS";

/// A line of JSON in the making: each name, metric or label, stands in it once.
#[derive(Default)]
struct Line {
    fields: Map<String, Value>,
    /// By their labels, the metrics that have them.
    directives: BTreeMap<Vec<&'static str>, Vec<Value>>,
}

/// The samples in as few lines as they fit. Each metric is there with its labels, and without any as a total.
pub fn lines(samples: &[Sample<'_>], now: Millis) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for sample in samples {
        // A gauge of one process says nothing about all of them.
        if sample.metric.kind == Kind::Gauge && sample.labels.is_empty() {
            continue;
        }
        let place = match lines.iter().position(|line| line.fits(sample)) {
            Some(place) => place,
            None => {
                lines.push(Line::default());
                lines.len() - 1
            }
        };
        if let Some(line) = lines.get_mut(place) {
            line.add(sample);
        }
    }
    let lines: Vec<String> = lines.into_iter().map(|line| line.text(now)).collect();
    lines.join("\n")
}

impl Line {
    fn fits(&self, sample: &Sample<'_>) -> bool {
        !self.fields.contains_key(sample.metric.name)
            && (sample.labels.iter()).all(|(name, value)| {
                (self.fields.get(*name)).is_none_or(|there| there.as_str() == Some(value))
            })
    }

    fn add(&mut self, sample: &Sample<'_>) {
        for (name, value) in &sample.labels {
            self.fields.insert((*name).to_owned(), json!(value));
        }
        let metric = sample.metric;
        self.fields
            .insert(metric.name.to_owned(), json!(sample.value));
        let unit = match metric.kind {
            Kind::Histogram(_) => "Seconds",
            Kind::Counter | Kind::Gauge if metric.name.contains("dollars") => "None",
            Kind::Counter | Kind::Gauge => "Count",
        };
        let labels = sample.labels.iter().map(|(name, _)| *name).collect();
        let named = json!({"Name": metric.name, "Unit": unit});
        self.directives.entry(labels).or_default().push(named);
    }

    fn text(mut self, now: Millis) -> String {
        let directives: Vec<Value> = (self.directives.into_iter())
            .map(|(labels, metrics)| {
                let total: Vec<&str> = Vec::new();
                let dimensions = match labels.as_slice() {
                    [] => vec![total],
                    // Of gauges there is no total.
                    ["peer"] => vec![labels],
                    _ => vec![labels, total],
                };
                json!({"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics})
            })
            .collect();
        self.fields.insert(
            "_aws".into(),
            json!({"Timestamp": now.0, "CloudWatchMetrics": directives}),
        );
        Value::Object(self.fields).to_string()
    }
}
