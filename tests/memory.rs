//! Stories of what is remembered: by the client alone, by the store alone, by neither, and never across owners.

use std::time::Duration;

use coordinator::domain::conversation::{Outcome, Stored, TurnRecord};
use coordinator::domain::ids::{AgentId, ConversationId, Owner, Timestamp, TurnId};
use coordinator::store::{self, Conversations, Saved, Session, Write};
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{World, delta, echoed, finish, model, plan, says, table, user};

/// An agent that tells its turn's number, so that every one of its answers is different.
fn counting(seen: &Seen) -> Reply {
    let turns = seen.json()["messages"].as_array().map_or(0, Vec::len);
    says(&format!("own answer {turns}"))
}

/// What GPA was told to be its own earlier answers, in its last call.
fn told(world: &World) -> Vec<String> {
    let asked = World::asked(&world.gpa);
    let messages = asked.last().unwrap()["messages"]
        .as_array()
        .unwrap()
        .clone();
    let own = messages
        .iter()
        .filter(|message| message["role"] == "assistant");
    own.map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_its_own_answers_not_the_synthesised_ones() {
    let world = plan("GPA").gpa(counting).start().await;
    let first = world.well(&[user("one")]).await;
    world
        .well(&[user("one"), echoed(&first), user("two")])
        .await;
    assert_eq!(told(&world), ["own answer 1"]);
    assert_eq!(first.text(), "Final answer.");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_clients_state_missing_the_store_is_used() {
    let world = plan("GPA").gpa(counting).start().await;
    let first = world.well(&[user("one")]).await;
    let bare = json!({"role": "assistant", "content": first.text()});
    world.well(&[user("one"), bare, user("two")]).await;
    assert_eq!(told(&world), ["own answer 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_store_down_the_answer_comes_and_says_so() {
    let world = plan("GPA")
        .gpa(counting)
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .start()
        .await;
    let first = world.well(&[user("one")]).await;
    let stage = first.stage("Conversation memory");
    assert_eq!(stage["status"], "failed");
    assert!(
        stage["content"]
            .as_str()
            .unwrap()
            .contains("cannot be reached")
    );
    world
        .well(&[user("one"), echoed(&first), user("two")])
        .await;
    assert_eq!(
        told(&world),
        ["own answer 1"],
        "the client's state alone is enough"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_edited_state_is_ignored_and_no_error() {
    let world = plan("GPA").gpa(counting).start().await;
    let first = world.well(&[user("one")]).await;
    let genuine = first.state();
    let edited = |field: &str, value: Value| {
        let mut state = genuine.clone();
        state[field] = value;
        state
    };
    let payload = genuine["payload"].as_str().unwrap();
    for forged in [
        edited("mac", json!("AAAA")),
        edited("kid", json!("k9")),
        edited("v", json!(2)),
        edited("payload", json!(payload.replace('a', "b"))),
        json!({"v": 1, "kid": "k1", "payload": {}, "mac": 5}),
        json!({"anything": [1, 2]}),
    ] {
        let shown = json!({"role": "assistant", "content": "never said", "custom_content": {"state": forged}});
        // Another client id, so that the store does not help either.
        let body = json!({"messages": [user("one"), shown, user("two")], "stream": true});
        let answer = World::answer(world.post_in("other", &body)).await;
        assert_eq!(answer.checked.error, None);
    }
    let body = json!({"messages": [user("one"), echoed(&first), user("two")], "stream": true});
    World::answer(world.post(&body)).await;
    assert_eq!(
        told(&world),
        ["own answer 1"],
        "the genuine one still works"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_all_agents_are_carried_on_every_turn() {
    let to = |seen: &Seen| {
        let json = seen.json();
        let last = json["messages"]
            .as_array()
            .and_then(|messages| messages.last().cloned())
            .unwrap_or_default();
        let ums = last["content"]
            .as_str()
            .unwrap_or_default()
            .contains("user");
        model(seen, if ums { "UMS" } else { "GPA" })
    };
    // Without a store, only what the newest state carries is left.
    let world = plan("GPA")
        .model(to)
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .start()
        .await;
    let first = world.well(&[user("find user John")]).await;
    let second = world
        .well(&[user("find user John"), echoed(&first), user("weather")])
        .await;
    let trimmed = [user("weather"), echoed(&second), user("rename user John")];
    let third = world.well(&trimmed).await;
    let content = third.stage("Call UMS")["content"].clone();
    assert_eq!(content, "Done: all good.", "no new conversation was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_agent_state_stays_in_the_store_and_comes_back() {
    let large = json!({"tool_call_history": [{"role": "tool", "content": "x".repeat(30_000)}]});
    let sent = large.clone();
    let gpa = move |_: &Seen| {
        Reply::sse()
            .data(delta(json!({"content": "big"})))
            .data(delta(json!({"custom_content": {"state": sent}})))
            .data(finish())
            .done()
    };
    let world = plan("GPA").gpa(gpa).start().await;
    let first = world.well(&[user("one")]).await;
    assert!(first.state().to_string().len() <= 16 * 1024);
    world
        .well(&[user("one"), echoed(&first), user("two")])
        .await;
    let back = &World::asked(&world.gpa)[1]["messages"][1]["custom_content"]["state"];
    assert_eq!(*back, large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_ums_id_is_used_only_when_the_store_binds_it_or_a_setting_allows_it() {
    let legacy = |id: &str| json!({"role": "assistant", "content": "old", "custom_content": {"state": {"ums_conversation_id": id}}});
    let created = "19b1346a-acca-4abf-b81b-b1f21c51dc70";
    for (allowed, bound) in [(false, false), (false, true), (true, false)] {
        let world = plan("UMS")
            .set("MAS_LEGACY_SESSIONS", if allowed { "on" } else { "off" })
            .start()
            .await;
        if bound {
            // A turn of another conversation of the same owner makes the session known.
            let body = json!({"messages": [user("first")], "stream": true});
            World::answer(world.post_in("other", &body)).await;
        }
        let messages = [user("old question"), legacy(created), user("and now")];
        let answer = world.well(&messages).await;
        let content = answer.stage("Call UMS")["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            content.contains("Created new"),
            !(allowed || bound),
            "{allowed} {bound}: {content}"
        );
    }
}

fn record(n: u64, state: usize) -> TurnRecord {
    let text = |length: usize| "y".repeat(length);
    serde_json::from_value(json!({
        "id": TurnId::now(), "at": n, "outcome": "answered", "source": "model", "rationale": "", "shown": "x",
        "duration_ms": 1, "exchange": {"agent": "GPA", "request": "r", "answer": "a", "state": {"s": text(state)}}
    }))
    .unwrap()
}

async fn conversations(owner: &str) -> (Conversations, tokio::task::JoinHandle<()>) {
    let (endpoint, server) = table().await;
    let table = store::connect("mas", Some(&endpoint)).await;
    (
        Conversations::of(
            &table,
            Owner::new("default", owner),
            Duration::from_secs(100),
        ),
        server,
    )
}

async fn save(
    conversations: &Conversations,
    record: &TurnRecord,
    session: Option<(&str, bool)>,
) -> Saved {
    let agent = AgentId::new("UMS");
    let session = session.map(|(id, created)| Session {
        agent: &agent,
        id,
        created,
    });
    let write = Write {
        ends: None,
        account: None,
        conversation: &ConversationId::new("c"),
        record,
        kept: true,
        sessions: session.as_slice(),
        audit: None,
    };
    conversations.save(write).await.unwrap().saved
}

async fn load(conversations: &Conversations, now: u64) -> Stored {
    conversations
        .load(&ConversationId::new("c"), Timestamp(now))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_turns_are_gone_before_the_table_deletes_them() {
    let (conversations, _server) = conversations("alice").await;
    save(&conversations, &record(1000, 1), None).await;
    assert_eq!(load(&conversations, 1099).await.turns.len(), 1);
    assert_eq!(load(&conversations, 1100).await.turns.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_come_back_oldest_first_and_sessions_with_them() {
    let (conversations, _server) = conversations("alice").await;
    let records: Vec<TurnRecord> = (0..5).map(|n| record(n + 1000, 10)).collect();
    for (n, record) in records.iter().enumerate() {
        let saved = save(&conversations, record, Some(("s1", n == 0))).await;
        assert_eq!(saved, Saved::Whole);
    }
    let stored = load(&conversations, 1000).await;
    assert_eq!(stored.turns, records);
    let session = &stored.sessions[&AgentId::new("UMS")];
    assert_eq!((session.id.as_str(), session.turn), ("s1", records[4].id));
    let ums = AgentId::new("UMS");
    assert!(
        conversations
            .owns_session(&ums, "s1", Timestamp(1000))
            .await
            .unwrap()
    );
    assert!(
        !conversations
            .owns_session(&ums, "s2", Timestamp(1000))
            .await
            .unwrap()
    );
    let other = conversations
        .load(&ConversationId::new("cc"), Timestamp(1000))
        .await
        .unwrap();
    assert_eq!(other, Stored::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_chat_of_an_old_chats_name_starts_afresh() {
    let world = plan("UMS").start().await;
    let made = |answer: &crate::world::Answer| {
        answer.stage("Call UMS")["content"]
            .as_str()
            .unwrap()
            .contains("Created new")
    };
    assert!(made(&world.well(&[user("first")]).await));
    assert!(made(&world.well(&[user("first of another chat")]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_found_however_large_the_turns_are() {
    let (conversations, _server) = conversations("alice").await;
    for n in 0..12 {
        save(
            &conversations,
            &record(1000 + n, 900_000),
            Some(("s1", false)),
        )
        .await;
    }
    let stored = load(&conversations, 1000).await;
    assert_eq!(stored.sessions[&AgentId::new("UMS")].id, "s1");
    assert!(
        (3..12).contains(&stored.turns.len()),
        "{} whole turns",
        stored.turns.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_record_is_kept_in_parts_and_a_huge_one_without_the_agents_state() {
    let (conversations, _server) = conversations("alice").await;
    let large = record(1000, 1_000_000);
    assert_eq!(save(&conversations, &large, None).await, Saved::Whole);
    assert_eq!(load(&conversations, 1000).await.turns, [large]);
    assert_eq!(
        save(&conversations, &record(1001, 4_000_000), None).await,
        Saved::Cut
    );
    let turn = load(&conversations, 1000).await.turns.remove(1);
    assert_eq!(
        (turn.outcome, turn.exchanges[0].state.clone()),
        (Outcome::Answered, None)
    );
}
