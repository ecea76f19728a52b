//! Stories of hooks: what they are told, what they may say, and what it means that they say nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coordinator::http;
use ring::hmac;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

use crate::audit::entries;
use crate::world::{Answer, Plan, World, echoed, items, model, plan, routes, says, user};

const AGENTS: &str = "agents:\n\
    - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
    - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}'}\n";

type Answering = fn(&Seen) -> Reply;

fn key(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

/// Somebody who is asked, and answers so.
async fn desk(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::start(answer).await.unwrap()
}

/// A desk that says the same each time.
async fn saying(answer: Value) -> Stub {
    desk(move |_| Reply::json(200, answer.clone())).await
}

/// A coordinator with this list of hooks; `${DESK}` is the desk.
fn hooked(agent: &str, desk: &Stub, hooks: &str) -> Plan {
    plan(agent)
        .set("MAS_AGENTS", &format!("{AGENTS}hooks:\n{hooks}"))
        .set("DESK", &desk.url())
        .set("MAS_HOOK_KEY", &key(7))
}

/// One webhook.
fn webhook(at: &str, rest: &str) -> String {
    format!("- {{name: desk, at: {at}, url: '${{DESK}}', timeout: 10s, {rest}}}\n")
}

/// What the desk was told, in order.
fn told(desk: &Stub) -> Vec<Value> {
    desk.seen().iter().map(Seen::json).collect()
}

fn points(desk: &Stub) -> Vec<String> {
    let kinds = told(desk).into_iter();
    (kinds.map(|event| event["type"].as_str().unwrap().to_owned())).collect()
}

/// As a receiver does it, with another implementation than ours.
fn verified(seen: &Seen, byte: u8) -> bool {
    let header = |name| seen.header(name).unwrap();
    let seconds: u64 = header("webhook-timestamp").parse().unwrap();
    assert!(http::clock().seconds().0.abs_diff(seconds) < 300);
    let mut signed = format!("{}.{seconds}.", header("webhook-id")).into_bytes();
    signed.extend_from_slice(&seen.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
    header("webhook-signature").split(' ').any(|signature| {
        let tag = STANDARD
            .decode(signature.strip_prefix("v1,").unwrap())
            .unwrap();
        hmac::verify(&key, &signed, &tag).is_ok()
    })
}

fn finish(answer: &Answer) -> &Value {
    &answer.whole["choices"][0]["finish_reason"]
}

/// The newest record.
async fn record(world: &World) -> Value {
    let items = items(&world.table).await;
    let records = items.iter().filter_map(|item| item["record"]["S"].as_str());
    let mut records: Vec<Value> = records
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    records.sort_by_key(|record| record["id"].as_str().unwrap().to_owned());
    records.pop().unwrap()
}

/// The first example of the page.
fn documented() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hooks.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_example_works_as_the_page_says() {
    let desk = desk(|seen| {
        let event = seen.json();
        let request = event["data"]["content"]["request"].as_str();
        match (event["type"].as_str(), request) {
            (Some("mas.before_route"), Some("to the users")) => {
                Reply::json(200, json!({"agent": "UMS"}))
            }
            _ => Reply::json(200, json!({"note": "seen by the desk"})),
        }
    })
    .await;
    // Half a second may be little on a machine that runs all tests at once.
    let example = documented().replace("timeout: 500ms", "timeout: 10s");
    assert!(example.contains("10s  "), "{example}");
    let world = plan("GPA")
        .set("MAS_AGENTS", &format!("{AGENTS}{example}"))
        .set("DESK_URL", &desk.url())
        .set("MAS_HOOK_KEY", &format!("{},{}", key(8), key(7)))
        .start()
        .await;

    world
        .well(&[user("I am ann@example.com, card 1234 5678 9012 3456")])
        .await;
    let asked = World::asked(&world.gpa).pop().unwrap().to_string();
    assert!(asked.contains("I am [email], card [card]"), "{asked}");
    assert_eq!(
        points(&desk),
        ["mas.before_route", "mas.before_agent", "mas.after_turn"]
    );
    for seen in desk.seen() {
        assert!(verified(&seen, 7) && verified(&seen, 8) && !verified(&seen, 9));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert_eq!(seen.header("x-mas-depth"), Some("1"));
    }
    let ids: std::collections::BTreeSet<String> = (desk.seen().iter())
        .map(|seen| seen.header("webhook-id").unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3, "no two events have the same id");

    let refused = world.well(&[user("Tell me of project  NIGHTFALL.")]).await;
    assert_eq!(refused.text(), "Project Nightfall is not discussed here.");
    assert_eq!(finish(&refused), "content_filter");
    let refused = told(&desk).pop().unwrap();
    assert_eq!(refused["data"]["outcome"], "refused");

    let users = world.well(&[user("to the users")]).await;
    assert!(
        users.stage("Coordination Request")["content"]
            .to_string()
            .contains("hook")
    );
    users.stage("Call UMS Agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_holds_ids_words_and_sizes_and_what_was_said_only_where_it_is_to() {
    let desk = desk(|_| Reply::raw(204, "text/plain", "")).await;
    let every =
        "[before_route, after_route, before_agent, after_agent, before_synthesis, after_turn]";
    let world = hooked("GPA", &desk, &webhook(every, "fail: closed"))
        .start()
        .await;
    world.well(&[user("a question of mine")]).await;
    assert_eq!(
        points(&desk),
        [
            "mas.before_route",
            "mas.after_route",
            "mas.before_agent",
            "mas.after_agent",
            "mas.before_synthesis",
            "mas.after_turn"
        ]
    );
    let events = told(&desk);
    for event in &events {
        assert_eq!(event["data"]["sizes"]["request"], 18);
        assert_eq!(event["data"]["turn"], events[0]["data"]["turn"]);
        assert!(event["data"]["trace"].is_string() && event["data"]["person"].is_string());
        let text = event.to_string();
        assert!(
            !text.contains("of mine") && !text.contains("all good"),
            "{text}"
        );
    }
    assert_eq!(events[0]["data"]["decision"], Value::Null);
    let decision = json!({"plan": "single", "decided_by": "model", "confidence": 0.9});
    assert_eq!(events[1]["data"]["decision"], decision);
    assert_eq!(events[2]["data"]["agent"], "GPA");
    assert_eq!(events[3]["data"]["calls"][0]["outcome"], "answered");
    assert_eq!(events[3]["data"]["sizes"]["answer"], 15);
    assert_eq!(events[5]["data"]["outcome"], "answered");

    let every = &webhook(every, "fail: closed, content: true");
    let world = hooked("GPA", &desk, every).start().await;
    world.well(&[user("a question of mine")]).await;
    let events = told(&desk).split_off(6);
    let content = |at: usize| events[at]["data"]["content"].clone();
    assert_eq!(content(2), json!({"request": "a question of mine"}));
    let said = json!({"request": "a question of mine", "answer": "Done: all good."});
    assert_eq!((content(3), content(4)), (said.clone(), said));
    assert_eq!(content(5)["answer"], "Final answer.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_sees_a_message_with_a_preference_in_it_once() {
    let desk = desk(|_| Reply::raw(204, "text/plain", "")).await;
    let world = hooked("GPA", &desk, &webhook("before_route", "fail: closed"))
        .start()
        .await;
    let answer = world
        .well(&[user("Never ask UMS. What is the weather?")])
        .await;
    assert_eq!(answer.text(), "Final answer.");
    answer.stage("Your preferences");
    assert_eq!(points(&desk), ["mas.before_route"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_may_refuse_at_every_point_but_the_last() {
    // How often model and agent were asked by then.
    for (at, models, agents) in [
        ("before_route", 0, 0),
        ("after_route", 1, 0),
        ("before_agent", 1, 0),
        ("after_agent", 1, 1),
        ("before_synthesis", 1, 1),
    ] {
        let desk = saying(json!({"refuse": "Not here.", "note": "rule 7"})).await;
        let world = hooked("GPA", &desk, &webhook(at, "fail: open"))
            .start()
            .await;
        let answer = world.well(&[user("hi")]).await;
        assert_eq!(answer.text(), "Not here.", "{at}");
        assert_eq!(finish(&answer), "content_filter");
        assert_eq!(world.model.seen().len(), models, "{at}");
        assert_eq!(world.gpa.seen().len(), agents, "{at}");

        let record = record(&world).await;
        assert_eq!(record["outcome"], "refused");
        assert_eq!(
            record["exchange"],
            Value::Null,
            "what was refused is not remembered"
        );
        assert_eq!(record["hooks"][0]["said"], "refused");
        assert_eq!(record["hooks"][0]["note"], "rule 7");
        let line = entries(&world.table).await.pop().unwrap();
        assert_eq!(
            (&line["outcome"], &line["refused_by"]),
            (&json!("refused"), &json!("desk"))
        );
        assert!(!line.to_string().contains("rule 7") && !line.to_string().contains("Not here"));
        let metrics = world.metrics().await;
        let counted =
            format!("mas_hook_calls_total{{hook=\"desk\",point=\"{at}\",result=\"refused\"}} 1\n");
        assert!(metrics.contains(&counted), "{metrics}");

        // The agent is told nothing of it later.
        let world = hooked("GPA", &desk, "- {name: none, refuse: [zzz]}\n")
            .start()
            .await;
        world
            .well(&[user("hi"), echoed(&answer), user("and now?")])
            .await;
        assert_eq!(
            World::asked(&world.gpa)[0]["messages"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_does_not_answer_as_it_should_lets_the_turn_go_on_or_ends_it() {
    let bad: Vec<(&str, Answering)> = vec![
        ("an error", |_| Reply::json(500, json!({}))),
        ("a redirect", |_| {
            Reply::json(302, json!({})).header("location", "/")
        }),
        ("an unknown word", |_| {
            Reply::json(200, json!({"deny": true}))
        }),
        ("no JSON", |_| Reply::text(200, "fine")),
        ("too much", |_| Reply::text(200, " ".repeat(20_000))),
        ("an agent too late", |_| {
            Reply::json(200, json!({"agent": "UMS"}))
        }),
        ("a broken answer", |_| {
            Reply::raw(200, "application/json", "{").cut()
        }),
    ];
    for (what, reply) in bad {
        let desk = desk(reply).await;
        let open = hooked("GPA", &desk, &webhook("after_route", "fail: open"))
            .start()
            .await;
        assert_eq!(
            open.well(&[user("hi")]).await.text(),
            "Final answer.",
            "{what}"
        );
        assert_eq!(record(&open).await["hooks"][0]["said"], "failed", "{what}");

        let closed = hooked("GPA", &desk, &webhook("after_route", "fail: closed"))
            .start()
            .await;
        let answer = closed.well(&[user("hi")]).await;
        assert!(
            answer.text().contains("cannot be checked"),
            "{what}: {}",
            answer.text()
        );
        assert!(closed.gpa.seen().is_empty(), "{what}");
        assert_eq!(
            record(&closed).await["hooks"][0]["said"],
            "closed",
            "{what}"
        );
        assert_eq!(desk.seen().len(), 2, "{what}: asked once a turn");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_silent_takes_no_more_than_its_time() {
    let desk = desk(|_| Reply::text(200, "").hang()).await;
    let silent = "- {name: desk, at: [before_agent, after_turn], url: '${DESK}', timeout: 300ms, fail: open}\n";
    let world = hooked("GPA", &desk, silent).start().await;
    let begun = Instant::now();
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(answer.text(), "Final answer.");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(600),
        "{took:?}: it was not waited for"
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(points(&desk), ["mas.before_agent", "mas.after_turn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_asked_in_order_until_one_refuses() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let desk = desk(move |seen| {
        noted.lock().unwrap().push(seen.path.clone());
        let refuses = seen.path == "/second";
        Reply::json(
            200,
            if refuses {
                json!({"refuse": "Second."})
            } else {
                json!({})
            },
        )
    })
    .await;
    let hooks: String = ["first", "second", "third"]
        .map(|name| {
            format!("- {{name: {name}, at: before_route, url: '${{DESK}}/{name}', timeout: 10s, fail: closed}}\n")
        })
        .concat();
    let world = hooked("GPA", &desk, &hooks).start().await;
    assert_eq!(world.well(&[user("hi")]).await.text(), "Second.");
    assert_eq!(*asked.lock().unwrap(), ["/first", "/second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_chooses_among_its_own_agents_and_approves_nothing() {
    let desk = saying(json!({"agent": "UMS"})).await;
    let world = hooked(
        "GPA",
        &desk,
        &webhook("before_route", "fail: closed, agents: [UMS]"),
    )
    .start()
    .await;
    world.well(&[user("hi")]).await.stage("Call UMS Agent");
    assert!(world.gpa.seen().is_empty());
    let record = record(&world).await;
    assert_eq!(
        (&record["source"], &record["rungs"][0]["name"]),
        (&json!("hook"), &json!("hook"))
    );

    let world = hooked(
        "GPA",
        &desk,
        &webhook("before_route", "fail: closed, agents: [GPA]"),
    )
    .start()
    .await;
    let refused = world.well(&[user("hi")]).await;
    assert!(
        refused.text().contains("cannot be checked"),
        "{}",
        refused.text()
    );

    let careful = AGENTS.replace(
        "protocol: conversation",
        "protocol: conversation, approval: always",
    );
    let hook = webhook("before_route", "fail: closed, agents: [UMS]");
    let world = plan("GPA")
        .set("MAS_AGENTS", &format!("{careful}hooks:\n{hook}"))
        .set("DESK", &desk.url())
        .set("MAS_HOOK_KEY", &key(7))
        .start()
        .await;
    let proposed = world.well(&[user("Delete Bob")]).await;
    proposed.stage("Approval needed");
    assert!(world.ums.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_cannot_choose_an_agent_that_a_rule_forbids() {
    let desk = saying(json!({"agent": "UMS"})).await;
    let rule = "routing: {rules: [{if: 'true', then: {forbid: UMS, say: Not today.}}]}\n";
    let hook = webhook("before_route", "fail: closed, agents: [UMS]");
    let world = plan("GPA")
        .set("MAS_AGENTS", &format!("{AGENTS}{rule}hooks:\n{hook}"))
        .set("DESK", &desk.url())
        .set("MAS_HOOK_KEY", &key(7))
        .start()
        .await;
    assert_eq!(world.well(&[user("hi")]).await.text(), "Not today.");
    assert!(world.ums.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_keeps_failing_is_left_alone() {
    let desk = desk(|_| Reply::json(500, json!({}))).await;
    let world = hooked("GPA", &desk, &webhook("before_route", "fail: open"))
        .start()
        .await;
    for _ in 0..8 {
        world.well(&[user("hi")]).await;
    }
    assert_eq!(desk.seen().len(), 5, "then its breaker is open");
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("mas_breaker_state{peer=\"hook:desk\"} 2"),
        "{metrics}"
    );
    let failed = "mas_hook_calls_total{hook=\"desk\",point=\"before_route\",result=\"failed\"} 8\n";
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_called_only_where_agents_may_be() {
    let desk = saying(json!({})).await;
    let world = hooked("GPA", &desk, &webhook("before_route", "fail: closed"))
        .set("MAS_PRIVATE_NETWORKS", "10.0.0.0/8")
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    assert!(
        answer.text().contains("cannot be checked"),
        "{}",
        answer.text()
    );
    assert!(desk.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_redacted_is_seen_by_nobody_in_this_turn_or_a_later_one() {
    let desk = saying(json!({})).await;
    let hooks = "- {name: private, redact: {phone: '\\+\\d{9,}'}}\n".to_owned()
        + &webhook(
            "[before_route, before_agent]",
            "fail: closed, content: true",
        );
    let world = hooked("GPA", &desk, &hooks).start().await;
    let first = world.well(&[user("Call +380441234567!")]).await;
    let second = [
        user("Call +380441234567!"),
        echoed(&first),
        user("Or +380447654321?"),
    ];
    world.well(&second).await;
    for stub in [&world.model, &world.gpa, &desk] {
        let seen: String = (stub.seen().iter())
            .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
            .collect();
        assert!(
            seen.contains("Call [phone]!") && seen.contains("Or [phone]?"),
            "{seen}"
        );
        assert!(!seen.contains("+38044"), "{seen}");
    }
    let kept = items(&world.table).await;
    assert!(!json!(kept).to_string().contains("+38044"));
    assert_eq!(record(&world).await["hooks"][0]["said"], "redacted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_said_may_be_refused_and_its_user_is_told_what_may_have_been_done() {
    let desk = saying(json!({})).await;
    let hooks = "- {name: words, at: after_agent, refuse: ['(?i)GOOD'], say: 'Withheld.'}\n";
    let world = hooked("UMS", &desk, hooks).start().await;
    let answer = world.well(&[user("hi")]).await;
    assert!(answer.text().starts_with("Withheld."), "{}", answer.text());
    assert!(
        answer.text().contains("please check before"),
        "{}",
        answer.text()
    );
    assert_eq!(world.model.seen().len(), 1, "no model wrote an answer");

    // Where the agent's answer was passed on, it has been seen.
    let world = hooked("GPA", &desk, hooks)
        .gpa(|_| says("All good."))
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(answer.text(), "All good.\n\nWithheld.");
    assert_eq!(finish(&answer), "content_filter");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_answer_is_asked_of_hooks_too() {
    let desk = desk(|seen| {
        let text = seen.json()["data"]["content"]["request"]
            .as_str()
            .unwrap()
            .to_owned();
        Reply::json(
            200,
            if text == "no" {
                json!({"refuse": "Not here."})
            } else {
                json!({"agent": "UMS"})
            },
        )
    })
    .await;
    let hook = webhook("before_route", "fail: closed, content: true, agents: [UMS]");
    let world = hooked("GPA", &desk, &hook).start().await;
    let explain = async |text: &str| {
        let request = world.client().post(format!("{}/v1/route", world.url));
        let request = request
            .header("api-key", "k")
            .header("content-type", "application/json");
        let body = json!({"messages": [user(text)]}).to_string();
        let response = request.body(body).send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (status, trace) = explain("yes").await;
    assert_eq!(
        (status, &trace["agent"], &trace["decided_by"]),
        (200, &json!("UMS"), &json!("hook"))
    );
    let (status, refused) = explain("no").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (403, &json!("forbidden"))
    );
    assert_eq!(refused["error"]["display_message"], "Not here.");
    assert!(world.model.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_is_begun_on_a_guess_before_a_hook_has_looked() {
    let desk = saying(json!({})).await;
    let world = hooked("GPA", &desk, &webhook("before_agent", "fail: closed"))
        .model(|seen| match seen.json()["response_format"].is_object() {
            true => routes("GPA", Value::Null).delay(Duration::from_millis(150)),
            false => model(seen, "GPA"),
        })
        .set("MAS_ROUTING", "cache=off,guess=80%")
        .start()
        .await;
    for turn in 0..12 {
        world.well(&[user(&format!("request {turn}"))]).await;
    }
    let metrics = world.metrics().await;
    assert!(!metrics.contains("mas_speculation_total{"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_told_of_turns_that_fail() {
    let desk = saying(json!({"refuse": "too late"})).await;
    let world = hooked("GPA", &desk, &webhook("after_turn", "content: true"))
        .gpa(|_| Reply::json(500, json!({})))
        .start()
        .await;
    let answer = world.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    let event = told(&desk).pop().unwrap();
    assert_eq!(event["data"]["outcome"], "failed");
    assert_eq!(event["data"]["error"], "agent_unavailable");
    assert!(
        world
            .metrics()
            .await
            .contains("point=\"after_turn\",result=\"failed\"")
    );
}
