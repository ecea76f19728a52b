//! Stories of what one person may use, and of what DIAL Core makes of our refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sandbox::faults::{Fault, Orders, TableError};
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Answer, Place, Plan, World, delta, items, model, plan, says, table, ums, user};

/// Different words each time: the same request twice is another story.
fn words(n: usize) -> Vec<Value> {
    vec![user(&format!("request {n}"))]
}

async fn codes(world: &World, count: usize) -> Vec<String> {
    let mut codes = Vec::new();
    for n in 0..count {
        codes.push(world.ask(&words(n)).await.error_code().to_owned());
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_limit_are_refused_kindly_and_cost_nothing() {
    let world = plan("GPA").set("MAS_LIMITS", "requests=3").start().await;
    assert_eq!(
        codes(&world, 5).await,
        ["", "", "", "rate_limit_exceeded", "rate_limit_exceeded"]
    );
    assert_eq!(world.gpa.seen().len(), 3);
    let answer = world.ask(&words(9)).await;
    let error = answer.checked.error.unwrap();
    assert!(
        error["display_message"]
            .as_str()
            .unwrap()
            .contains("try again in"),
        "{error}"
    );
    let response = world
        .post(&json!({"messages": words(10)}))
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.status(),
        403,
        "429 would shut the application in DIAL Core"
    );
    let wait: u64 = response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(response.headers()["x-should-retry"], "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_are_not_core_may_be_told_429_and_never_to_wait_for_longer_than_set() {
    let world = plan("GPA")
        .set("MAS_LIMITS", "tokens=1")
        .set("MAS_RATE_LIMIT_STATUS", "429")
        .start()
        .await;
    world.well(&words(0)).await;
    let response = world
        .post(&json!({"messages": words(1)}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "60", "tomorrow is far");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
    assert_eq!(body["error"]["type"], "rate_limit_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_money_of_a_day_can_be_used_up() {
    // A turn here takes 9 tokens for routing and 13 for the answer, 17 of them in and 5 out.
    for (limits, turns) in [
        ("tokens=40", 2),
        ("spend=0.000126", 2),
        ("spend=0.00012", 2),
    ] {
        let world = plan("GPA")
            .set("MAS_LIMITS", limits)
            .set("MAS_PRICES", "gpt-4o=2.5/4")
            .start()
            .await;
        let ended = codes(&world, turns + 1).await;
        assert_eq!(
            ended.iter().filter(|code| code.is_empty()).count(),
            turns,
            "{limits}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_at_the_same_time_are_limited_and_each_end_makes_room() {
    let world = plan("GPA")
        .gpa(|seen| match seen.json().to_string().contains("request 9") {
            true => says("quick"),
            false => Reply::sse()
                .data(delta(json!({"content": "x"})))
                .pause(Duration::from_millis(1500))
                .done(),
        })
        .set("MAS_LIMITS", "requests=off,concurrent=2")
        .start()
        .await;
    let asked: Vec<Vec<Value>> = (0..4).map(words).collect();
    let answers = join_all(asked.iter().map(|words| world.ask(words))).await;
    let refused = answers
        .iter()
        .filter(|answer| answer.error_code() == "rate_limit_exceeded");
    assert_eq!(refused.count(), 2);
    world.well(&words(9)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_twice_is_done_once() {
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    let world = plan("UMS")
        .ums(move |seen| {
            if seen.path.ends_with("/chat") {
                counted.fetch_add(1, Ordering::SeqCst);
                return ums(seen).delay(Duration::from_millis(700));
            }
            ums(seen)
        })
        .start()
        .await;
    let delete = [user("Rename user Bob")];
    let answers = join_all((0..3).map(|_| world.ask(&delete))).await;
    let ended: Vec<&str> = answers.iter().map(Answer::error_code).collect();
    assert_eq!(
        ended
            .iter()
            .filter(|code| **code == "duplicate_request")
            .count(),
        2,
        "{ended:?}"
    );
    assert_eq!(orders.load(Ordering::SeqCst), 1);
    world.well(&delete).await;
    assert_eq!(
        orders.load(Ordering::SeqCst),
        2,
        "asking again afterwards is no mistake"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_give_one_person_what_one_would() {
    let (endpoint, server) = table().await;
    let instance = || {
        plan("GPA")
            .set("MAS_LIMITS", "requests=6,concurrent=off")
            .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
    };
    let worlds = [instance().start().await, instance().start().await];
    let asked: Vec<(usize, Vec<Value>)> = (0..16).map(|n| (n % 2, words(n))).collect();
    let answers = join_all(asked.iter().map(|(at, words)| worlds[*at].ask(words))).await;
    let served = answers
        .iter()
        .filter(|answer| answer.error_code().is_empty())
        .count();
    assert!(
        (6..=8).contains(&served),
        "{served}: no more than the limit and one for each instance"
    );
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_limits_are_counted_in_the_instance() {
    let world = plan("GPA")
        .set("MAS_LIMITS", "requests=2")
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .start()
        .await;
    assert_eq!(codes(&world, 3).await, ["", "", "rate_limit_exceeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_ask_the_coordinator_in_circles_are_stopped() {
    let world = plan("GPA").start().await;
    let deep = |depth: &str| {
        world
            .post(&json!({"messages": words(0)}))
            .header("x-mas-depth", depth)
    };
    for (depth, status) in [
        ("0", 200),
        ("3", 200),
        ("4", 400),
        ("999999999999", 400),
        ("x", 400),
    ] {
        let response = deep(depth).send().await.unwrap();
        assert_eq!(response.status(), status, "{depth}");
    }
    let seen = world.gpa.seen();
    let depths: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("x-mas-depth").unwrap())
        .collect();
    assert_eq!(depths, ["1", "4"], "every level is one deeper");
    assert!(seen.iter().all(|seen| seen.header("traceparent").is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_drops_the_depth_is_stopped_by_its_trace() {
    // The first turn waits for its agent, as in a circle; the others come meanwhile.
    let world = plan("GPA")
        .gpa(
            |seen| match seen.json().to_string().contains("request 999") {
                true => Reply::sse().data(delta(json!({"content": "x"}))).hang(),
                false => says("fine"),
            },
        )
        .start()
        .await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = |n| {
        let body = json!({"messages": words(n), "stream": true});
        world.post(&body).header("traceparent", parent)
    };
    let mut first = traced(999).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains(r#""content":"x""#) {
        seen.push_str(&String::from_utf8_lossy(
            &first.chunk().await.unwrap().unwrap(),
        ));
    }
    let mut ended = Vec::new();
    for n in 0..20 {
        ended.push(World::answer(traced(n)).await.error_code().to_owned());
    }
    assert!(ended[..19].iter().all(String::is_empty), "{ended:?}");
    assert_eq!(ended[19], "recursion_limit_exceeded");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_of_one_trace_that_follow_each_other_are_no_circle() {
    let world = plan("GPA").start().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for n in 0..25 {
        let body = json!({"messages": words(n), "stream": true});
        let request = world.post(&body).header("traceparent", parent);
        assert_eq!(World::answer(request).await.error_code(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_over_a_limit_buys_no_model_call_of_ours() {
    let world = plan("GPA").set("MAS_LIMITS", "requests=1").start().await;
    world.well(&words(0)).await;
    let asked = world.model.seen().len();
    world.ask(&words(1)).await;
    assert_eq!(world.model.seen().len(), asked);
}

/// DIAL Core in front of one application, as far as it judges its health: it takes 429, 502, 503 and 504 for a failing
/// upstream, and three answers in a row with any 5xx for one that needs a rest.
#[derive(Default)]
struct Balancer {
    in_a_row: u32,
    shut: bool,
}

impl Balancer {
    fn answered(&mut self, status: u16) {
        match status {
            429 | 502 | 503 | 504 => self.shut = true,
            500.. => self.in_a_row += 1,
            _ => self.in_a_row = 0,
        }
        self.shut |= self.in_a_row >= 3;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_trouble_shuts_the_application_for_nobody() {
    let troubles: [(&str, Plan); 4] = [
        (
            "over the limit",
            plan("GPA").set("MAS_LIMITS", "requests=1"),
        ),
        (
            "an agent that is down",
            plan("GPA").gpa(|_| Reply::json(503, json!({}))),
        ),
        (
            "an agent that is silent",
            plan("GPA")
                .gpa(|_| Reply::sse().hang())
                .set("MAS_AGENT_FIRST_BYTE", "100ms"),
        ),
        (
            "an agent that has enough",
            plan("GPA").gpa(|_: &Seen| Reply::json(429, json!({}))),
        ),
    ];
    for (trouble, plan) in troubles {
        let world = plan.start().await;
        let mut core = Balancer::default();
        for n in 0..8 {
            let (status, _) = world.block(&words(n)).await;
            core.answered(status);
            assert!(
                !core.shut,
                "{trouble}: shut after {n} answers, the last was {status}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_while_an_agent_is_chosen_may_ask_again() {
    let world = plan("GPA")
        .model(|seen| match seen.json().to_string().contains("slow") {
            true => model(seen, "GPA").delay(Duration::from_secs(60)),
            false => model(seen, "GPA"),
        })
        .set("MAS_LIMITS", "requests=off,concurrent=1")
        .start()
        .await;
    let slow = json!({"messages": [user("slow")], "stream": true});
    let stopped = world.post(&slow).send().await.unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while world.model.in_flight() == 0 {
        assert!(Instant::now() < patience, "the model is not asked");
        tokio::task::yield_now().await;
    }
    drop(stopped);
    // The instance hears of it a moment later.
    for n in 0.. {
        if world.ask(&words(n)).await.error_code().is_empty() {
            break;
        }
        assert!(
            Instant::now() < patience,
            "the turn that was stopped is still counted"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_end_in_the_account_also_while_the_table_is_silent() {
    // Connections are taken, and nothing else happens.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let world = plan("GPA")
        .set("MAS_LIMITS", "requests=off,concurrent=1")
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_STORE_TIMEOUT", "200ms")
        .set("MAS_SAVE_TIMEOUT", "50ms")
        .start()
        .await;
    assert_eq!(codes(&world, 3).await, ["", "", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_another_turn_is_just_saving_is_entered_a_moment_later() {
    let world = plan("GPA")
        .set("MAS_LIMITS", "requests=30")
        .faulty(Place::Table, Fault::Status400)
        .start()
        .await;
    let enters = |seen: &Seen| {
        let target = seen.header("x-amz-target");
        target.is_some_and(|target| target.ends_with(".PutItem"))
    };
    let faulty = world.faulty.as_ref().unwrap();
    let conflict = Orders::from(TableError::WriteConflict).when(enters).only(0);
    faulty.arm(conflict).await;
    world.well(&words(1)).await;
    let kept = items(&world.table).await;
    let account = kept.iter().find(|item| item["sk"]["S"] == "ACCOUNT");
    let version = &account.expect("it was counted here alone")["version"]["N"];
    assert_eq!(version, "2", "entered and left");
}
