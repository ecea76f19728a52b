//! Named scenarios that every agent protocol must pass.

use std::time::Duration;

use coordinator::a2a::CARD;
use coordinator::domain::agent::{AgentCard, Effect, Endpoint, Protocol, Registry};
use coordinator::domain::event::AgentEvent;
use coordinator::domain::ids::{AgentId, TurnId};
use coordinator::domain::network::Networks;
use coordinator::domain::turn::AgentTask;
use coordinator::gateway::{Error, Gateways, Reach};
use coordinator::upstream::{Bounds, Client};
use futures_util::StreamExt;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{delta, finish, guard};

/// Every protocol; a new one fails to compile until it is listed.
pub fn protocols() -> [Protocol; 4] {
    let all = [
        Protocol::Dial,
        Protocol::Conversation,
        Protocol::Openai,
        Protocol::A2a,
    ];
    for protocol in all {
        match protocol {
            Protocol::Dial | Protocol::Conversation | Protocol::Openai | Protocol::A2a => {}
        }
    }
    all
}

/// What every agent does before it is asked anything: the conversation made, the card shown. `None` is the message itself.
fn beside(seen: &Seen) -> Option<Reply> {
    match (seen.method.as_str(), seen.path.as_str()) {
        (_, "/conversations") => Some(Reply::sample("ums/create.http")),
        ("GET", CARD) => Some(Reply::json(
            200,
            json!({"name": "A", "capabilities": {"streaming": true}, "supportedInterfaces": [
                {"url": "http://elsewhere.example.com/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
            ]}),
        )),
        ("GET", _) => Some(Reply::json(200, json!({}))),
        // Whoever loses the thread of a task may ask for it; there is none.
        _ if ["GetTask", "CancelTask"]
            .iter()
            .any(|method| seen.json()["method"] == *method) =>
        {
            Some(Reply::json(
                200,
                json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "no such task"}}),
            ))
        }
        _ => None,
    }
}

pub fn task() -> AgentTask {
    AgentTask {
        turn: TurnId::now(),
        caller: Default::default(),
        conversation: "conv-1".into(),
        deadline: Instant::now() + Duration::from_secs(10),
        history: Vec::new(),
        pruned: false,
        text: "hi".into(),
        instructions: None,
        given: Vec::new(),
        attachments: Vec::new(),
        manifest: Vec::new(),
        session: None,
    }
}

async fn gateways(protocol: Protocol, stub: &Stub) -> Gateways {
    let card = AgentCard {
        effect: Effect::None,
        model: Some("m".into()),
        ..AgentCard::new("A", protocol, Endpoint::Url(stub.url().parse().unwrap()))
    };
    let reach = Reach {
        client: Client::new(&Bounds {
            networks: Networks::parse(["loopback"].into_iter()).unwrap(),
            ..Bounds::default()
        })
        .unwrap(),
        core: None,
        first_byte: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        guard: guard().await,
        dwell: Duration::from_mins(1),
        signer: None,
    };
    Gateways::connect(&Registry::new(vec![card], None).unwrap(), &reach, None).unwrap()
}

/// What a protocol makes of an answer: the events without sessions, and the error at the end if there is one.
async fn call(protocol: Protocol, reply: Reply) -> (Vec<AgentEvent>, Option<Error>) {
    let answer = move |seen: &Seen| beside(seen).unwrap_or_else(|| reply.clone());
    let stub = Stub::start(answer).await.unwrap();
    let gateways = gateways(protocol, &stub).await;
    let mut stream = gateways.get(&AgentId::new("A")).unwrap().call(task());
    let (mut events, mut error) = (Vec::new(), None);
    while let Some(event) = stream.next().await {
        match event {
            Ok(AgentEvent::Session { .. }) => {}
            Ok(event) => events.push(event),
            Err(end) => error = Some(end),
        }
    }
    (events, error)
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text(text.into())
}

/// An event of the protocol's that says a piece of the answer.
fn content(protocol: Protocol, text: &str) -> Value {
    match protocol {
        Protocol::A2a => a2a(
            json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "append": true,
            "artifact": {"artifactId": "a", "parts": [{"text": text}]}}}),
        ),
        _ => delta(json!({"content": text})),
    }
}

/// The event after which nothing more is said.
fn last(protocol: Protocol) -> Value {
    match protocol {
        Protocol::A2a => a2a(json!({"statusUpdate": {"taskId": "t", "contextId": "c",
            "status": {"state": "TASK_STATE_COMPLETED"}}})),
        _ => finish(),
    }
}

