//! Whole turns on a clock that jumps ahead whenever nothing else is to do: hours of waiting take no time, and no busy
//! machine changes what is measured.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coordinator::domain::access::{Identity, Role};
use coordinator::domain::ids::{Owner, Timestamp, TurnId};
use coordinator::domain::message::Message;
use coordinator::domain::turn::ChatTurn;
use coordinator::stream::{AnswerSink, TurnBody};
use futures_util::FutureExt;
use http_body::Body as _;
use proptest::prelude::*;
use sandbox::stub::{Reply, Seen};
use serde_json::json;
use tokio::time::Instant;

use crate::world::{Answer, Plan, World, delta, finish, plan, routes};

/// Runs a story on a clock of its own.
fn on_a_clock<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story)
}

/// A world without a table, whose emulator would live on another thread and on another clock.
async fn started(plan: Plan) -> World {
    let plan = plan.set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9");
    plan.set("MAS_SAVE_TIMEOUT", "1s").start().await
}

/// A turn that has so long, and by how much it was late.
async fn turn(world: &World, limit: Duration) -> (Answer, Duration) {
    let deadline = Instant::now() + limit;
    let turn = ChatTurn {
        id: TurnId::now(),
        received_at: Timestamp(1_700_000_000),
        deadline,
        request: None,
        messages: vec![Message::user("hi")].into(),
        choice: None,
        budget: Default::default(),
        overrides: Default::default(),
        what_if: false,
        caller: Arc::default(),
    };
    let sink = AnswerSink::new(&turn.id.to_string(), 1, "m");
    let identity = Identity {
        owner: Owner::new("default", "development"),
        roles: vec![Role::User],
    };
    let verified = std::future::ready(Ok(identity)).boxed();
    let (app, writer) = (Arc::clone(&world.app), sink.clone());
    let work = async move { app.coordinator().answer(turn, verified, writer).await };
    let mut body = TurnBody::new(work, sink, Some(Duration::from_secs(15)), "ref".into());
    let mut read = Vec::new();
    while let Some(Ok(frame)) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        read.extend_from_slice(&frame.into_data().unwrap());
    }
    let late = Instant::now().saturating_duration_since(deadline);
    while world.running() > 0 {
        tokio::task::yield_now().await;
    }
    (Answer::of(read), late)
}

/// A wait of an upstream: none, some seconds, longer than any limit, or for ever.
fn waits() -> impl Strategy<Value = Vec<Option<u64>>> {
    let wait = prop_oneof![
        4 => Just(Some(0)),
        3 => (1_u64..30).prop_map(Some),
        2 => (30_u64..400).prop_map(Some),
        1 => Just(None),
    ];
    proptest::collection::vec(wait, 12)
}

/// An answer that waits before each of its parts; `None` is for ever.
fn after(waits: &[Option<u64>], parts: Vec<serde_json::Value>) -> Reply {
    let mut reply = Reply::sse();
    for (part, wait) in parts.into_iter().zip(waits) {
        reply = match wait {
            Some(0) => reply,
            Some(seconds) => reply.pause(Duration::from_secs(*seconds)),
            None => return reply.hang(),
        }
        .data(part);
    }
    reply.done()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 100, ..ProptestConfig::default() })]
    #[test]
    fn whatever_its_upstreams_wait_a_turn_ends_in_order_within_a_second_of_its_deadline(
        waits in waits(), limit in 1_u64..120, agent in prop::sample::select(vec!["GPA", "UMS"]),
    ) {
        let (ended, late) = on_a_clock(async {
            let stage = |status| json!({"custom_content": {"stages": [{"index": 0, "name": "s", "status": status}]}});
            let parts = vec![delta(stage(json!(null))), delta(json!({"content": "Done: "})),
                             delta(json!({"content": "all good."})), finish()];
            let model = {
                let waits = waits.clone();
                move |seen: &Seen| match seen.json()["response_format"].is_object() {
                    true => routes(agent, json!(null)).delay(Duration::from_secs(waits[0].unwrap_or(100_000))),
                    false => after(&waits[1..], vec![delta(json!({"content": "Final"})), finish()]),
                }
            };
            let (gpa, ums) = ((waits.clone(), parts.clone()), (waits, parts));
            let world = started(plan(agent)
                .model(model)
                .gpa(move |_| after(&gpa.0[4..], gpa.1.clone()))
                .ums(move |seen| match seen.path.as_str() {
                    "/conversations" => Reply::json(200, json!({"id": "conv-1"}))
                        .delay(Duration::from_secs(ums.0[9].unwrap_or(100_000))),
                    _ => after(&ums.0[4..], ums.1.clone()),
                }))
                .await;
            let (answer, late) = turn(&world, Duration::from_secs(limit)).await;
let called = answer.stages().iter().any(|stage| stage["name"].as_str().unwrap().starts_with("Call "));
            // Whatever the end, what the client is to remember has left, once an agent was called.
            let state = answer.state().is_object() || !called;
            ((answer.error_code().to_owned(), state), late)
        });
        // The second is for saving, as it is set.
        prop_assert!(late <= Duration::from_millis(1100), "late by {:?}: {:?}", late, ended);
        prop_assert!(ended.1, "no state: {:?}", ended);
        prop_assert!(["", "agent_timeout", "deadline_exceeded"].contains(&ended.0.as_str()), "{:?}", ended);
    }
}

/// A stream of comments, one every twenty seconds, with an answer at its end if there is one.
fn comments(count: usize) -> Reply {
    let pause = Duration::from_secs(20);
    let reply = (0..count).fold(Reply::sse(), |reply, _| {
        reply.pause(pause).bytes(": on\n\n")
    });
    reply
        .data(delta(json!({"content": "at last"})))
        .data(finish())
        .done()
}

#[test]
fn comments_of_an_agent_are_no_silence_and_no_progress() {
    on_a_clock(async {
        // Longer than the sixty seconds of silence that are allowed, within the turn's time; then beyond that.
        for (count, code) in [(5, ""), (7, "deadline_exceeded")] {
            let world = started(plan("GPA").gpa(move |_| comments(count))).await;
            let (answer, late) = turn(&world, Duration::from_secs(120)).await;
            assert_eq!(answer.error_code(), code, "{count}");
            assert!(late <= Duration::from_millis(1100), "{late:?}");
        }
        let silent = |_: &Seen| Reply::sse().bytes(": on\n\n").hang();
        let world = started(plan("GPA").gpa(silent)).await;
        let (answer, _) = turn(&world, Duration::from_secs(120)).await;
        assert_eq!(answer.error_code(), "agent_timeout");
    });
}

#[test]
fn a_turn_that_ends_early_says_nothing_about_its_agent_and_a_late_one_does() {
    on_a_clock(async {
        // Of the thirty seconds that an agent has to its first byte.
        for (seconds, left_alone) in [(10, false), (20, true)] {
            let hangs = |_: &Seen| Reply::sse().delay(Duration::from_secs(100_000));
            let plan = plan("GPA").gpa(hangs).set("MAS_BREAKER", "failures=3");
            let world = started(plan).await;
            for _ in 0..3 {
                let (answer, _) = turn(&world, Duration::from_secs(seconds)).await;
                assert_eq!(answer.error_code(), "deadline_exceeded");
            }
            assert_eq!(world.gpa.seen().len(), 3);
            turn(&world, Duration::from_secs(seconds)).await;
            let asked = world.gpa.seen().len() == 4;
            assert_eq!(asked, !left_alone, "{seconds}");
        }
    });
}
