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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::metrics::{Metric, catalogue};

    fn sample(metric: &'static Metric, labels: &[&'static str], value: f64) -> Sample<'static> {
        let named = metric.labels.iter().zip(labels);
        Sample {
            metric,
            labels: named
                .map(|(name, value)| (*name, Cow::Borrowed(*value)))
                .collect(),
            value,
        }
    }

    fn parsed(samples: &[Sample<'_>]) -> Vec<Value> {
        let text = lines(samples, Millis(1_700_000_000_000));
        let parsed = text.lines().map(serde_json::from_str);
        parsed.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_line_has_each_metric_with_its_labels_and_as_a_total() {
        let found = parsed(&[
            sample(catalogue::TURNS, &["answered"], 1.0),
            sample(catalogue::TURN, &[], 0.25),
            sample(catalogue::COST, &["acme", "route", "GPA"], 0.002),
        ]);
        let metric = |name: &str, unit: &str| json!([{"Name": name, "Unit": unit}]);
        let directive = |dimensions: Value, metrics: Value| json!({"Namespace": "MAS", "Dimensions": dimensions, "Metrics": metrics});
        assert_eq!(
            found,
            [json!({
                "_aws": {
                    "Timestamp": 1_700_000_000_000_u64,
                    "CloudWatchMetrics": [
                        directive(json!([[]]), metric("mas_turn_seconds", "Seconds")),
                        directive(json!([["outcome"], []]), metric("mas_turns_total", "Count")),
                        directive(
                            json!([["tenant", "step", "agent"], []]),
                            metric("mas_cost_dollars_total", "None"),
                        ),
                    ],
                },
                "outcome": "answered",
                "tenant": "acme", "step": "route", "agent": "GPA",
                "mas_turns_total": 1.0,
                "mas_turn_seconds": 0.25,
                "mas_cost_dollars_total": 0.002,
            })]
        );
    }

    #[test]
    fn a_name_stands_for_one_thing_in_a_line() {
        let found = parsed(&[
            sample(catalogue::CALLS, &["GPA", "failed"], 1.0),
            sample(catalogue::CALLS, &["UMS", "answered"], 1.0),
            sample(catalogue::AGENT, &["UMS"], 2.0),
        ]);
        let agents: Vec<_> = found.iter().map(|line| &line["agent"]).collect();
        assert_eq!(agents, ["GPA", "UMS"]);
        assert!(found[0].get("mas_agent_seconds").is_none());
        assert_eq!(found[1]["mas_agent_seconds"], 2.0);
    }

    #[test]
    fn gauges_have_no_total() {
        let found = parsed(&[
            sample(catalogue::BREAKER, &["gpa"], 2.0),
            sample(catalogue::IN_FLIGHT, &[], 1.0),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].get("mas_turns_in_flight").is_none());
        let directives = &found[0]["_aws"]["CloudWatchMetrics"];
        assert_eq!(directives[0]["Dimensions"], json!([["peer"]]));
        assert_eq!(directives.as_array().unwrap().len(), 1);
    }
}