fn a2a(result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

#[tokio::test(flavor = "multi_thread")]
async fn text_comes_in_order_and_the_end_is_told() {
    for protocol in protocols() {
        let (events, error) = call(
            protocol,
            Reply::sse()
                .data(content(protocol, "a"))
                .data(content(protocol, "b"))
                .data(last(protocol))
                .done(),
        )
        .await;
        assert_eq!(
            events,
            [text("a"), text("b"), AgentEvent::Finished],
            "{protocol:?}"
        );
        assert!(error.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_character_cut_by_the_network_arrives_whole() {
    for protocol in protocols() {
        let event = format!("data: {}\n\n", content(protocol, "\u{2600}"));
        let cut = event.find('\u{2600}').unwrap() + 1;
        let (head, tail) = event.as_bytes().split_at(cut);
        let reply = Reply::sse()
            .bytes(head.to_vec())
            .pause(Duration::from_millis(20))
            .bytes(tail.to_vec())
            .data(last(protocol))
            .done();
        assert_eq!(
            call(protocol, reply).await.0,
            [text("\u{2600}"), AgentEvent::Finished],
            "{protocol:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_its_mark_is_a_failure() {
    for protocol in protocols() {
        for reply in [
            Reply::sse().data(content(protocol, "a")),
            // Of A2A the last event is the mark.
            Reply::sse().data(match protocol {
                Protocol::A2a => content(protocol, "b"),
                _ => last(protocol),
            }),
            Reply::sse().data(content(protocol, "a")).cut(),
            Reply::sse(),
        ] {
            let (events, error) = call(protocol, reply).await;
            assert!(error.is_some(), "{protocol:?}");
            assert!(!events.contains(&AgentEvent::Finished), "{protocol:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_told_from_failure() {
    for protocol in protocols() {
        for reply in [
            Reply::sse().hang(),
            Reply::sse().data(content(protocol, "a")).hang(),
            Reply::sse().delay(Duration::from_secs(2)),
        ] {
            let (_, error) = call(protocol, reply).await;
            assert!(error.unwrap().is_timeout(), "{protocol:?}");
        }
        let (_, error) = call(protocol, Reply::text(503, "no")).await;
        assert!(!error.unwrap().is_timeout(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_failure() {
    for protocol in protocols() {
        let huge = vec![b'x'; 2 * 1024 * 1024];
        for reply in [
            Reply::sse().data("hello").done(),
            Reply::sse().bytes(huge),
            Reply::sse()
                .data(json!({"error": {"message": "no"}}))
                .done(),
            Reply::text(200, "<html>welcome</html>"),
            Reply::sse()
                .data(content(protocol, "a"))
                .done()
                .header("content-encoding", "br"),
            Reply::text(307, "").header("location", "/elsewhere"),
        ] {
            assert!(call(protocol, reply).await.1.is_some(), "{protocol:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_stream_cancels_the_call() {
    for protocol in protocols() {
        let stub = Stub::start(move |seen| {
            let hangs = || Reply::sse().data(content(protocol, "a")).hang();
            beside(seen).unwrap_or_else(hangs)
        })
        .await
        .unwrap();
        let gateways = gateways(protocol, &stub).await;
        let mut stream = gateways.get(&AgentId::new("A")).unwrap().call(task());
        while !matches!(stream.next().await, Some(Ok(AgentEvent::Text(_)))) {}
        assert_eq!(stub.in_flight(), 1);
        drop(stream);
        let patience = Instant::now() + Duration::from_secs(5);
        while stub.in_flight() > 0 {
            assert!(Instant::now() < patience, "{protocol:?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_stream_is_read() {
    for protocol in protocols() {
        let stub = Stub::start(|_| Reply::sse().done()).await.unwrap();
        let gateways = gateways(protocol, &stub).await;
        drop(gateways.get(&AgentId::new("A")).unwrap().call(task()));
        assert_eq!(stub.seen().len(), 0, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_up_from_down() {
    for protocol in protocols() {
        for (status, up) in [(200, true), (404, true), (500, false)] {
            let stub = Stub::start(move |_| Reply::text(status, "")).await.unwrap();
            let gateways = gateways(protocol, &stub).await;
            let checked = gateways
                .get(&AgentId::new("A"))
                .unwrap()
                .check(Duration::from_secs(1))
                .await;
            assert_eq!(checked.is_ok(), up, "{protocol:?} {status}");
        }
    }
}
