//! What the routing would do with a message: the ladder's trace, without any agent.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::compose::Failed;
use crate::console::harmless;
use crate::operator::print;
use crate::remote::Remote;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// The message; several are a conversation, of which the last one is routed
    #[arg(required = true)]
    text: Vec<String>,
    #[command(flatten)]
    remote: Remote,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Asks a running coordinator.
pub async fn run(options: Options) -> Result<ExitCode, Failed> {
    let client = options.remote.client()?;
    let messages: Vec<Value> = (options.text.iter())
        .map(|text| json!({"role": "user", "content": text}))
        .collect();
    let call = (options.remote).post("/v1/route", &json!({"messages": messages}))?;
    let body = client.body(call).await;
    let body = body.map_err(|error| options.remote.failed(error))?;
    let trace: Value = serde_json::from_slice(&body)?;
    if options.json {
        print(&format!("{trace:#}"))?;
    } else {
        print(harmless(&shown(&trace)).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The decision on one line, then a line for each rung.
fn shown(trace: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refused = trace.pointer("/plan/refused").and_then(Value::as_str);
    let mut out = match (
        trace["agent"].as_str().map(str::to_owned),
        trace.pointer("/plan/clarify").and_then(Value::as_array),
    ) {
        (Some(agent), _) => agent,
        (None, Some(agents)) => {
            let agents: Vec<String> = agents.iter().map(text).collect();
            format!("asks which: {}", agents.join(" or "))
        }
        (None, None) => match (trace["plan"].as_str(), trace.pointer("/plan/blocked")) {
            (_, Some(agent)) => format!("asks nobody: the user does not want {}", text(agent)),
            (Some("preferences"), _) => "answers itself: it is about the user's preferences".into(),
            _ => refused.map_or_else(
                || "answers itself: the question is about the system".into(),
                |agent| format!("refuses: {agent} is forbidden"),
            ),
        },
    };
    let _ = write!(out, "  ({}", text(&trace["decided_by"]));
    if let Some(confidence) = trace["confidence"].as_f64() {
        let _ = write!(out, ", {:.0} % sure", confidence * 100.0);
    }
    let _ = writeln!(out, ") {}", text(&trace["reason"]));
    if let Some(instructions) = trace["additional_instructions"].as_str() {
        let _ = writeln!(out, "told: {instructions}");
    }
    for rung in trace["rungs"].as_array().into_iter().flatten() {
        let (name, verdict) = (text(&rung["rung"]), text(&rung["verdict"]));
        let time = rung["duration_ms"].as_f64().unwrap_or_default();
        let reason = text(&rung["reason"]);
        let _ = writeln!(out, "  {name:<10} {verdict:<9} {time:>9.3} ms  {reason}");
    }
    for rule in trace["rules"].as_array().into_iter().flatten() {
        let held = match rule["holds"].as_bool() {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "cannot be tested",
        };
        let (number, line) = (&rule["rule"], &rule["line"]);
        let (condition, then) = (text(&rule["if"]), text(&rule["then"]));
        let reason = rule["reason"].as_str().map(|why| format!(" ({why})"));
        let reason = reason.unwrap_or_default();
        let _ = writeln!(
            out,
            "  rule {number} (line {line}) {held}{reason}: {condition} => {then}"
        );
    }
    out
}
