//! Stories of plans that survive their turn: it is cut off anywhere, the request comes again, and only the rest is done.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use coordinator::domain::access::{Identity, Role};
use coordinator::domain::ids::{Owner, Timestamp, TurnId};
use coordinator::domain::message::Message;
use coordinator::domain::turn::{Caller, ChatTurn};
use coordinator::stream::AnswerSink;
use futures_util::FutureExt;
use proptest::prelude::*;
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::several::{planner, step};
use crate::world::{Answer, Plan, World, delta, items, plan, says, table, ums, user};

/// What the user asks for: a look, and a change that waits for what is found.
pub const REQUEST: &str = "Rename user Bob after the weather in Paris";

pub fn changing() -> Plan {
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
pub fn calls(world: &World) -> (usize, usize) {
    let chats = world.ums.seen().into_iter();
    let ums = chats.filter(|seen| seen.path.ends_with("/chat")).count();
    (world.gpa.seen().len(), ums)
}

pub fn kept(items: &[Value]) -> Vec<&Value> {
    let is_run = |item: &&Value| {
        item["sk"]["S"]
            .as_str()
            .is_some_and(|sk| sk.starts_with("RUN#"))
    };
    items.iter().filter(is_run).collect()
}

/// A turn of the test's own, always with the same request.
async fn taken(world: &World, messages: &[Message]) {
    let turn = ChatTurn {
        id: TurnId::now(),
        received_at: Timestamp(1_700_000_000),
        deadline: Instant::now() + Duration::from_secs(60),
        request: Some("the-same".into()),
        messages: messages.to_vec().into(),
        choice: None,
        budget: Default::default(),
        overrides: Default::default(),
        what_if: false,
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
    world.app.coordinator().answer(turn, verified, sink).await;
}

/// A turn whose process is killed when it has been polled so often: nothing of it is written after that. True where it
/// came to its end before.
async fn killed(world: &World, messages: &[Message], polls: usize) -> bool {
    let mut work = pin!(taken(world, messages));
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

pub fn hangs_at_chat(seen: &Seen) -> Reply {
    if seen.path.ends_with("/chat") {
        never()
    } else {
        ums(seen)
    }
}

/// The first step of a plan is done, and known to be.
async fn is_begun(world: &World) -> bool {
    let stored = items(&world.table).await;
    kept(&stored).iter().any(|run| run["done0"].is_object())
}

/// Reads a turn until the first step is done and known to be, and the second one's agent is at work; and leaves.
pub async fn left_midway(world: &World) {
    let body = json!({"messages": [user(REQUEST)], "stream": true});
    let mut response = world.post(&body).send().await.unwrap();
    while calls(world).1 == 0 || !is_begun(world).await {
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
    let first = AtomicBool::new(true);
    let world = plan("GPA")
        .model(planner(steps))
        .gpa(|_| says("Paris: sunny."))
        .ums(move |seen| {
            let again = seen.path.ends_with("/chat") && first.swap(false, Ordering::SeqCst);
            if again { never() } else { ums(seen) }
        })
        .start()
        .await;
    left_midway(&world).await;
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
pub async fn again(world: &World) -> Answer {
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
    left_midway(&world).await;
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
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let world = changing()
        .ums(move |seen| {
            if seen.path == "/conversations" && is_down.load(Ordering::SeqCst) {
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
    down.store(false, Ordering::SeqCst);
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
    left_midway(&world).await;
    let body = json!({"messages": [user("Rename user Bob, and look")], "stream": true});
    let response = world.post(&body).send().await.unwrap();
    while calls(&world).1 < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(response);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_now_holds_for_a_plan_of_before() {
    let (endpoint, server) = table().await;
    let first = changing()
        .ums(hangs_at_chat)
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    left_midway(&first).await;
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

/// The turn is written down, and nothing of its plan is left: what was lost is at most the end of its stream.
async fn is_done(world: &World) -> bool {
    let stored = items(&world.table).await;
    let mut records = stored
        .iter()
        .filter_map(|item| item["record"]["S"].as_str());
    let answered = records.any(|record| record.contains("\"outcome\":\"answered\""));
    answered && kept(&stored).is_empty()
}

/// A turn that is killed after so many polls and sent again, until all of it is done, and three times more if it never is.
async fn sent_until_it_is_done(world: &World, messages: &[Message], kills: &[usize]) {
    for polls in kills.iter().chain([&usize::MAX; 3]) {
        killed(world, messages, *polls).await;
        if is_done(world).await {
            return;
        }
    }
}

/// What an agent does with one call.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers,
    /// Before a byte, with this status.
    Refuses(u16),
    /// In the middle of its answer.
    BreaksOff,
    SaysNothing,
    Fails,
}

fn schedule() -> impl Strategy<Value = Vec<Does>> {
    let does = prop_oneof![
        5 => Just(Does::Answers),
        2 => prop::sample::select(vec![400, 404, 408, 429, 500, 503]).prop_map(Does::Refuses),
        1 => Just(Does::BreaksOff),
        1 => Just(Does::SaysNothing),
        1 => Just(Does::Fails),
    ];
    proptest::collection::vec(does, 6)
}

impl Does {
    fn reply(self, well: impl FnOnce() -> Reply) -> Reply {
        match self {
            Self::Answers => well(),
            Self::Refuses(status) => Reply::json(status, json!({"error": {"message": "no"}})),
            Self::BreaksOff => Reply::sse().data(delta(json!({"content": "Do"}))).cut(),
            Self::SaysNothing => Reply::sse().done(),
            Self::Fails => Reply::sse()
                .data(json!({"error": {"message": "it broke"}}))
                .done(),
        }
    }
}

/// Each call gets what comes next in its schedule, and after that a good answer. Gives the number of calls that may have
/// changed something: a conversation that is not known takes no message.
fn by_schedule(plan: Plan, gpa: Vec<Does>, ums: Vec<Does>) -> (Plan, Arc<AtomicUsize>) {
    let changes = Arc::new(AtomicUsize::new(0));
    let (counted, looks, chats) = (
        Arc::clone(&changes),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let next = |calls: &AtomicUsize, schedule: &[Does]| {
        let at = calls.fetch_add(1, Ordering::SeqCst);
        schedule.get(at).copied().unwrap_or(Does::Answers)
    };
    let plan = plan
        .gpa(move |_| next(&looks, &gpa).reply(|| says("Paris: sunny.")))
        .ums(move |seen| {
            // It has lost none of its conversations.
            if seen.method == "GET" {
                return Reply::sample("ums/get.http");
            }
            let does = next(&chats, &ums);
            let changes = seen.path.ends_with("/chat") && !matches!(does, Does::Refuses(404));
            counted.fetch_add(usize::from(changes), Ordering::SeqCst);
            does.reply(|| self::ums(seen))
        });
    (plan, changes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 60, ..ProptestConfig::default() })]
    /// Wherever a turn is killed, however often, and whatever its agents do meanwhile.
    #[test]
    fn a_change_is_made_at_most_once(
        kills in proptest::collection::vec(1_usize..60, 0..4), gpa in schedule(), ums in schedule(),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let changes = runtime.block_on(async {
            let (plan, changes) = by_schedule(changing(), gpa, ums);
            let world = plan.start().await;
            sent_until_it_is_done(&world, &[Message::user(REQUEST)], &kills).await;
            changes.load(Ordering::SeqCst)
        });
        prop_assert!(changes <= 1, "{changes} changes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_killed_anywhere_still_gets_its_change_made_mostly() {
    let mut done = 0;
    for polls in (1..60).step_by(3) {
        let world = changing().gpa(|_| says("Paris: sunny.")).start().await;
        sent_until_it_is_done(&world, &[Message::user(REQUEST)], &[polls]).await;
        let (_, changes) = calls(&world);
        assert!(
            changes <= 1,
            "killed after {polls} polls, and changed {changes} times"
        );
        done += changes;
    }
    assert!(done >= 15, "{done} of 20");
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
        sent_until_it_is_done(&world, &approval, &[polls]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_turn_left_at_an_agent_is_erased_with_its_person() {
    let steps = json!([
        step("users", "UMS", "List the users", &[]),
        step("weather", "GPA", "Weather in Paris", &["users"])
    ]);
    let world = plan("GPA")
        .model(planner(steps))
        .gpa(|_| never())
        .ums(|seen| match seen.method.as_str() {
            "DELETE" => Reply::json(200, json!({})),
            _ => ums(seen),
        })
        .start()
        .await;
    let messages = [Message::user(REQUEST)];
    tokio::select! {
        () = taken(&world, &messages) => panic!("it is not answered"),
        () = async {
            while !is_begun(&world).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    let erase = world.client().delete(format!("{}/v1/person", world.url));
    let erased = erase.header("api-key", "key-1").send().await.unwrap();
    let counts: Value = erased.json().await.unwrap();
    assert_eq!(counts["counts"]["sessions"], 1, "{counts}");
    assert_eq!(counts["counts"]["runs"], 1, "{counts}");
    let deleted = world.ums.seen().into_iter();
    assert_eq!(deleted.filter(|seen| seen.method == "DELETE").count(), 1);
}
