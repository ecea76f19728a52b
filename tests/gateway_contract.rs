//! Named scenarios that every agent protocol must pass.

use std::time::Duration;

use coordinator::domain::agent::{AgentCard, Effect, Endpoint, Protocol, Registry};
use coordinator::domain::event::AgentEvent;
use coordinator::domain::ids::{AgentId, TurnId};
use coordinator::domain::network::Networks;
use coordinator::domain::turn::AgentTask;
use coordinator::gateway::{Error, Gateways, Reach};
use coordinator::upstream::{Bounds, Client};
use futures_util::StreamExt;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::json;
use tokio::time::Instant;

use crate::world::{delta, finish, guard};

/// Every protocol; a new one fails to compile until it is listed.
pub fn protocols() -> [Protocol; 3] {
    let all = [Protocol::Dial, Protocol::Conversation, Protocol::Openai];
    for protocol in all {
        match protocol {
            Protocol::Dial | Protocol::Conversation | Protocol::Openai => {}
        }
    }
    all
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
    };
    Gateways::connect(&Registry::new(vec![card], None).unwrap(), &reach).unwrap()
}

/// What a protocol makes of an answer: the events without sessions, and the error at the end if there is one.
async fn call(protocol: Protocol, reply: Reply) -> (Vec<AgentEvent>, Option<Error>) {
    let answer = move |seen: &Seen| match seen.path.as_str() {
        "/conversations" => Reply::sample("ums/create.http"),
        _ if seen.method == "GET" => Reply::json(200, json!({})),
        _ => reply.clone(),
    };
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

fn content(text: &str) -> serde_json::Value {
    delta(json!({"content": text}))
}

#[tokio::test(flavor = "multi_thread")]
async fn text_comes_in_order_and_the_end_is_told() {
    for protocol in protocols() {
        let (events, error) = call(
            protocol,
            Reply::sse()
                .data(content("a"))
                .data(content("b"))
                .data(finish())
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
        let event = format!("data: {}\n\n", content("\u{2600}"));
        let cut = event.find('\u{2600}').unwrap() + 1;
        let (head, tail) = event.as_bytes().split_at(cut);
        let reply = Reply::sse()
            .bytes(head.to_vec())
            .pause(Duration::from_millis(20))
            .bytes(tail.to_vec())
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
            Reply::sse().data(content("a")),
            Reply::sse().data(content("a")).data(finish()),
            Reply::sse().data(content("a")).cut(),
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
            Reply::sse().data(content("a")).hang(),
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
                .data(content("a"))
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
        let stub = Stub::start(|seen| match seen.path.as_str() {
            "/conversations" => Reply::sample("ums/create.http"),
            _ => Reply::sse().data(content("a")).hang(),
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
