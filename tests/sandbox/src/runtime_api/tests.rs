use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const ROOT: &str = "/2018-06-01/runtime/invocation";
const HEAD: &str = "Transfer-Encoding: chunked\r\n\
    Lambda-Runtime-Function-Response-Mode: streaming\r\n\
    Content-Type: application/vnd.awslambda.http-integration-response\r\n\
    Trailer: Lambda-Runtime-Function-Error-Type\r\n";
const PRELUDE: &str = r#"{"statusCode":201,"headers":{"A":["b","c"]},"cookies":["d=e"]}"#;

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let length = stream.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    text
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A function that took an event: its connection, the event's id, and what it was given.
async fn take(api: &RuntimeApi) -> (TcpStream, String, String) {
    let mut function = TcpStream::connect(api.address()).await.unwrap();
    send(
        &mut function,
        &format!("GET {ROOT}/next HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
    .await;
    let given = read_until(&mut function, "\"isBase64Encoded\"").await;
    let id = given
        .split_once("request-id: ")
        .and_then(|(_, rest)| rest.split("\r\n").next())
        .unwrap();
    let id = id.to_owned();
    (function, id, given)
}

async fn begin(function: &mut TcpStream, id: &str) {
    let head = format!("POST {ROOT}/{id}/response HTTP/1.1\r\nHost: x\r\n{HEAD}\r\n");
    send(function, &head).await;
    let (first, second) = PRELUDE.split_at(10);
    send(function, &chunk(first)).await;
    send(function, &chunk(second)).await;
    send(function, &chunk("\0\0\0\0\0\0\0\0data: one\n\n")).await;
}

#[tokio::test]
async fn the_first_poll_is_told_however_late_one_asks() {
    let api = RuntimeApi::start().await.unwrap();
    let begun_at = Instant::now();
    let waiting = api.invoke(FunctionUrlEvent::get("/"), Duration::from_secs(1));
    let (polled_at, _) = tokio::join!(api.first_poll(), take(&api));
    assert!(polled_at >= begun_at);
    // A second poll changes nothing.
    let again = api.invoke(FunctionUrlEvent::get("/"), Duration::from_secs(1));
    take(&api).await;
    assert_eq!(api.first_poll().await, polled_at);
    drop((waiting, again));
}

#[tokio::test]
async fn an_answer_is_acknowledged_when_its_body_has_ended() {
    let api = RuntimeApi::start().await.unwrap();
    let event = FunctionUrlEvent::post("/a", r#"{"n":1}"#).header("Api-Key", "k");
    let mut invocation = api.invoke(event, Duration::from_mins(1));
    let (mut function, id, given) = take(&api).await;
    let (_, body) = given.split_once("\r\n\r\n").unwrap();
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["body"], r#"{"n":1}"#);
    assert_eq!(event["headers"]["api-key"], "k");
    assert_eq!(event["headers"]["content-length"], "7");
    assert_eq!(event["requestContext"]["http"]["path"], "/a");

    begin(&mut function, &id).await;
    invocation.until("one").await.unwrap();
    // Nothing has come back yet: a read that finds nothing is refused at once.
    let early = function.try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
    let end = "0\r\nLambda-Runtime-Function-Error-Type: Oops\r\n\r\n";
    send(&mut function, &(chunk("data: two\n\n") + end)).await;
    assert!(read_until(&mut function, "OK").await.contains("202"));
    let poll = format!("GET {ROOT}/next HTTP/1.1\r\nHost: x\r\n\r\n");
    send(&mut function, &poll).await;

    let answer = invocation.finish().await.unwrap();
    assert_eq!(answer.text(), "data: one\n\ndata: two\n\n");
    assert_eq!(answer.prelude.status, 201);
    assert_eq!(answer.prelude.cookies, ["d=e"]);
    let header = |value: &str| ("a".to_owned(), value.to_owned());
    assert_eq!(answer.prelude.headers, [header("b"), header("c")]);
    assert_eq!(
        answer.trailers["lambda-runtime-function-error-type"],
        "Oops"
    );
    assert!(answer.ended_at <= answer.frozen_at);
    assert_eq!(
        answer.deadline_at,
        Some(answer.taken_at + Duration::from_mins(1))
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let api = RuntimeApi::start().await.unwrap();
    let invocation = api.invoke_like_emulators(FunctionUrlEvent::get("/a"));
    let (mut function, id, given) = take(&api).await;
    assert!(given.contains("deadline-ms: 600000\r\n"));
    begin(&mut function, &id).await;
    drop(function);
    let error = invocation.finish().await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn errors_are_kept() {
    let api = RuntimeApi::start().await.unwrap();
    let address = &api.address();
    let post = |path: String| async move {
        let mut function = TcpStream::connect(address).await.unwrap();
        let body = json!({"errorType": "E"}).to_string();
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        send(&mut function, &head).await;
        read_until(&mut function, "}").await
    };
    post("/2018-06-01/runtime/init/error".to_owned()).await;
    assert_eq!(api.init_errors(), [json!({"errorType": "E"})]);

    let invocation = api.invoke(FunctionUrlEvent::get("/a"), Duration::from_secs(1));
    let (_function, id, _) = take(&api).await;
    assert!(
        post(format!("{ROOT}/unknown/error"))
            .await
            .contains("InvalidRequestID")
    );
    post(format!("{ROOT}/{id}/error")).await;
    let error = invocation.finish().await.unwrap_err();
    assert!(
        error.to_string().contains(r#"{"errorType":"E"}"#),
        "{error}"
    );
}

#[test]
fn a_body_that_is_no_text_is_encoded() {
    let event = FunctionUrlEvent::post("/a", &b"\xff"[..]).json("id");
    assert_eq!(
        (&event["body"], &event["isBase64Encoded"]),
        (&json!("/w=="), &json!(true))
    );
}
