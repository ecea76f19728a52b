//! Stories of an agent that is begun on a guess: adopted as if it had been asked in its turn, or dropped without a trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{Answer, Plan, World, delta, finish, items, model, plan, routes, user};

/// A model that takes its time, and says GPA until its mind is changed.
fn slow(changed: &Arc<AtomicBool>) -> Plan {
    let mind = Arc::clone(changed);
    plan("GPA").model(move |seen| {
        let agent = if mind.load(Ordering::SeqCst) {
            "UMS"
        } else {
            "GPA"
        };
        match seen.json()["response_format"].is_object() {
            true => routes(agent, Value::Null).delay(Duration::from_millis(150)),
            false => model(seen, agent),
        }
    })
}

/// Everything an agent can send.
fn everything(_: &Seen) -> Reply {
    Reply::sse()
        .data(delta(json!({"custom_content": {"stages": [{"index": 0, "name": "search"}]}})))
        .data(delta(json!({"custom_content": {"stages": [{"index": 0, "content": "found", "status": "completed"}]}})))
        .data(delta(json!({"content": "It is"})))
        .data(delta(json!({"content": " sunny."})))
        .data(delta(json!({"custom_content": {"attachments": [{"title": "a", "data": "b"}], "state": {"k": 1}}})))
        .data(finish())
        .data(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}))
        .done()
}

/// Enough turns for a guess to be made.
async fn taught(world: &World) {
    for turn in 0..10 {
        world.well(&[user(&format!("request {turn}"))]).await;
    }
}

/// A world that guesses GPA, and whose model now says UMS.
async fn mistaken(plan: Plan, changed: &AtomicBool) -> World {
    let plan = plan
        .gpa(everything)
        .set("MAS_ROUTING", "cache=off,guess=80%");
    let world = plan.start().await;
    taught(&world).await;
    changed.store(true, Ordering::SeqCst);
    world
}

async fn metric(world: &World, line: &str) -> f64 {
    let text = world.metrics().await;
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}

