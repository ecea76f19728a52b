//! Stories of what a turn may use: planned for, never exceeded by more than one call, and told where something is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbox::stub::Reply;
use serde_json::{Value, json};

use crate::world::{Answer, World, decides, delta, finish, model, plan, routes, user};

const NO_SUMMARY: &str = "_(No summary was written: it did not fit into this turn's budget.)_";

async fn ask(world: &World, text: &str, budget: Value) -> Answer {
    let body = json!({"messages": [user(text)], "stream": true,
                      "custom_fields": {"configuration": {"budget": budget}}});
    World::answer(world.post(&body)).await
}

/// GPA says what it used: 120 tokens.
fn counted() -> Reply {
    Reply::sse()
        .data(delta(json!({"content": "It is sunny."})))
        .data(finish())
        .data(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}))
        .done()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_never_exceeded_by_more_than_one_calls_cost() {
    // Routing takes 9 tokens a call, and each second decision is none at first; GPA 120, the summary 13.
    let nonsense = Arc::new(AtomicBool::new(false));
    let said = Arc::clone(&nonsense);
    let world = plan("GPA")
        .gpa(|_| counted())
        .model(move |seen| {
            let routes = seen.json()["response_format"].is_object();
            let repaired = seen.json()["messages"]
                .to_string()
                .contains("not a decision");
            match routes && !repaired && said.load(Ordering::SeqCst) {
                true => decides("nonsense"),
                false => model(seen, "GPA"),
            }
        })
        .start()
        .await;
    let (mut whole, mut cut) = (0, 0);
    for most in [
        0, 1, 8, 9, 10, 17, 18, 19, 100, 128, 129, 130, 141, 142, 151, 200, 1000,
    ] {
        for repair in [false, true] {
            nonsense.store(repair, Ordering::SeqCst);
            let before = (world.model.seen().len(), world.gpa.seen().len());
            let answer = ask(&world, "hello", json!({"tokens": most})).await;
            let model: Vec<Value> = World::asked(&world.model).split_off(before.0);
            let routed = model
                .iter()
                .filter(|body| body["response_format"].is_object())
                .count();
            let written = model.len() - routed;
            let agents = world.gpa.seen().len() - before.1;
            let calls = [vec![9; routed], vec![120; agents], vec![13; written]].concat();
            let (last, earlier) = calls.split_last().unwrap();
            let used: u64 = earlier.iter().sum();
            assert!(used < most || earlier.is_empty(), "{most}: {calls:?}");
            assert!(used + last <= most + 120, "{most}: {calls:?}");
            match (agents, written) {
                (0, _) => assert_eq!(answer.error_code(), "rate_limit_exceeded", "{most}"),
                (_, 0) => {
                    cut += 1;
                    assert_eq!(answer.text(), format!("It is sunny.\n\n{NO_SUMMARY}"));
                }
                _ => {
                    whole += 1;
                    assert_eq!(answer.text(), "Final answer.");
                }
            }
        }
    }
    assert!(whole > 0 && cut > 0, "{whole} {cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_budget_counts_whoever_set_it() {
    // Routing costs 26 millionths of a dollar, the summary 37.
    let world = plan("GPA")
        .set("MAS_PRICES", "gpt-4o=2.5/4")
        .set("MAS_LIMITS", "turn=0.01")
        .start()
        .await;
    let rich = ask(&world, "hello", json!({"dollars": 5})).await;
    assert_eq!(rich.text(), "Final answer.");
    // Now it is known what a summary costs.
    assert_eq!(
        ask(&world, "one", json!({"dollars": 0.000063}))
            .await
            .text(),
        "Final answer."
    );
    let poor = ask(&world, "two", json!({"dollars": 0.00006})).await;
    assert_eq!(poor.text(), format!("Done: all good.\n\n{NO_SUMMARY}"));
    world
        .well(&[user("Never spend more than $0.00006 per answer")])
        .await;
    let own = ask(&world, "three", json!({"dollars": 5})).await;
    assert_eq!(own.text(), poor.text());
    world.well(&[user("forget my limit per answer")]).await;
    assert_eq!(ask(&world, "four", json!({})).await.text(), "Final answer.");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_may_limit_every_turn_and_no_request_raises_that() {
    let world = plan("GPA")
        .set("MAS_PRICES", "gpt-4o=2.5/4")
        .set("MAS_LIMITS", "turn=0.00003")
        .start()
        .await;
    let answer = ask(&world, "hello", json!({"dollars": 5, "tokens": 1_000_000})).await;
    assert!(answer.text().ends_with(NO_SUMMARY), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_nobody_can_count_leaves_the_summary() {
    let world = plan("GPA").start().await;
    let answer = ask(&world, "hello", json!({"dollars": 0.000001})).await;
    assert_eq!(answer.text(), "Final answer.");
    let told = world
        .well(&[user("Never spend more than $1 per answer")])
        .await;
    assert!(
        told.text()
            .ends_with("No prices are known here, so that money cannot be counted.")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_in_a_hurry_has_the_agents_own_text() {
    let world = plan("GPA").start().await;
    let hurried = ask(&world, "hello", json!({"seconds": 4.5})).await;
    assert_eq!(hurried.text(), format!("Done: all good.\n\n{NO_SUMMARY}"));
    let calm = ask(&world, "hello again", json!({"seconds": 100})).await;
    assert_eq!(calm.text(), "Final answer.");
    for wrong in [
        json!({"seconds": 0}),
        json!({"seconds": "1"}),
        json!({"euros": 1}),
        json!({"dollars": -1}),
    ] {
        let body = json!({"messages": [user("hello")], "custom_fields": {"configuration": {"budget": wrong}}});
        assert_eq!(
            world.post(&body).send().await.unwrap().status(),
            400,
            "{wrong}"
        );
    }
    let schema = world.get("/openai/deployments/mas-coordinator/configuration");
    let schema: Value = schema.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        schema["properties"]["budget"]["properties"]["dollars"]["type"],
        "number"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_start_and_a_comparison_are_given_up_and_that_is_said() {
    let slow = plan("GPA").gpa(|_| counted()).model(|seen| {
        match seen.json()["response_format"].is_object() {
            true => routes("GPA", Value::Null).delay(Duration::from_millis(150)),
            false => model(seen, "GPA"),
        }
    });
    let world = slow.set("MAS_ROUTING", "cache=off,guess=80%").start().await;
    for n in 0..10 {
        world.well(&[user(&format!("request {n}"))]).await;
    }
    // A turn takes 142 tokens, and a guess may cost 120 more.
    let content = |answer: &Answer| answer.stage("Coordination")["content"].to_string();
    let tight = ask(&world, "one more", json!({"tokens": 200})).await;
    assert!(
        content(&tight).contains("a head start for the likeliest agent"),
        "{}",
        content(&tight)
    );
    let ample = ask(&world, "and one", json!({"tokens": 2000})).await;
    assert!(!content(&ample).contains("Left out"), "{}", content(&ample));

    let world = plan("GPA")
        .gpa(|_| counted())
        .set("MAS_ROUTING", "cache=1h,check=100%,guess=off")
        .start()
        .await;
    world.well(&[user("hello")]).await;
    let asked = world.model.seen().len();
    let tight = ask(&world, "hello", json!({"tokens": 140})).await;
    assert!(
        content(&tight).contains("comparing the decision"),
        "{}",
        content(&tight)
    );
    assert_eq!(world.model.seen().len(), asked + 1, "the summary alone");
}
