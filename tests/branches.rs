//! Stories of edited history: what agents are told after an edit, when a person goes back, and in two branches at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tokio::join;

use crate::several::{planner, step};
use crate::world::{Answer, Plan, World, delta, echoed, items, model, plan, routes, says, user};

/// Whoever speaks of users is for the UMS; each agent's own text is the answer.
fn people() -> Plan {
    let opened = AtomicUsize::new(0);
    plan("GPA")
        .model(|seen| {
            let json = seen.json();
            let last = json["messages"].as_array().and_then(|all| all.last());
            let text = last.map_or_else(String::new, |last| last["content"].to_string());
            let agent = if text.contains("user") { "UMS" } else { "GPA" };
            match json["response_format"].is_object() {
                true => routes(agent, Value::Null),
                false => model(seen, agent),
            }
        })
        .gpa(|seen| {
            let json = seen.json();
            let last = json["messages"].as_array().and_then(|all| all.last());
            says(&format!(
                "GPA did: {}",
                last.unwrap()["content"].as_str().unwrap()
            ))
        })
        .ums(move |seen| match seen.path.as_str() {
            "/conversations" => {
                let id = opened.fetch_add(1, Ordering::SeqCst);
                Reply::json(200, json!({"id": format!("c{id}")}))
            }
            path if path.ends_with("/chat") => {
                let text = content(seen);
                let words = text.lines().next().unwrap_or_default().to_owned();
                chat(&format!("UMS did: {words}"))
            }
            _ => Reply::json(200, json!({"status": "healthy"})),
        })
        .set("MAS_SYNTHESIS", "never")
}

fn content(seen: &Seen) -> String {
    let content = seen.json()["message"]["content"].clone();
    content.as_str().unwrap_or_default().to_owned()
}

fn chat(text: &str) -> Reply {
    let choice = |delta: Value, reason: Value| json!({"choices": [{"delta": delta, "index": 0, "finish_reason": reason}]});
    Reply::sse()
        .data(choice(json!({"content": text}), Value::Null))
        .data(choice(json!({}), json!("stop")))
        .done()
}

/// What the UMS was told in each of its conversations, a line for each message: the user's words, and in brackets what it
/// was told again.
fn told(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut conversations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in world.ums.seen() {
        let path: Vec<&str> = seen.path.split('/').collect();
        if let ["", "conversations", id, "chat"] = path.as_slice() {
            let text = content(&seen);
            let again: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("User: "))
                .collect();
            let words = text.lines().next().unwrap_or_default().to_owned();
            let line = match again.as_slice() {
                [] => words,
                again => format!("{words} [{}]", again.join(", ")),
            };
            conversations
                .entry((*id).to_owned())
                .or_default()
                .push(line);
        }
    }
    conversations
}

fn conversations(expected: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let pairs = expected.iter();
    pairs
        .map(|(id, lines)| ((*id).to_owned(), owned(lines)))
        .collect()
}

/// What GPA was told in its last call: its own requests and answers.
fn history(world: &World) -> Vec<String> {
    let asked = World::asked(&world.gpa);
    let messages = asked.last().unwrap()["messages"]
        .as_array()
        .unwrap()
        .clone();
    let text = |message: &Value| message["content"].as_str().unwrap().to_owned();
    messages.iter().map(text).collect()
}

/// A chat as a client keeps it: it may be cut off anywhere, and said on in another way.
#[derive(Clone)]
struct Chat<'a> {
    world: &'a World,
    messages: Vec<Value>,
    /// The client gives states back.
    states: bool,
}

