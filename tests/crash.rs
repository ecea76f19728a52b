//! Stories of plans that survive their turn: it is cut off anywhere, the request comes again, and only the rest is done.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use coordinator::domain::access::{Identity, Role};
use coordinator::domain::ids::{Owner, Timestamp, TurnId};
use coordinator::domain::message::Message;
use coordinator::domain::turn::{Caller, ChatTurn};
use coordinator::stream::AnswerSink;
use futures_util::FutureExt;
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::several::{planner, step};
use crate::world::{Answer, Plan, World, items, plan, says, ums, user};

/// What the user asks for: a look, and a change that waits for what is found.
const REQUEST: &str = "Rename user Bob after the weather in Paris";

fn changing() -> Plan {
    let steps = json!([
        step("weather", "GPA", "Weather in Paris", &[]),
        step("rename", "UMS", "Rename Bob", &["weather"])
    ]);
    // The same request may come at once.
    plan("GPA")
        .model(planner(steps))
        .set("MAS_LIMITS", "duplicate=1ms,requests=off,concurrent=off")
}

/// So often each agent was asked to do something.
fn calls(world: &World) -> (usize, usize) {
    let chats = world.ums.seen().into_iter();
    let ums = chats.filter(|seen| seen.path.ends_with("/chat")).count();
    (world.gpa.seen().len(), ums)
}

fn kept(items: &[Value]) -> Vec<&Value> {
    let is_run = |item: &&Value| {
        item["sk"]["S"]
            .as_str()
            .is_some_and(|sk| sk.starts_with("RUN#"))
    };
    items.iter().filter(is_run).collect()
}