/// The answer without what differs from turn to turn.
fn plain(answer: &Answer) -> Vec<Value> {
    let mut chunks = answer.checked.chunks.clone();
    for chunk in &mut chunks {
        chunk["id"] = Value::Null;
        chunk["created"] = Value::Null;
        let content = &mut chunk["choices"][0]["delta"]["custom_content"];
        if content["state"].is_object() {
            content["state"] = json!("sealed");
        }
    }
    chunks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_guess_is_byte_for_byte_the_same_and_ahead() {
    let never = Arc::default();
    let world = slow(&never)
        .gpa(everything)
        .set("MAS_ROUTING", "cache=off,guess=80%")
        .start()
        .await;
    let first = world.well(&[user("weather?")]).await;
    assert_eq!(
        metric(&world, r#"mas_speculation_total{result="adopted"}"#).await,
        0.0,
        "too little is known"
    );
    taught(&world).await;
    let before = metric(&world, r#"mas_speculation_total{result="adopted"}"#).await;
    let calls = world.gpa.seen().len();
    let guessed = world.well(&[user("weather?")]).await;
    assert_eq!(
        metric(&world, r#"mas_speculation_total{result="adopted"}"#).await,
        before + 1.0
    );
    assert_eq!(world.gpa.seen().len(), calls + 1, "it was asked once");
    assert_eq!(plain(&guessed), plain(&first));
    let saved = metric(&world, "mas_speculation_saved_seconds_sum").await;
    assert!(
        saved > 0.1 * before,
        "it had been at work while the model decided: {saved}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_guess_leaves_nothing_but_its_cost() {
    let changed = Arc::new(AtomicBool::new(false));
    let world = mistaken(slow(&changed), &changed).await;
    let answer = world.well(&[user("Who is Bob?")]).await;
    assert_eq!(
        metric(&world, r#"mas_speculation_total{result="dropped"}"#).await,
        1.0
    );
    assert_eq!(
        metric(&world, "mas_speculation_wasted_tokens_total").await,
        120.0
    );
    let shown = String::from_utf8_lossy(&answer.raw).into_owned();
    assert!(
        !shown.contains("sunny") && !shown.contains("search"),
        "{shown}"
    );
    let stored = items(&world.table).await;
    let records = stored
        .iter()
        .filter_map(|item| item["record"]["S"].as_str());
    let record: Value = records
        .map(|record| serde_json::from_str(record).unwrap())
        .find(|record: &Value| record["exchange"]["request"] == "Who is Bob?")
        .unwrap();
    assert!(!record.to_string().contains("sunny"), "{record}");
    assert_eq!(record["exchange"]["agent"], "UMS");
    let calls: Vec<_> = record["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (&call["agent"], &call["outcome"]))
        .collect();
    assert_eq!(
        calls,
        [
            (&json!("GPA"), &json!("dropped")),
            (&json!("UMS"), &json!("answered"))
        ]
    );
    let spent: Vec<_> = record["usage"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["step"])
        .collect();
    assert!(spent.contains(&&json!("speculation")), "{spent:?}");
    // What it used is in the sum all the same.
    assert_eq!(answer.whole["usage"]["prompt_tokens"], 100 + 7 + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_stop_where_too_few_are_right_and_begin_again() {
    let changed = Arc::new(AtomicBool::new(false));
    let world = mistaken(slow(&changed), &changed).await;
    for turn in 0..6 {
        world.well(&[user(&format!("other {turn}"))]).await;
    }
    let dropped = metric(&world, r#"mas_speculation_total{result="dropped"}"#).await;
    assert!((1.0..=4.0).contains(&dropped), "{dropped}");
    assert!(metric(&world, r#"mas_speculation_total{result="withheld"}"#).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_change_something_is_never_begun_on_a_guess() {
    let world = plan("UMS")
        .set("MAS_ROUTING", "cache=off,guess=80%")
        .start()
        .await;
    taught(&world).await;
    assert_eq!(
        metric(&world, r#"mas_speculation_total{result="adopted"}"#).await,
        0.0
    );
    let careful = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: reversible}\n";
    let world = plan("GPA")
        .set("MAS_AGENTS", careful)
        .set("MAS_ROUTING", "cache=off,guess=80%")
        .start()
        .await;
    taught(&world).await;
    assert_eq!(
        metric(&world, r#"mas_speculation_total{result="adopted"}"#).await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_with_instructions_is_another_call() {
    let world = plan("GPA")
        .model(|seen| {
            let body = seen.json();
            if !body["response_format"].is_object() {
                return model(seen, "GPA");
            }
            let told = match body["messages"].to_string().contains("tomorrow") {
                true => json!("in Paris"),
                false => Value::Null,
            };
            routes("GPA", told).delay(Duration::from_millis(100))
        })
        .gpa(everything)
        .set("MAS_ROUTING", "cache=off,guess=80%")
        .start()
        .await;
    taught(&world).await;
    let before = world.gpa.seen().len();
    world.well(&[user("and tomorrow?")]).await;
    let calls = &world.gpa.seen()[before..];
    let told: Vec<bool> = calls
        .iter()
        .map(|call| String::from_utf8_lossy(&call.body).contains("in Paris"))
        .collect();
    assert_eq!(told, [false, true], "the guess was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_guess_was_dropped_may_still_stand_in() {
    const CARDS: &str = "agents:\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: none}\n\
        - {name: UMS, protocol: conversation, endpoint: 'http://127.0.0.1:9', fallback: GPA}\n";
    let changed = Arc::new(AtomicBool::new(false));
    let world = mistaken(slow(&changed).set("MAS_AGENTS", CARDS), &changed).await;
    let answer = world.well(&[user("Who is Bob?")]).await;
    assert_eq!(
        metric(&world, r#"mas_speculation_total{result="dropped"}"#).await,
        1.0
    );
    assert!(
        answer.stage("Call GPA Agent")["content"]
            .as_str()
            .unwrap()
            .contains("UMS could not answer")
    );
}
