//! Stories of what holds for a plan that goes on: the hooks, rules, agents, budgets and experiments of now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

use crate::crash::{REQUEST, again, calls, changing, hangs_at_chat, kept, left_midway};
use crate::several::{planner, step};
use crate::world::{Plan, World, items, plan, raw, says, table, ums, user};

const GPA: &str =
    "- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n";
const UMS: &str =
    "- {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', REST}\n";

/// A look at the weather, and then one at the users that never ends the first time.
fn looking() -> Plan {
    let steps = json!([
        step("weather", "GPA", "Weather in Paris", &[]),
        {"name": "users", "agent_name": "UMS", "task": "List the users", "after": ["weather"], "effect": "none"}
    ]);
    let first = AtomicBool::new(true);
    plan("GPA")
        .model(planner(steps))
        .set("MAS_LIMITS", "duplicate=1ms,requests=off,concurrent=off")
        .gpa(|_| says("Paris: sunny."))
        .ums(move |seen| {
            let hangs = seen.path.ends_with("/chat") && first.swap(false, Ordering::SeqCst);
            if hangs {
                Reply::sse().hang()
            } else {
                ums(seen)
            }
        })
}

/// The records of all turns, in the order in which they began.
async fn records(world: &World) -> Vec<Value> {
    let items = items(&world.table).await;
    let records = items.iter().filter_map(|item| item["record"]["S"].as_str());
    let mut records: Vec<Value> = records
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    records.sort_by_key(|record| record["id"].as_str().unwrap().to_owned());
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_asks_what_would_be_decided_takes_no_plan_away() {
    let world = looking().start().await;
    left_midway(&world).await;
    let body = json!({"messages": [user(REQUEST)], "stream": true});
    let request = world.client().post(format!("{}/v1/route", world.url));
    let explained = request
        .header("api-key", "key-1")
        .header("x-conversation-id", "conv-1")
        .header("content-type", "application/json")
        .body(body.to_string());
    assert_eq!(explained.send().await.unwrap().status(), 200);
    again(&world).await;
    assert_eq!(calls(&world), (1, 2), "what was done is not done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_refused_to_go_on_goes_on_once_it_may() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let desk = Stub::start(move |_| {
        let second = counted.fetch_add(1, Ordering::SeqCst) == 1;
        Reply::json(
            200,
            if second {
                json!({"refuse": "Later."})
            } else {
                json!({})
            },
        )
    })
    .await
    .unwrap();
    let hooks =
        "hooks:\n- {name: desk, at: after_route, url: '${DESK}', timeout: 10s, fail: closed}\n";
    let agents = UMS.replace("REST", "effect: reversible");
    let world = looking()
        .set("MAS_AGENTS", &format!("agents:\n{GPA}{agents}{hooks}"))
        .set("DESK", &desk.url())
        .set(
            "MAS_HOOK_KEY",
            "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        )
        .start()
        .await;
    left_midway(&world).await;
    assert_eq!(again(&world).await.text(), "Later.");
    again(&world).await;
    assert_eq!(calls(&world), (1, 2), "what was done is not done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_a_hook_kept_from_its_agent_is_done_later() {
    let refuse = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&refuse);
    let desk = Stub::start(move |seen: &Seen| {
        let rename = seen.json()["data"]["agent"] == "UMS" && refuses.load(Ordering::SeqCst);
        Reply::json(
            200,
            if rename {
                json!({"refuse": "Later."})
            } else {
                json!({})
            },
        )
    })
    .await
    .unwrap();
    let hooks =
        "hooks:\n- {name: desk, at: before_agent, url: '${DESK}', timeout: 10s, fail: closed}\n";
    let agents = UMS.replace("REST", "effect: reversible");
    let world = changing()
        .set("MAS_AGENTS", &format!("agents:\n{GPA}{agents}{hooks}"))
        .set("DESK", &desk.url())
        .set(
            "MAS_HOOK_KEY",
            "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        )
        .start()
        .await;
    assert_eq!(again(&world).await.text(), "Later.");
    assert_eq!(calls(&world), (1, 0));
    refuse.store(false, Ordering::SeqCst);
    assert_eq!(again(&world).await.text(), "Final answer.");
    assert_eq!(calls(&world), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_did_that_is_gone_since_is_still_there() {
    let (endpoint, _server) = table().await;
    let first = changing()
        .ums(hangs_at_chat)
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    left_midway(&first).await;
    drop(first);
    let agents = UMS.replace("REST", "effect: reversible");
    let second = changing()
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_AGENTS", &format!("agents:\n{agents}default: UMS\n"))
        .start()
        .await;
    let answer = again(&second).await;
    let stage = answer.stage("Call GPA Agent")["content"].to_string();
    assert!(
        stage.contains("done when this request was sent before"),
        "{stage}"
    );
    assert_eq!(calls(&second), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_gone_since_is_named() {
    let (endpoint, _server) = table().await;
    let first = looking()
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    left_midway(&first).await;
    drop(first);
    let second = looking()
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_AGENTS", &format!("agents:\n{GPA}"))
        .start()
        .await;
    let answer = again(&second).await;
    assert!(
        answer
            .text()
            .contains("UMS is missing here: there is no agent UMS any more."),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_not_proposed_again() {
    let (endpoint, _server) = table().await;
    let first = changing()
        .ums(hangs_at_chat)
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    left_midway(&first).await;
    drop(first);
    let agents = UMS.replace("REST", "approval: always");
    let second = changing()
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_AGENTS", &format!("agents:\n{GPA}{agents}"))
        .start()
        .await;
    let answer = again(&second).await;
    assert!(
        answer
            .text()
            .contains("UMS was asked when this request was sent before"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.message["custom_content"]["form_schema"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_turn_that_goes_on_spends_on_routing_is_counted() {
    let world = looking().start().await;
    left_midway(&world).await;
    again(&world).await;
    let record = records(&world).await.pop().unwrap();
    let steps = record["usage"].to_string();
    assert!(steps.contains("\"route\""), "{steps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stands_in_and_may_change_something_is_asked_once() {
    let steps = json!([
        step("a", "GPA", "Look", &[]),
        step("b", "GPA", "Look again", &["a"])
    ]);
    let agents = GPA.replace("effect: none", "effect: none, fallback: UMS")
        + &UMS.replace("REST", "effect: reversible");
    let world = plan("GPA")
        .model(planner(steps))
        .set("MAS_LIMITS", "duplicate=1ms,requests=off,concurrent=off")
        .set("MAS_AGENTS", &format!("agents:\n{agents}"))
        .gpa(|_| Reply::json(400, json!({})))
        .ums(hangs_at_chat)
        .start()
        .await;
    let body = json!({"messages": [user(REQUEST)], "stream": true});
    let mut response = world.post(&body).send().await.unwrap();
    while calls(&world).1 == 0 {
        tokio::select! {
            _ = response.chunk() => {}
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    drop(response);
    while world.running() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let body = json!({"messages": [user(REQUEST)], "stream": true});
    let again = World::answer(world.post(&body));
    let again = tokio::time::timeout(Duration::from_secs(20), again).await;
    assert!(again.is_ok(), "UMS is asked, and hangs, again");
    assert_eq!(calls(&world).1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_knows_nothing_of_a_plan_does_not_end_it() {
    let (endpoint, _server) = table().await;
    let first = changing()
        .ums(hangs_at_chat)
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    left_midway(&first).await;
    drop(first);
    // Such as an account that was counted in another instance alone.
    let account = items(&endpoint).await;
    let account = account.iter().find(|item| item["sk"]["S"] == "ACCOUNT");
    let account = account.unwrap();
    let key = json!({"pk": account["pk"], "sk": account["sk"]});
    raw(
        &endpoint,
        "DeleteItem",
        json!({"TableName": "mas", "Key": key}),
    )
    .await;
    let looks = json!([
        step("a", "GPA", "Look", &[]),
        step("b", "GPA", "Look again", &[])
    ]);
    let second = plan("GPA")
        .model(planner(looks))
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    again(&second).await;
    assert_eq!(kept(&items(&endpoint).await).len(), 1);
}

/// Whoever asks for UMS gets another one, in this share of turns.
fn swapping(share: &str, rules: &str) -> String {
    let agents = UMS.replace("REST", "effect: reversible");
    format!(
        "agents:\n{GPA}{agents}\
         - {{name: UMS-next, endpoint: '{{gpa}}/next', listed: false, effect: reversible, description: better}}\n\
         {rules}\
         experiments: [{{name: next, arms: [{{name: new, share: {share}, agents: {{UMS: UMS-next}}}}]}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_for_an_agent_holds_for_who_stood_in_for_it_when_the_plan_was_made() {
    let (endpoint, _server) = table().await;
    let first = changing()
        .gpa(|_| Reply::sse().hang())
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_AGENTS", &swapping("100%", ""))
        .start()
        .await;
    let body = json!({"messages": [user(REQUEST)], "stream": true});
    let mut response = first.post(&body).send().await.unwrap();
    while kept(&items(&endpoint).await).is_empty() {
        tokio::select! {
            _ = response.chunk() => {}
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    drop(response);
    while first.running() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(first);
    let rules = "routing: {rules: [{if: 'true', then: {forbid: UMS, say: Not today.}}]}\n";
    let second = changing()
        .gpa(|_| says("Paris: sunny."))
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_AGENTS", &swapping("0%", rules))
        .start()
        .await;
    let answer = again(&second).await;
    assert!(answer.text().contains("Not today."), "{}", answer.text());
    assert_eq!(calls(&second), (1, 0), "neither of them is asked");
}
