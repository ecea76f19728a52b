//! The catalogue of metrics: documented as it is in the code, and every one of them there after some use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coordinator::http;
use coordinator::metrics::{CATALOGUE, Kind};
use sandbox::stub::Reply;
use serde_json::{Value, json};

use crate::world::{delta, echoed, finish, model, plan, routes, says, user};

/// The agents as they are built in, somebody who looks on, and somebody who judges.
const AGENTS: &str = concat!(
    include_str!("../infra/agents.yaml"),
    "hooks:\n  - {name: on-looker, refuse: [nothing]}\nchecks: {judge: judge}\n",
    "experiments:\n  - name: words\n    arms:\n      - name: new\n        share: 100%\n        \
     prompt: {synthesis: Be brief.}\n        guard: {least: 10, spend: 0.000001}\n"
);

#[test]
fn the_documented_catalogue_is_the_one_in_the_code() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"))
        .unwrap();
    let rows: Vec<(String, String, String)> = (text.lines())
        .filter(|line| line.starts_with("| `mas_"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let plain = |cell: &str| cell.replace('`', "");
            (plain(cells[1]), plain(cells[2]), plain(cells[3]))
        })
        .collect();
    let known: Vec<_> = (CATALOGUE.iter())
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            (
                metric.name.to_owned(),
                kind.to_owned(),
                metric.labels.join(", "),
            )
        })
        .collect();
    assert_eq!(rows, known);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_catalogue_is_there_after_some_use() {
    let ums = Arc::new(AtomicBool::new(false));
    let mind = Arc::clone(&ums);
    let world = plan("GPA")
        .model(move |seen| {
            // The change of mind comes when an agent begun on a guess has said all.
            let (agent, wait) = match mind.load(Ordering::SeqCst) {
                true => ("UMS", 400),
                false => ("GPA", 30),
            };
            match seen.json()["response_format"].is_object() {
                true => routes(agent, Value::Null).delay(Duration::from_millis(wait)),
                false => model(seen, agent),
            }
        })
        .gpa(|seen| {
            if seen.json().to_string().contains("a salary") {
                return says("I can't help with that.");
            }
            let usage = json!({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10});
            Reply::sse()
                .data(delta(json!({"content": "word ".repeat(500)})))
                .data(finish())
                .data(json!({"choices": [], "usage": usage}))
                .done()
                // Longer than the model: a comparison takes as long as the turn, at most.
                .delay(Duration::from_millis(100))
        })
        .set("MAS_ROUTING", "check=100%,guess=80%")
        .set("MAS_CAPS", "agent_history=1KB")
        .set("MAS_PRICES", "gpt-4o=1/1")
        .set("MAS_AGENTS", AGENTS)
        .start()
        .await;
    for turn in 0..10 {
        world.well(&[user(&format!("request {turn}"))]).await;
    }
    let first = world.well(&[user("request 0")]).await;
    world
        .well(&[
            user("request 0"),
            echoed(&first),
            user("more"),
            echoed(&first),
            user("and more"),
        ])
        .await;
    // It declines twice. What the judge says of the others is nonsense.
    world.well(&[user("Tell me a salary")]).await;
    ums.store(true, Ordering::SeqCst);
    world.well(&[user("Who is Bob?")]).await;
    // An agent that says less than before has stories of its own.
    let counted = world.app.coordinator();
    counted.metrics.dropped("GPA", 1, http::clock());
    let text = world.get("/metrics").send().await.unwrap();
    assert_eq!(text.headers()["content-type"], "text/plain; version=0.0.4");
    let text = text.text().await.unwrap();
    let missing: Vec<&str> = (CATALOGUE.iter())
        .filter(|metric| {
            !text
                .lines()
                .any(|line| !line.starts_with('#') && line.starts_with(metric.name))
        })
        .map(|metric| metric.name)
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
