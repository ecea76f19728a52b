//! Stories of agents that are left alone, of their spare endpoints, and of the agents that stand in for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{World, delta, model, plan, says, ums, user};

fn broken() -> Reply {
    Reply::json(500, json!({"error": {"message": "SECRET-INTERNAL"}}))
}

/// One agent that may be asked at several places, and another that stands in for it.
const FALLBACK: &str = "agents:\n\
    - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', fallback: GPA}\n\
    - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: none, fallback: UMS}\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_keeps_failing_is_left_alone_and_the_user_is_told() {
    let world = plan("GPA").gpa(|_| broken()).start().await;
    for _ in 0..5 {
        let answer = world.ask(&[user("hi")]).await;
        assert_eq!(answer.error_code(), "agent_unavailable");
    }
    let asked = world.gpa.seen().len();
    let answer = world.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    let told = answer.checked.error.unwrap()["display_message"].to_string();
    assert!(told.contains("left alone"), "{told}");
    assert_eq!(world.gpa.seen().len(), asked, "it was not asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_learns_of_a_failing_agent_from_the_table() {
    let (endpoint, server) = crate::world::table().await;
    let one = plan("GPA")
        .gpa(|_| broken())
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    for _ in 0..5 {
        one.ask(&[user("hi")]).await;
    }
    let shared = format!("{}/gpa", one.gpa.url());
    let other = plan("GPA")
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("GPA_AGENT_ENDPOINT", &shared)
        .start()
        .await;
    let asked = one.gpa.seen().len();
    let answer = other.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    assert_eq!(one.gpa.seen().len(), asked);
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_mistakes_shut_an_agent_for_nobody() {
    for status in [400, 401, 403, 404, 413, 422] {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let world = plan("GPA")
            .gpa(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
                0..6 => Reply::json(status, json!({"error": {"message": "no"}})),
                _ => says("fine"),
            })
            .start()
            .await;
        for _ in 0..6 {
            world.ask(&[user("hi")]).await;
        }
        let answer = world.ask(&[user("hi")]).await;
        assert_eq!(answer.checked.error, None, "after six times {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_used_up_quota_shuts_a_model_for_nobody_else() {
    let core = |seen: &Seen| {
        let person = seen.header("api-key").unwrap_or_default().to_owned();
        match seen.path.split('?').next().unwrap() {
            "/v1/bucket" => Reply::json(
                200,
                json!({"bucket": "b", "appdata": format!("{person}/appdata/mas-coordinator")}),
            ),
            path if path.contains("gpt-4o") && person == "mallory" => {
                Reply::json(429, json!({"error": {"message": "quota"}})).header("retry-after", "60")
            }
            path if path.contains("gpt-4o") => model(seen, "GPA"),
            _ => says("fine"),
        }
    };
    let world = plan("GPA")
        .model(core)
        .set("DIAL_URL", "{model}")
        .start()
        .await;
    let ask = async |person: &str, n: usize| {
        let body = json!({"messages": [user(&format!("request {n}"))], "stream": true});
        let mut request = world.post(&body).build().unwrap();
        request
            .headers_mut()
            .insert("api-key", person.parse().unwrap());
        let answer = world.client().execute(request).await.unwrap();
        answer.text().await.unwrap()
    };
    for n in 0..24 {
        ask("mallory", n).await;
    }
    let answer = ask("alice", 0).await;
    assert!(answer.contains("Final"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_long_for_an_agent_shut_it_for_nobody() {
    let too_long = json!({"error": {"message": "x", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    let count = Arc::new(AtomicUsize::new(0));
    let world = plan("GPA")
        .gpa(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0..6 => Reply::sse().data(too_long.clone()).done(),
            _ => says("fine"),
        })
        .start()
        .await;
    for n in 0..6 {
        world.ask(&[user(&format!("request {n}"))]).await;
    }
    world.well(&[user("hi")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_lets_nobody_in_is_left_alone() {
    let core = |seen: &Seen| {
        let person = seen.header("api-key").unwrap_or_default().to_owned();
        match seen.path.split('?').next().unwrap() {
            "/v1/bucket" => Reply::json(
                200,
                json!({"bucket": "b", "appdata": format!("{person}/appdata/mas-coordinator")}),
            ),
            path if path.contains("gpt-4o") => model(seen, "GPA"),
            _ => Reply::json(403, json!({"error": {"message": "no"}})),
        }
    };
    let asked = |world: &World| {
        let seen = world.model.seen();
        seen.iter()
            .filter(|seen| seen.path.contains("general-purpose"))
            .count()
    };
    for (people, left_alone) in [(1, false), (9, true)] {
        let world = plan("GPA")
            .model(core)
            .set("DIAL_URL", "{model}")
            .start()
            .await;
        for n in 0..9 {
            let body = json!({"messages": [user(&format!("request {n}"))], "stream": true});
            let mut request = world.post(&body).build().unwrap();
            let key = format!("person{}", n % people);
            request
                .headers_mut()
                .insert("api-key", key.parse().unwrap());
            world
                .client()
                .execute(request)
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
        }
        assert_eq!(
            asked(&world) < 9,
            left_alone,
            "{people} people, {} calls",
            asked(&world)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_model_that_keeps_failing_is_not_waited_for() {
    let world = plan("GPA")
        .model(|seen| match seen.json()["response_format"].is_object() {
            true => broken(),
            false => broken(),
        })
        .start()
        .await;
    for _ in 0..3 {
        let answer = world.well(&[user("hi")]).await;
        assert_eq!(answer.text(), "Done: all good.");
    }
    let asked = world.model.seen().len();
    world.well(&[user("hi")]).await;
    assert_eq!(world.model.seen().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_endpoint_answers_when_the_first_cannot() {
    let spare = Stub::start(|_| says("from the spare")).await.unwrap();
    let endpoints = format!("http://127.0.0.1:9/gpa, {}/gpa", spare.url());
    let world = plan("GPA")
        .set("GPA_AGENT_ENDPOINT", &endpoints)
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    let content = answer.stage("Call GPA Agent")["content"].to_string();
    assert!(content.contains("from the spare"), "{content}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_spare_endpoint_is_kept_to_for_a_while() {
    let spare = Stub::start(|_| says("from the spare")).await.unwrap();
    let down = Arc::new(AtomicUsize::new(1));
    let is_down = Arc::clone(&down);
    let world = plan("GPA")
        .gpa(move |_| match is_down.load(Ordering::SeqCst) {
            1 => broken(),
            _ => says("from the first"),
        })
        .set(
            "GPA_AGENT_ENDPOINT",
            &format!("{{gpa}}/gpa, {}/gpa", spare.url()),
        )
        .start()
        .await;
    world.well(&[user("hi")]).await;
    down.store(0, Ordering::SeqCst);
    world.well(&[user("hi")]).await;
    assert_eq!(
        (world.gpa.seen().len(), spare.seen().len()),
        (1, 2),
        "the first is well again, and is not swung back to at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_stands_in_when_the_chosen_one_cannot_be_asked() {
    let world = plan("UMS")
        .set("MAS_AGENTS", FALLBACK)
        .set("UMS_AGENT_ENDPOINT", "http://127.0.0.1:9")
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(answer.stage("Call UMS Agent")["status"], "failed");
    let stage = answer.stage("Call GPA Agent");
    assert_eq!(stage["status"], "completed");
    let content = stage["content"].to_string();
    assert!(
        content.contains("UMS could not answer, so GPA was asked instead"),
        "{content}"
    );
    assert_eq!(answer.text(), "Final answer.");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stands_in_for_an_agent_that_may_have_acted_or_was_seen_answering() {
    let acted = plan("UMS")
        .set("MAS_AGENTS", FALLBACK)
        .ums(|seen| match seen.path.ends_with("/chat") {
            true => Reply::json(503, json!({})),
            false => ums(seen),
        })
        .start()
        .await;
    let answer = acted.ask(&[user("Rename user Bob")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    assert!(acted.gpa.seen().is_empty());

    let seen = plan("GPA")
        .set("MAS_AGENTS", FALLBACK)
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"content": "partial"})))
                .cut()
        })
        .start()
        .await;
    let answer = seen.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    assert!(seen.ums.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_stand_in_for_each_other_are_each_asked_once() {
    let world = plan("UMS")
        .set("MAS_AGENTS", FALLBACK)
        .set("UMS_AGENT_ENDPOINT", "http://127.0.0.1:9")
        .gpa(|_| broken())
        .start()
        .await;
    let answer = world.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    assert_eq!(world.gpa.seen().len(), 1);
}

/// What an endpoint of an agent that may change something does with a call.
fn schedule() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0_u8..9, 1..12)
}

fn misbehaves(what: u8, seen: &Seen) -> Reply {
    match what {
        0 => Reply::json(500, json!({})),
        1 => Reply::json(503, json!({})).header("retry-after", "0"),
        2 => Reply::json(429, json!({})).header("retry-after", "0"),
        3 => Reply::raw(200, "text/event-stream", "").cut(),
        4 => Reply::sse().data("garbage").done(),
        5 => Reply::sse().data(delta(json!({"content": "part"}))).cut(),
        6 => Reply::sse().hang(),
        7 => Reply::text(302, "").header("location", "/elsewhere"),
        _ => ums(seen),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn an_agent_that_may_change_something_gets_each_request_once_at_most(
        faults in schedule(), creating in schedule(), refused in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let orders = Arc::new(Mutex::new(Vec::new()));
            let agent = |faults: Vec<u8>, creating: Vec<u8>| {
                let (orders, calls) = (Arc::clone(&orders), AtomicUsize::new(0));
                move |seen: &Seen| {
                    let call = calls.fetch_add(1, Ordering::SeqCst);
                    if seen.path.ends_with("/chat") {
                        orders.lock().unwrap().push(seen.json()["message"]["content"].to_string());
                        misbehaves(faults[call % faults.len()], seen)
                    } else if seen.method == "POST" {
                        match creating[call % creating.len()] {
                            6 | 8 => ums(seen),
                            what => misbehaves(what, seen),
                        }
                    } else {
                        // The conversation is there, whatever else happened.
                        Reply::json(200, json!({}))
                    }
                }
            };
            let spare = Stub::start(agent(creating.clone(), faults.clone())).await.unwrap();
            let first = if refused { "http://127.0.0.1:9" } else { "{ums}" };
            let world = plan("UMS")
                .ums(agent(faults, creating))
                .set("UMS_AGENT_ENDPOINT", &format!("{first}, {}", spare.url()))
                .set("MAS_AGENT_FIRST_BYTE", "200ms")
                .set("MAS_STREAM_IDLE", "200ms")
                .set("MAS_LIMITS", "requests=off")
                .start()
                .await;
            for request in 0..6 {
                world.ask(&[user(&format!("Rename user {request}"))]).await;
            }
            let orders = orders.lock().unwrap();
            for request in 0..6 {
                let wanted = format!("\"Rename user {request}\"");
                let times = orders.iter().filter(|order| **order == wanted).count();
                prop_assert!(times <= 1, "{} was sent {} times", wanted, times);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_wants_patience_gets_it() {
    let world: World = plan("GPA")
        .gpa(|_| Reply::json(503, json!({})).header("retry-after", "50"))
        .set("MAS_BREAKER", "failures=1,open=1s")
        .start()
        .await;
    world.ask(&[user("hi")]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = world.gpa.seen().len();
    world.ask(&[user("hi")]).await;
    assert_eq!(world.gpa.seen().len(), asked, "one second would be over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_never_ends_is_not_waited_for() {
    let spare = Stub::start(|_| says("from the spare")).await.unwrap();
    let world = plan("GPA")
        .gpa(|_| Reply::raw(500, "application/json", "{").hang())
        .set(
            "GPA_AGENT_ENDPOINT",
            &format!("{{gpa}}/gpa, {}/gpa", spare.url()),
        )
        .start()
        .await;
    let messages = [user("hi")];
    let answer = timeout(Duration::from_secs(30), world.well(&messages)).await;
    let content = answer
        .expect("the status is enough")
        .stage("Call GPA Agent")["content"]
        .to_string();
    assert!(content.contains("from the spare"), "{content}");
}