/// A turn whose process is killed when it has been polled so often: nothing of it is written after that. True where it
/// came to its end before.
async fn killed(world: &World, messages: &[Message], polls: usize) -> bool {
    let turn = ChatTurn {
        id: TurnId::now(),
        received_at: Timestamp(1_700_000_000),
        deadline: Instant::now() + Duration::from_secs(60),
        request: Some("the-same".into()),
        messages: messages.to_vec().into(),
        choice: None,
        budget: Default::default(),
        caller: Arc::new(Caller {
            conversation: Some("conv-1".into()),
            ..Caller::default()
        }),
    };
    let sink = AnswerSink::new(&turn.id.to_string(), 1, "m");
    let identity = Identity {
        owner: Owner::new("default", "development"),
        roles: vec![Role::User],
    };
    let verified = std::future::ready(Ok(identity)).boxed();
    let coordinator = world.app.coordinator();
    let mut work = pin!(coordinator.answer(turn, verified, sink));
    let mut left = polls;
    poll_fn(|context| {
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        left = left.saturating_sub(1);
        if left == 0 {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Hangs where an agent is at work.
fn never() -> Reply {
    Reply::sse().hang()
}

fn hangs_at_chat(seen: &Seen) -> Reply {
    if seen.path.ends_with("/chat") {
        never()
    } else {
        ums(seen)
    }
}

/// Reads a turn until an agent was asked so often, and leaves.
async fn left_when(world: &World, asked: impl Fn(&World) -> bool) {
    let body = json!({"messages": [user(REQUEST)], "stream": true});
    let mut response = world.post(&body).send().await.unwrap();
    while !asked(world) {
        tokio::select! {
            _ = response.chunk() => {}
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    drop(response);
    while world.running() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_before_a_turn_was_cut_off_is_not_done_again() {
    let steps = json!([
        step("weather", "GPA", "Weather in Paris", &[]),
        {"name": "users", "agent_name": "UMS", "task": "List the users", "after": ["weather"], "effect": "none"}
    ]);
    let first = std::sync::atomic::AtomicBool::new(true);
    let world = plan("GPA")
        .model(planner(steps))
        .gpa(|_| says("Paris: sunny."))
        .ums(move |seen| {
            let again = seen.path.ends_with("/chat")
                && first.swap(false, std::sync::atomic::Ordering::SeqCst);
            if again { never() } else { ums(seen) }
        })
        .start()
        .await;
    left_when(&world, |world| calls(world).1 == 1).await;
    // What it found is kept before the next one is asked, or soon after.
    let answer = again(&world).await;
    assert_eq!(answer.text(), "Final answer.");
    assert_eq!(calls(&world), (1, 2), "only what was not done is done");
    let stage = answer.stage("Call GPA Agent");
    assert!(
        stage["content"]
            .to_string()
            .contains("done when this request was sent before"),
        "{stage}"
    );
    let decided = answer.stage("Coordination Request")["content"].to_string();
    assert!(decided.contains("goes on with what turn"), "{decided}");
    let stored = items(&world.table).await;
    assert_eq!(
        kept(&stored),
        Vec::<&Value>::new(),
        "it is done: nothing is kept for going on"
    );
    // The request as such may be sent again.
    world.well(&[user(REQUEST)]).await;
    assert_eq!(calls(&world), (2, 3));
}

/// The same request, once the account has let the first turn go.
async fn again(world: &World) -> Answer {
    loop {
        let answer = world.ask(&[user(REQUEST)]).await;
        if answer.error_code() != "duplicate_request" {
            assert_eq!(answer.checked.error, None);
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_changed_is_not_changed_again() {
    let world = changing().ums(hangs_at_chat).start().await;
    left_when(&world, |world| calls(world).1 == 1).await;
    let answer = again(&world).await;
    assert_eq!(calls(&world), (1, 1));
    let text = answer.text();
    assert!(
        text.contains("UMS is missing here: UMS was asked when this request was sent before"),
        "{text}"
    );
    // Nor the third time.
    again(&world).await;
    assert_eq!(calls(&world), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_agent_got_nothing_is_tried_again() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let world = changing()
        .ums(move |seen| {
            if seen.path == "/conversations" && is_down.load(std::sync::atomic::Ordering::SeqCst) {
                return Reply::json(503, json!({}));
            }
            ums(seen)
        })
        .start()
        .await;
    let first = world.well(&[user(REQUEST)]).await;
    assert!(
        first.text().contains("UMS is missing here"),
        "{}",
        first.text()
    );
    down.store(false, std::sync::atomic::Ordering::SeqCst);
    let second = world.well(&[user(REQUEST)]).await;
    assert_eq!(second.text(), "Final answer.");
    assert_eq!(
        calls(&world),
        (1, 1),
        "and what the other one did is still there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_is_another_plan() {
    let world = changing().ums(hangs_at_chat).start().await;
    left_when(&world, |world| calls(world).1 == 1).await;
    let body = json!({"messages": [user("Rename user Bob, and look")], "stream": true});
    let response = world.post(&body).send().await.unwrap();
    while calls(&world).1 < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(response);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_now_holds_for_a_plan_of_before() {
    let (endpoint, server) = crate::world::table().await;
    let first = changing()
        .ums(hangs_at_chat)
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    left_when(&first, |world| {
        world.gpa.seen().len() == 1 && calls(world).1 == 1
    })
    .await;
    drop(first);
    let document = "agents:\n\
        - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}'}\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
        routing: {rules: [{if: 'true', then: {forbid: UMS, say: Not today.}}]}\n";
    let second = changing()
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .set("MAS_AGENTS", document)
        .start()
        .await;
    let answer = again(&second).await;
    assert!(answer.text().contains("Not today."), "{}", answer.text());
    assert_eq!(
        calls(&second),
        (0, 0),
        "what GPA found is still there, and UMS is not asked"
    );
    server.abort();
}

/// The turn is written down as answered: what was lost is at most the end of its stream.
async fn is_saved(world: &World) -> bool {
    let stored = items(&world.table).await;
    let mut records = stored
        .iter()
        .filter_map(|item| item["record"]["S"].as_str());
    records.any(|record| record.contains("\"outcome\":\"answered\""))
}

/// A turn that is killed after so many polls and sent again, until it is answered.
async fn sent_until_it_is_answered(world: &World, messages: &[Message], kills: &[usize]) {
    for polls in kills.iter().chain([&usize::MAX]) {
        if killed(world, messages, *polls).await || is_saved(world).await {
            return;
        }
    }
}

/// Wherever a turn is killed, and however often.
#[tokio::test(flavor = "multi_thread")]
async fn however_often_a_turn_is_killed_a_change_is_made_at_most_once() {
    let mut done = 0;
    for (first, second) in (1..60).flat_map(|polls| [(polls, 1_000), (polls, polls / 2 + 1)]) {
        let world = changing().gpa(|_| says("Paris: sunny.")).start().await;
        let messages = [Message::user(REQUEST)];
        sent_until_it_is_answered(&world, &messages, &[first, second]).await;
        let (_, changes) = calls(&world);
        assert!(
            changes <= 1,
            "killed after {first} and {second} polls, and changed {changes} times"
        );
        done += changes;
    }
    assert!(
        done > 20,
        "a test in which nothing is ever done shows nothing: {done}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_once_is_done_at_most_once_wherever_the_turn_is_killed() {
    let careful = "agents:\n\
        - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', approval: always}\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n";
    let mut done = 0;
    for polls in 1..40 {
        let world = changing().set("MAS_AGENTS", careful).start().await;
        let proposed = world.well(&[user(REQUEST)]).await;
        assert_eq!(calls(&world), (1, 0), "the change waits for its approval");
        let form =
            &proposed.message["custom_content"]["form_schema"]["properties"]["approval"]["oneOf"];
        let words = form[0]["const"].as_str().unwrap().to_owned();
        assert!(words.starts_with("approve"), "{words}");
        let approval = [Message::user(&words)];
        sent_until_it_is_answered(&world, &approval, &[polls]).await;
        let (looked, changes) = calls(&world);
        assert!(
            changes <= 1 && looked == 1,
            "killed after {polls} polls: {looked}, {changes}"
        );
        done += changes;
    }
    assert!(
        done > 10,
        "a test in which nothing is ever done shows nothing: {done}"
    );
}
