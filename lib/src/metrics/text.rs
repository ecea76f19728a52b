//! Series as Prometheus reads them: the text format, version 0.0.4.

use std::fmt::Write as _;

use super::{CATALOGUE, Kind, Metric, Series, Value};

/// Every metric of the catalogue with its help, and what was counted of it.
pub fn render(series: &Series) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for metric in CATALOGUE {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let name = metric.name;
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
        for (values, value) in series.values.get(name).into_iter().flatten() {
            one(&mut out, metric, values, value);
        }
    }
    out
}

fn one(out: &mut String, metric: &Metric, values: &[String], value: &Value) {
    let name = metric.name;
    let mut labels = String::new();
    for (label, value) in metric.labels.iter().zip(values) {
        let comma = if labels.is_empty() { "" } else { "," };
        let _ = write!(labels, "{comma}{label}=\"{}\"", escaped(value));
    }
    let braced = |labels: &str| match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    };
    match (value, metric.kind) {
        (
            Value::Spread {
                buckets,
                sum,
                count,
            },
            Kind::Histogram(bounds),
        ) => {
            let comma = if labels.is_empty() { "" } else { "," };
            for (bucket, bound) in buckets.iter().zip(bounds) {
                let _ = writeln!(
                    out,
                    "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {bucket}"
                );
            }
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{name}_sum{} {sum}", braced(&labels));
            let _ = writeln!(out, "{name}_count{} {count}", braced(&labels));
        }
        (Value::Sum(sum), _) => {
            let _ = writeln!(out, "{name}{} {sum}", braced(&labels));
        }
        // A series has the kind of its metric.
        (Value::Spread { .. }, _) => {}
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
