//! Alive and ready.

use std::time::{Duration, Instant};

use sandbox::stub::Reply;
use serde_json::Value;

use crate::world::{World, plan, ums, user};

async fn ready(world: &World) -> (u16, Value) {
    let response = world.get("/health/ready").send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn state<'a>(body: &'a Value, name: &str) -> &'a str {
    let checks = body["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    assert!(check["latency_ms"].as_f64().unwrap() >= 0.0);
    check["state"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_asks_nobody() {
    let world = plan("GPA").start().await;
    let body: Value = world
        .get("/health")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(body["status"], "ok");
    assert_eq!(
        world.model.seen().len() + world.gpa.seen().len() + world.ums.seen().len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_when_everything_answers() {
    let world = plan("GPA").start().await;
    let (status, body) = ready(&world).await;
    assert_eq!(
        (status, body["status"].as_str()),
        (200, Some("ready")),
        "{body}"
    );
    for name in ["table", "models", "GPA", "UMS"] {
        assert_eq!(state(&body, name), "up", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn degraded_is_still_in_service_and_never_waits_longer_than_a_second() {
    let world = plan("GPA")
        .ums(|_| Reply::text(200, "late").hang())
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .start()
        .await;
    let begun = Instant::now();
    let (status, body) = ready(&world).await;
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (status, body["status"].as_str()),
        (200, Some("degraded")),
        "{body}"
    );
    assert_eq!(
        [
            state(&body, "table"),
            state(&body, "UMS"),
            state(&body, "GPA")
        ],
        ["down", "down", "up"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn down_only_when_nothing_can_work() {
    let world = plan("GPA")
        .gpa(|_| Reply::text(500, "no"))
        .ums(|_| Reply::text(500, "no"))
        .start()
        .await;
    assert_eq!(ready(&world).await.0, 503);
    let core_down = plan("GPA")
        .model(|_| Reply::text(500, "no"))
        .ums(ums)
        .set("DIAL_URL", "{model}")
        .start()
        .await;
    let (status, body) = ready(&core_down).await;
    assert_eq!((status, state(&body, "dial-core")), (503, "down"));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_in_quick_succession_ask_the_dependencies_once() {
    let world = plan("GPA").start().await;
    let (first, second) = (ready(&world).await, ready(&world).await);
    assert_eq!(first, second);
    assert_eq!(world.ums.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_just_heard_is_not_asked_for_its_health() {
    let world = plan("GPA").start().await;
    world.well(&[user("hi")]).await;
    let (_, body) = ready(&world).await;
    assert_eq!(state(&body, "GPA"), "up", "{body}");
    assert_eq!(world.gpa.seen().len(), 1, "the turn's own call alone");
    assert_eq!(world.ums.seen().len(), 1, "nothing was heard of this one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_left_alone_is_not_ready_though_it_answers_probes() {
    let world = plan("GPA")
        .gpa(|seen| match seen.method.as_str() {
            "POST" => Reply::text(500, "no"),
            _ => Reply::text(200, "fine"),
        })
        .start()
        .await;
    for _ in 0..5 {
        world.ask(&[user("hi")]).await;
    }
    let (status, body) = ready(&world).await;
    assert_eq!((status, state(&body, "GPA")), (200, "down"), "{body}");
    assert!(body.to_string().contains("is left alone"), "{body}");
}
