use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::*;
use crate::probe;

async fn ask(reply: Reply) -> probe::Answer {
    let stub = Stub::start(move |_| reply.clone()).await.unwrap();
    probe::get(&stub.url()).await
}

#[tokio::test]
async fn requests_are_remembered() {
    let stub = Stub::start(|seen| Reply::json(201, json!({"path": seen.path})).header("x-a", "b"))
        .await
        .unwrap();
    let url = format!("{}/a/b?c=d", stub.url());
    let answer = probe::post(&url, &[("Api-Key", "k")], &json!({"n": 1})).await;
    assert_eq!(
        (answer.status, answer.json()),
        (201, json!({"path": "/a/b?c=d"}))
    );
    assert!(answer.head.contains("x-a: b\r\n"));
    assert!(answer.head.contains("content-length: 19"));
    let seen = stub.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].method.as_str(), seen[0].path.as_str()),
        ("POST", "/a/b?c=d")
    );
    assert_eq!(seen[0].header("api-key"), Some("k"));
    assert_eq!(seen[0].json(), json!({"n": 1}));
}

#[tokio::test]
async fn each_piece_is_a_chunk() {
    let answer = ask(Reply::sse()
        .data("one")
        .bytes("da")
        .bytes("ta: two\n\n")
        .done())
    .await;
    assert!(answer.head.contains("content-type: text/event-stream"));
    assert_eq!(
        answer.chunks,
        ["data: one\n\n", "da", "ta: two\n\n", "data: [DONE]\n\n"]
    );
    assert!(answer.complete);
}

#[tokio::test]
async fn a_cut_answer_never_ends_properly() {
    let answer = ask(Reply::sse().data("one").cut()).await;
    assert_eq!(
        (answer.status, answer.body().as_str()),
        (200, "data: one\n\n")
    );
    assert!(!answer.complete);
    let answer = ask(Reply::text(200, "half of").cut()).await;
    assert_eq!(
        (answer.body().as_str(), answer.complete),
        ("half of", false)
    );
}

#[tokio::test]
async fn a_hanging_answer_ends_when_the_peer_leaves() {
    let stub = Stub::start(|seen| match seen.path.as_str() {
        "/late" => Reply::sse().delay(Duration::from_hours(1)),
        _ => Reply::sse().data("one").hang(),
    })
    .await
    .unwrap();
    let mut hanging = probe::open("GET", &stub.url(), &[], "").await;
    let late = probe::open("GET", &format!("{}/late", stub.url()), &[], "").await;
    let mut first = [0; 64];
    hanging.read_exact(&mut first).await.unwrap();
    until(|| stub.in_flight() == 2).await;
    drop((hanging, late));
    until(|| stub.in_flight() == 0).await;
}

#[tokio::test]
async fn a_dropped_stub_breaks_its_connections() {
    let stub = Stub::start(|_| Reply::sse().hang()).await.unwrap();
    let mut hanging = probe::open("GET", &stub.url(), &[], "").await;
    until(|| stub.in_flight() == 1).await;
    drop(stub);
    let mut rest = Vec::new();
    let _ = hanging.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_capture_is_replayed() {
    let capture = "HTTP/1.1 202 Accepted\r\ndate: now\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\nRetry-After: 3\r\nTransfer-Encoding: chunked\r\n\r\ndata: a\n\n: heartbeat\n\ndata: [DONE]\n\n";
    let answer = ask(Reply::captured(capture)).await;
    assert_eq!(answer.status, 202);
    assert!(answer.head.contains("retry-after: 3"));
    assert!(!answer.head.contains("uvicorn"));
    assert_eq!(
        answer.chunks,
        ["data: a\n\n", ": heartbeat\n\n", "data: [DONE]\n\n"]
    );
}

#[tokio::test]
async fn a_missing_sample_says_so() {
    let answer = ask(Reply::sample("no/such.http")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.body().contains("no/such.http"));
}

/// Gives the server its turns until it has noticed.
async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}