impl Chat<'_> {
    fn of(world: &World, states: bool) -> Chat<'_> {
        Chat {
            world,
            messages: Vec::new(),
            states,
        }
    }

    async fn say(&mut self, text: &str) -> Answer {
        self.messages.push(user(text));
        let answer = self.world.well(&self.messages).await;
        self.messages.push(match self.states {
            true => echoed(&answer),
            false => json!({"role": "assistant", "content": answer.text()}),
        });
        answer
    }

    /// The chat as it was after so many answers.
    fn back_to(&self, turns: usize) -> Self {
        Self {
            messages: self.messages[..turns * 2].to_vec(),
            ..self.clone()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_edit_an_agents_own_conversation_holds_nothing_of_what_was_edited_away() {
    for states in [true, false] {
        let world = people().start().await;
        let mut chat = Chat::of(&world, states);
        chat.say("find user John").await;
        chat.say("lock user John").await;
        let mut edited = chat.back_to(1);
        edited.say("rename user John").await;
        edited.say("show user John").await;
        assert_eq!(
            told(&world),
            conversations(&[
                ("c0", &["find user John", "lock user John"]),
                (
                    "c1",
                    &["rename user John [find user John]", "show user John"]
                ),
            ]),
            "{states}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_back_to_the_old_branch_finds_its_own_conversations() {
    for states in [true, false] {
        let world = people().start().await;
        let mut old = Chat::of(&world, states);
        old.say("find user John").await;
        old.say("lock user John").await;
        let mut new = old.back_to(1);
        new.say("rename user John").await;
        old.say("show user list").await;
        new.say("show user John").await;
        old.say("count user list").await;
        let of_old: &[&str] = &[
            "find user John",
            "lock user John",
            "show user list",
            "count user list",
        ];
        let of_new: &[&str] = &["rename user John [find user John]", "show user John"];
        assert_eq!(
            told(&world),
            conversations(&[("c0", of_old), ("c1", of_new)]),
            "{states}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_edited_begins_anew_and_going_back_loses_nothing() {
    for states in [true, false] {
        let world = people().start().await;
        let mut old = Chat::of(&world, states);
        old.say("find user John").await;
        let mut new = Chat::of(&world, states);
        new.say("find user Mary").await;
        old.say("lock user John").await;
        new.say("rename user Mary").await;
        assert_eq!(
            told(&world),
            conversations(&[
                ("c0", &["find user John", "lock user John"]),
                ("c1", &["find user Mary", "rename user Mary"]),
            ]),
            "{states}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_what_another_agent_answered_leaves_an_agent_its_conversation() {
    for states in [true, false] {
        let world = people().start().await;
        let mut chat = Chat::of(&world, states);
        chat.say("find user John").await;
        chat.say("weather in Kyiv").await;
        let mut edited = chat.back_to(1);
        edited.say("weather in Paris").await;
        edited.say("and tomorrow").await;
        edited.say("lock user John").await;
        assert_eq!(
            told(&world),
            conversations(&[("c0", &["find user John", "lock user John"])])
        );
        assert_eq!(
            history(&world),
            [
                "weather in Paris",
                "GPA did: weather in Paris",
                "and tomorrow"
            ],
            "{states}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_again_is_another_try_in_the_same_conversation() {
    for states in [true, false] {
        let world = people().start().await;
        let mut chat = Chat::of(&world, states);
        chat.say("find user John").await;
        chat.say("lock user John").await;
        // The agent has done it, and knows: it must not be asked as if it had not.
        let mut again = chat.back_to(1);
        again.say("lock user John").await;
        again.say("show user list").await;
        let of_both: &[&str] = &[
            "find user John",
            "lock user John",
            "lock user John",
            "show user list",
        ];
        assert_eq!(told(&world), conversations(&[("c0", of_both)]), "{states}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_try_goes_on_in_the_conversation_that_the_first_one_made() {
    for states in [true, false] {
        let world = people().start().await;
        let mut chat = Chat::of(&world, states);
        chat.say("weather in Kyiv").await;
        chat.say("lock user John").await;
        let mut again = chat.back_to(1);
        again.say("lock user John").await;
        let both: &[&str] = &["lock user John", "lock user John"];
        assert_eq!(told(&world), conversations(&[("c0", both)]), "{states}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_reaches_the_conversations_of_all_branches() {
    let alice = "alice-0123456789abcdef0123456789abcdef";
    let world = people()
        .set("MAS_AUTH", "secret")
        .set("MAS_AUTH_SECRETS", &format!("alice:{alice}"))
        .start()
        .await;
    let ask = async |messages: &[Value]| {
        let body = json!({"messages": messages, "stream": true});
        World::answer(world.post(&body).header("x-mas-secret", alice)).await
    };
    let first = ask(&[user("find user John")]).await;
    for edited in ["lock user John", "rename user John"] {
        ask(&[user("find user John"), echoed(&first), user(edited)]).await;
    }
    let erased = world
        .client()
        .delete(format!("{}/v1/person", world.url))
        .header("x-mas-secret", alice);
    assert_eq!(erased.send().await.unwrap().status(), 200);
    let seen = world.ums.seen();
    let mut gone: Vec<&str> = (seen.iter())
        .filter(|seen| seen.method == "DELETE")
        .map(|seen| seen.path.as_str())
        .collect();
    gone.sort_unstable();
    assert_eq!(gone, ["/conversations/c0", "/conversations/c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_branches_at_once_each_has_its_own_conversation() {
    let slow = |seen: &Seen| seen.path.ends_with("/chat") && content(seen).contains("branch");
    let opened = AtomicUsize::new(0);
    let world = people()
        .ums(move |seen| match seen.path.as_str() {
            "/conversations" => {
                let id = opened.fetch_add(1, Ordering::SeqCst);
                Reply::json(200, json!({"id": format!("c{id}")}))
            }
            _ if slow(seen) => chat("done").delay(Duration::from_secs(2)),
            _ => chat("done"),
        })
        .start()
        .await;
    let mut root = Chat::of(&world, true);
    root.say("find user John").await;
    let (mut one, mut other) = (root.clone(), root);
    join!(one.say("branch one, user"), other.say("branch two, user"));
    one.say("one on, user").await;
    other.say("two on, user").await;
    let all = told(&world);
    assert_eq!(all.len(), 2, "{all:#?}");
    for (mine, theirs) in [("one", "two"), ("two", "one")] {
        let own: Vec<_> = (all.values())
            .filter(|lines| lines.iter().any(|line| line.contains(mine)))
            .collect();
        assert!(
            own.len() == 1 && own[0].len() >= 2 && own[0][0].contains("find user John"),
            "{all:#?}"
        );
        assert!(!own[0].iter().any(|line| line.contains(theirs)), "{all:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_knows_no_facts_of_another() {
    let world = people().start().await;
    let mut chat = Chat::of(&world, false);
    chat.say("hello").await;
    chat.say("secret of Kyiv").await;
    let mut edited = chat.back_to(1);
    // The same words are shown for another request.
    edited.say("hello").await;
    edited.say("what now?").await;
    assert_eq!(
        history(&world),
        [
            "hello",
            "GPA did: hello",
            "hello",
            "GPA did: hello",
            "what now?"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stopped_is_no_branch() {
    let opened = AtomicUsize::new(0);
    let world = people()
        .ums(move |seen| match seen.path.as_str() {
            "/conversations" => {
                let id = opened.fetch_add(1, Ordering::SeqCst);
                Reply::json(200, json!({"id": format!("c{id}")}))
            }
            path if path.ends_with("/chat") && content(seen).contains("lock") => {
                Reply::text(503, "too busy")
            }
            _ => chat("done"),
        })
        .start()
        .await;
    let mut chat = Chat::of(&world, true);
    chat.say("find user John").await;
    chat.messages.push(user("lock user John"));
    let failed = world.ask(&chat.messages).await;
    assert_eq!(failed.error_code(), "agent_unavailable");
    // The client shows no answer; the person asks what became of it, of the agent that may have done it.
    chat.say("what became of user John?").await;
    let whole: &[&str] = &[
        "find user John",
        "lock user John",
        "what became of user John?",
    ];
    assert_eq!(told(&world), conversations(&[("c0", whole)]));
}

/// A request with a configuration of its own.
async fn configured(world: &World, messages: &[Value], configuration: Value) -> Answer {
    let body = json!({"messages": messages, "stream": true, "custom_fields": {"configuration": configuration}});
    World::answer(world.post(&body)).await
}

/// What is stored, but the log, the account and the breakers.
async fn stored(world: &World) -> Vec<String> {
    let all = items(&world.table).await;
    let keys = all
        .iter()
        .map(|item| item["sk"]["S"].as_str().unwrap().to_owned());
    let mut keys: Vec<String> = keys
        .filter(|sk| {
            ["CONV", "SESSION", "PROPOSAL", "PREFERENCES"]
                .iter()
                .any(|kind| sk.starts_with(kind))
        })
        .collect();
    keys.sort_unstable();
    keys
}

/// The lines of the log that say whether a turn only asked.
async fn lines(world: &World) -> Vec<bool> {
    let all = items(&world.table).await;
    let lines = all.iter().filter_map(|item| item["body"]["S"].as_str());
    let lines = lines.filter_map(|body| serde_json::from_str::<Value>(body).ok());
    let turns = lines.filter(|line| line.to_string().contains("\"kind\":\"turn\""));
    turns
        .map(|line| line.to_string().contains("\"what_if\":true"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_something_is_told_and_not_done() {
    let world = people().start().await;
    for answer in [
        world.well(&[user("/whatif lock user John")]).await,
        configured(&world, &[user("lock user John")], json!({"what_if": true})).await,
    ] {
        assert_eq!(
            answer.text(),
            "UMS would be asked:\n\n> lock user John\n\n\n_(What if: nothing was changed, and nothing of this is \
             remembered. To have it done, ask without it.)_"
        );
        assert!(
            answer.stage("What if")["content"]
                .to_string()
                .contains("UMS would be asked")
        );
        assert_eq!(answer.state(), json!({"what_if": true}));
    }
    assert!(world.ums.seen().is_empty());
    assert_eq!(stored(&world).await, [""; 0]);
    assert_eq!(lines(&world).await, [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_only_reads_is_asked_and_keeps_nothing() {
    let reads = "agents:\n\
        - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', effect: none}\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: none}\ndefault: GPA\n";
    let world = people().set("MAS_AGENTS", reads).start().await;
    let mut chat = Chat::of(&world, true);
    chat.say("find user John").await;
    let before = stored(&world).await;
    let answer = chat.say("/whatif count user list").await;
    assert!(
        answer.text().starts_with("UMS did: count user list"),
        "{}",
        answer.text()
    );
    assert_eq!(stored(&world).await, before);
    let gone = world.ums.seen();
    let gone: Vec<&str> = (gone.iter())
        .filter(|seen| seen.method == "DELETE")
        .map(|seen| seen.path.as_str())
        .collect();
    assert_eq!(gone, ["/conversations/c1"]);
    chat.say("show user John").await;
    assert_eq!(
        told(&world),
        conversations(&[
            ("c0", &["find user John", "show user John"]),
            ("c1", &["count user list [find user John]"]),
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_turn_is_as_if_nobody_had_asked_what_if() {
    for (states, asks) in [(true, true), (true, false), (false, true)] {
        let world = people().start().await;
        let mut chat = Chat::of(&world, states);
        chat.say("weather in Kyiv").await;
        let words = if asks {
            "/whatif weather in Rome"
        } else {
            "weather in Rome"
        };
        let mut messages = chat.messages.clone();
        messages.push(user(words));
        let only = configured(&world, &messages, json!({"what_if": true})).await;
        assert!(
            only.text().starts_with("GPA did: weather in Rome"),
            "{}",
            only.text()
        );
        chat.messages = messages;
        chat.messages.push(match states {
            true => echoed(&only),
            false => json!({"role": "assistant", "content": only.text()}),
        });
        chat.say("and tomorrow").await;
        assert_eq!(
            history(&world),
            [
                "weather in Kyiv",
                "GPA did: weather in Kyiv",
                "and tomorrow"
            ]
        );
        // No model hears of it either.
        let asked = World::asked(&world.model);
        assert!(!asked.last().unwrap().to_string().contains("Rome"));
        let records = stored(&world).await;
        assert_eq!(
            records.iter().filter(|sk| sk.contains("TURN")).count(),
            2,
            "{records:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_was_asked_twice_in_is_deleted_there_once() {
    let reads = "agents:\n\
        - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', effect: none, checks: {hold: true}}\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: none}\ndefault: GPA\n";
    let asked = AtomicUsize::new(0);
    let world = people()
        .set("MAS_AGENTS", reads)
        .ums(move |seen| match seen.path.as_str() {
            "/conversations" => Reply::json(200, json!({"id": "c0"})),
            path if path.ends_with("/chat") => match asked.fetch_add(1, Ordering::SeqCst) {
                0 => chat("I can't help with that."),
                _ => chat("There are two."),
            },
            _ => Reply::json(200, json!({})),
        })
        .start()
        .await;
    world.well(&[user("/whatif count user list")]).await;
    let paths = world.ums.seen().into_iter();
    let paths: Vec<String> = paths
        .map(|seen| format!("{} {}", seen.method, seen.path))
        .collect();
    assert_eq!(
        paths,
        [
            "POST /conversations",
            "POST /conversations/c0/chat",
            "POST /conversations/c0/chat",
            "DELETE /conversations/c0"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_what_if_that_is_stopped_at_once_is_left_out_all_the_same() {
    let world = people()
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"role": "assistant"})))
                .hang()
        })
        .start()
        .await;
    let body = json!({"messages": [user("weather")], "stream": true,
                      "custom_fields": {"configuration": {"what_if": true}}});
    let mut answer = world.post(&body).send().await.unwrap();
    let mut read = String::new();
    while !read.contains("Call GPA Agent") {
        let piece = answer.chunk().await.unwrap().expect("the answer ended");
        read.push_str(&String::from_utf8_lossy(&piece));
    }
    assert!(read.contains(r#""state":{"what_if":true}"#), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_capitals_or_with_a_colon_does_nothing_either() {
    let world = people().start().await;
    for words in ["/Whatif lock user John", "/whatif: lock user John"] {
        let answer = world.well(&[user(words)]).await;
        assert!(
            answer
                .text()
                .starts_with("UMS would be asked:\n\n> lock user John"),
            "{}",
            answer.text()
        );
    }
    let alone = world.well(&[user("/whatif")]).await;
    assert_eq!(alone.state(), json!({"what_if": true}));
    assert!(world.ums.seen().is_empty());
    assert_eq!(stored(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_what_if_of_several_asks_who_reads_and_tells_of_who_would_act() {
    let world = people()
        .model(planner(json!([
            step("weather", "GPA", "Weather in Paris", &[]),
            step("users", "UMS", "Lock John", &[]),
            step("report", "GPA", "Report", &["users"])
        ])))
        .start()
        .await;
    let answer = world
        .well(&[user("/whatif Weather in Paris and lock user John")])
        .await;
    assert_eq!(world.gpa.seen().len(), 1);
    assert!(world.ums.seen().is_empty());
    let text = answer.text();
    assert!(text.contains("GPA did: Weather in Paris"), "{text}");
    assert!(
        text.contains("UMS, GPA would be asked") && text.contains("Lock John"),
        "{text}"
    );
    assert_eq!(stored(&world).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_what_if_approves_nothing_and_changes_no_preference() {
    let world = people().start().await;
    let mut chat = Chat::of(&world, true);
    let proposed = chat.say("delete user John").await;
    let digest = proposed.text().split("approve ").nth(1).unwrap()[..16].to_owned();
    let before = stored(&world).await;
    let approve = format!("approve {digest}");
    let mut messages = chat.messages.clone();
    messages.push(user(&approve));
    let only = configured(&world, &messages, json!({"what_if": true})).await;
    assert!(
        only.text().starts_with("This only asks what would happen"),
        "{}",
        only.text()
    );
    let told = world.well(&[user("/whatif Never ask UMS")]).await;
    assert!(
        told.text().contains("your preferences stay as they are"),
        "{}",
        told.text()
    );
    assert_eq!(stored(&world).await, before);
    assert!(world.ums.seen().is_empty());
    // What was proposed waits as before.
    chat.say(&approve).await;
    assert_eq!(told_once(&world), ["delete user John"]);
}

fn told_once(world: &World) -> Vec<String> {
    told(world).into_values().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_what_if_costs_what_it_costs_and_teaches_nothing() {
    let world = people()
        .set("MAS_ROUTING", "cache=1h,guess=off")
        .set("MAS_LIMITS", "tokens=9")
        .start()
        .await;
    world.well(&[user("/whatif hello")]).await;
    let refused = world.ask(&[user("hello")]).await;
    assert_eq!(refused.error_code(), "rate_limit_exceeded");
    let world = people()
        .set("MAS_ROUTING", "cache=1h,guess=off")
        .start()
        .await;
    for _ in 0..2 {
        world.well(&[user("/whatif hello")]).await;
    }
    assert_eq!(World::asked(&world.model).len(), 2, "no decision was kept");
    world.well(&[user("hello")]).await;
    world.well(&[user("/whatif hello")]).await;
    assert_eq!(
        World::asked(&world.model).len(),
        3,
        "one that was kept counts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_name_who_is_asked_at_all() {
    let world = people().start().await;
    let only = |agents: Value| json!({"agents": agents});
    // The model wants the UMS, and is told that there is no such agent for this turn.
    let answer = configured(&world, &[user("find user John")], only(json!(["GPA"]))).await;
    assert!(answer.text().starts_with("GPA did"), "{}", answer.text());
    assert!(world.ums.seen().is_empty());
    let answer = configured(&world, &[user("weather")], only(json!(["UMS"]))).await;
    assert!(
        answer.text().starts_with("UMS did"),
        "not even the default agent: {}",
        answer.text()
    );
    let named = configured(&world, &[user("@UMS find user John")], only(json!(["GPA"]))).await;
    assert_eq!(
        named.text(),
        "UMS is not among the agents that this request lets be asked, so it was not."
    );
    // It is nobody's preference.
    let told = world.well(&[user("What are my preferences?")]).await;
    assert!(
        told.text().starts_with("You have no preferences set."),
        "{}",
        told.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_before_a_preference_and_never_before_a_rule() {
    let demands = "agents:\n\
        - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}'}\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: none}\ndefault: GPA\n\
        routing:\n  rules:\n  - if: contains(query, \"law\")\n    then: {set: {synthesis: always}}\n  \
        - if: contains(query, \"bomb\")\n    then: {forbid: GPA}\n";
    let world = people()
        .set("MAS_SYNTHESIS", "always")
        .set("MAS_AGENTS", demands)
        .start()
        .await;
    world
        .well(&[user(
            "Skip the summary. Hide stages. Always answer in German",
        )])
        .await;
    let ask = async |text: &str, configuration: Value| {
        configured(&world, &[user(text)], configuration).await
    };
    assert!(
        ask("hello", json!({}))
            .await
            .text()
            .starts_with("GPA did: hello")
    );
    let always = ask(
        "hello",
        json!({"synthesis": "always", "stages": "full", "language": "fr"}),
    )
    .await;
    assert_eq!(always.text(), "Final answer.");
    assert_eq!(always.stage("Call GPA")["status"], "completed");
    let written = World::asked(&world.model);
    let written = written
        .iter()
        .rfind(|body| body["stream"] == true)
        .unwrap()
        .to_string();
    assert!(
        written.contains("French") && !written.contains("German"),
        "{written}"
    );
    let ruled = ask("the law", json!({"synthesis": "never"})).await;
    assert_eq!(ruled.text(), "Final answer.");
    let forbidden = ask("a bomb", json!({"agents": ["GPA"], "agent": "GPA"})).await;
    assert!(
        forbidden.text().contains("GPA may not be asked this"),
        "{}",
        forbidden.text()
    );
    // What is wanted of every turn is as it was.
    assert!(
        ask("hello", json!({}))
            .await
            .text()
            .starts_with("GPA did: hello")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_examples_are_true() {
    let page = include_str!("../docs/branches.md");
    let block = |kind: &str| {
        let block = page.split(&format!("```{kind}\n")).nth(1).unwrap();
        block.split("```").next().unwrap()
    };
    let world = people().start().await;
    for exchange in block("chat").split("> ").skip(1) {
        let (said, told) = exchange.split_once('\n').unwrap();
        let answer = world.well(&[user(said)]).await;
        assert!(answer.text().contains(told.trim()), "{}", answer.text());
    }
    let configuration: Value = serde_json::from_str(block("json")).unwrap();
    let answer = configured(&world, &[user("lock user John")], configuration).await;
    assert!(
        answer.text().starts_with("UMS would be asked"),
        "{}",
        answer.text()
    );
    assert!(world.ums.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_configuration_may_hold_is_published_and_nothing_else_is_taken() {
    let world = people().start().await;
    let schema = world.get("/openai/deployments/mas-coordinator/configuration");
    let schema: Value = schema.send().await.unwrap().json().await.unwrap();
    let good = json!({"agent": "GPA", "agents": ["GPA", "UMS"], "synthesis": "auto", "stages": "summary",
                      "language": "de", "budget": {"seconds": 60}, "what_if": false});
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&schema["properties"]), names(&good));
    let answer = configured(&world, &[user("hello")], good).await;
    assert_eq!(answer.checked.error, None);
    for (wrong, param, says) in [
        (
            json!({"speed": 7}),
            ".speed",
            "expected one of `agent`, `agents`, `synthesis`",
        ),
        (
            json!({"agents": []}),
            ".agents",
            "expected at least one agent",
        ),
        (json!({"agents": ["HR"]}), ".agents", "expected one of"),
        (json!({"agents": "GPA"}), ".agents", "expected a sequence"),
        (
            json!({"agent": "UMS", "agents": ["GPA"]}),
            ".agent",
            "expected one of agents",
        ),
        (
            json!({"synthesis": "sometimes"}),
            ".synthesis",
            "expected one of `always`, `auto`, `never`",
        ),
        (
            json!({"stages": "some"}),
            ".stages",
            "expected one of `none`, `summary`, `full`",
        ),
        (
            json!({"language": "Klingon"}),
            ".language",
            "expected a language, one of en, uk",
        ),
        (json!({"what_if": "yes"}), ".what_if", "expected a boolean"),
        (
            json!({"budget": {"euros": 1}}),
            ".budget.euros",
            "expected one of `seconds`, `dollars`, `tokens`",
        ),
        (
            json!({"budget": {"seconds": 0}}),
            ".budget.seconds",
            "above 0",
        ),
    ] {
        let body = json!({"messages": [user("hello")], "custom_fields": {"configuration": wrong}});
        let refused = world.post(&body).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{wrong}");
        let error: Value = refused.json().await.unwrap();
        let told = &error["error"];
        assert_eq!(
            told["param"],
            format!("custom_fields.configuration{param}"),
            "{told}"
        );
        assert!(told["message"].as_str().unwrap().contains(says), "{told}");
    }
}
