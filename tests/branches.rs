//! Stories of edited history: what agents are told after an edit, when a person goes back, and in two branches at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tokio::join;

use crate::world::{Answer, Plan, World, echoed, model, plan, routes, says, user};

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
