//! Caps: whatever peers and callers send, no more than is set is taken, and what is left out is said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use coordinator::domain::conversation::TurnRecord;
use coordinator::domain::ids::{ConversationId, Owner, Timestamp, TurnId};
use coordinator::store::{self, Conversations, Write};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::world::{Answer, delta, finish, plan, says, table, user};

/// Letters that no note of ours has, so that what an agent said can be counted: one byte and two.
const LETTERS: [char; 2] = ['q', '\u{44f}'];

fn said(text: &Value) -> usize {
    let text = text.as_str().unwrap_or_default().chars();
    text.filter(|letter| LETTERS.contains(letter))
        .map(char::len_utf8)
        .sum()
}

fn words(most: usize) -> impl Strategy<Value = String> {
    vec(prop::sample::select(&LETTERS[..]), 0..most).prop_map(|letters| letters.iter().collect())
}

fn file() -> impl Strategy<Value = Value> {
    words(50).prop_map(|data| json!({"title": "t", "data": format!("{data}x")}))
}

/// One chunk of an agent that keeps to nothing but the grammar, and not always to that.
fn chunk() -> impl Strategy<Value = Value> {
    let status = prop::sample::select(vec![json!(null), json!("completed"), json!("failed")]);
    let stage = (
        (0_u32..6, option::of(words(60)), option::of(words(80))),
        (vec(file(), 0..3), status, option::of(0_u32..6)),
    )
        .prop_map(|((index, name, content), (attachments, status, parent))| {
            json!({"index": index, "name": name, "content": content, "attachments": attachments,
                   "status": status, "parent_stage_index": parent})
        });
    prop_oneof![
        words(120).prop_map(|text| json!({"content": text})),
        vec(stage, 1..4).prop_map(|stages| json!({"custom_content": {"stages": stages}})),
        vec(file(), 1..4).prop_map(|files| json!({"custom_content": {"attachments": files}})),
        words(30).prop_map(|text| json!({"custom_content": {"state": {"s": text}}})),
    ]
}

fn streamed(chunks: &[Value]) -> Reply {
    let reply = Reply::sse();
    let reply = chunks
        .iter()
        .fold(reply, |reply, chunk| reply.data(delta(chunk.clone())));
    reply.data(finish()).done()
}

#[test]
fn whatever_an_agent_sends_the_answer_keeps_the_grammar_and_the_caps() {
    let runtime = Runtime::new().unwrap();
    let script = Arc::new(Mutex::new(Vec::new()));
    let agent = {
        let script = Arc::clone(&script);
        move |_: &Seen| streamed(&script.lock().unwrap())
    };
    let small = "text=300,stages=3,stage_text=100,attachments=4,attachment=60,buffer=1KB";
    // Asked once more, it would have as many stages again.
    let unchecked = concat!(
        "checks: {empty: false, refusal: false, attachment: false, language: false}\n",
        include_str!("../infra/agents.yaml")
    );
    let plan = plan("GPA").gpa(agent).set("MAS_CAPS", small);
    let world = runtime.block_on(plan.set("MAS_AGENTS", unchecked).start());
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let kept = TestRunner::new(config).run(&vec(chunk(), 0..25), |chunks| {
        *script.lock().unwrap() = chunks;
        let answer = runtime.block_on(world.ask(&[user("go")]));
        // An agent that said nothing has failed; nothing else may come of this.
        prop_assert!(["", "agent_unavailable"].contains(&answer.error_code()));
        let stages = answer.stages();
        let (own, theirs) = stages[1..].split_first().unwrap();
        prop_assert!(said(&own["content"]) <= 300);
        let (notes, shown): (Vec<_>, Vec<_>) = theirs
            .iter()
            .partition(|stage| stage["name"] == "More stages");
        prop_assert!(
            notes.len() <= 1 && shown.len() <= 3,
            "{} stages",
            shown.len()
        );
        for stage in &shown {
            prop_assert!(said(&stage["name"]) + said(&stage["content"]) <= 100);
        }
        let custom = &answer.message["custom_content"];
        let lists = shown.iter().map(|stage| &stage["attachments"]);
        let files: Vec<&Value> = lists
            .chain([&custom["attachments"]])
            .filter_map(Value::as_array)
            .flatten()
            .collect();
        prop_assert!(files.len() <= 4, "{} attachments", files.len());
        for file in files {
            prop_assert!(file["data"].as_str().unwrap().len() <= 60);
        }
        Ok(())
    });
    kept.unwrap();
    runtime.block_on(async { drop(world) });
}

async fn capped(caps: &str, reply: Reply) -> Answer {
    let world = plan("GPA").gpa(move |_| reply.clone());
    world
        .set("MAS_CAPS", caps)
        .start()
        .await
        .ask(&[user("hi")])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_over_its_cap_is_cut_with_a_note_and_what_follows_it_is_kept() {
    let file = json!({"title": "a.csv", "url": "files/b/a.csv"});
    let reply = streamed(&[
        json!({"content": "q".repeat(30)}),
        json!({"content": "q".repeat(30)}),
        json!({"custom_content": {"attachments": [file]}}),
    ]);
    let answer = capped("text=40", reply).await;
    assert_eq!(answer.text(), "Final answer.");
    let stage = answer.stage("Call GPA Agent");
    assert_eq!(
        stage["content"],
        format!(
            "{}\n\n_(cut here: an agent's answer has at most 40 bytes)_",
            "q".repeat(40)
        )
    );
    assert_eq!(stage["status"], "completed");
    let files = &answer.message["custom_content"]["attachments"];
    assert_eq!(files[0]["title"], "a.csv");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_that_is_left_out_is_named() {
    let big = json!({"title": "big.bin", "data": "x".repeat(100)});
    let small = json!({"title": "small.bin", "data": "x"});
    let reply = streamed(&[json!({"custom_content": {"attachments": [big, small, small, small]}})]);
    let answer = capped("attachment=50,attachments=3", reply).await;
    let content = answer.stage("Call GPA Agent")["content"].to_string();
    for part in [
        "big.bin is left out: it is larger than 50 bytes",
        "small.bin and all after it are left out: 3 are the most",
    ] {
        assert!(content.contains(part), "{content}");
    }
    let files = &answer.message["custom_content"]["attachments"];
    assert_eq!(files.as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_a_cap_of_reading_fails_that_call_alone() {
    let text = |length| json!({"content": "q".repeat(length)});
    let endless: Vec<Value> = (0..40).map(|_| text(1000)).collect();
    let lines = format!(
        "data: {{\ndata: \"choices\":[], \"x\":\"{}\"\ndata: }}\n\n",
        "q".repeat(900)
    );
    let block = json!({"choices": [{"index": 0, "message": {"content": "q".repeat(5000)}}]});
    for (caps, reply) in [
        ("answer=20KB", streamed(&endless)),
        ("line=2KB", streamed(&[text(3000)])),
        ("event=500", Reply::sse().bytes(lines).done()),
        ("event=2KB", Reply::json(200, block)),
        (
            "headers=1KB",
            says("hi").header("x-large", &"q".repeat(2000)),
        ),
    ] {
        let answer = capped(caps, reply).await;
        assert_eq!(answer.error_code(), "agent_unavailable", "{caps}");
        assert_eq!(answer.stage("Call GPA Agent")["status"], "failed", "{caps}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_a_cap_is_refused() {
    let world = plan("GPA")
        .set("MAS_CAPS", "body=1KB,messages=3")
        .start()
        .await;
    let many = vec![user("q"); 4];
    let long = [user(&"q".repeat(2000))];
    for messages in [&many[..], &long[..]] {
        let (status, body) = world.block(messages).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (413, &json!("request_too_large"))
        );
    }
    assert_eq!(world.block(&many[..3]).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_kept_to_its_cap() {
    let reply = streamed(&[
        json!({"content": "hi"}),
        json!({"custom_content": {"state": {"s": "q".repeat(4000)}}}),
    ]);
    let answer = capped("state=2KB", reply).await;
    assert!(
        answer.state().to_string().len() <= 2048,
        "{}",
        answer.state()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_conversation_the_newest_turns_are_read_back() {
    let (endpoint, _server) = table().await;
    let table = store::connect("mas", Some(&endpoint)).await;
    let owner = Owner::new("default", "alice");
    let all = Conversations::of(&table, owner, Duration::from_secs(100));
    let conversation = ConversationId::new("c");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = TurnId::now();
        // Noise, of which two fit and three do not.
        let record: TurnRecord = serde_json::from_value(json!({
            "id": id, "at": 1000, "outcome": "answered", "source": "model", "rationale": "q".repeat(10_000),
            "shown": "x", "duration_ms": 1
        }))
        .unwrap();
        let write = Write {
            ends: None,
            account: None,
            conversation: &conversation,
            record: &record,
            kept: true,
            sessions: &[],
            audit: None,
        };
        all.save(write).await.unwrap();
        ids.push(id);
    }
    for (cap, expected) in [(25_000, &ids[1..]), (5_000, &[][..]), (100_000, &ids[..])] {
        let some = all.clone().capped(cap);
        let stored = some.load(&conversation, Timestamp(1000)).await.unwrap();
        let read: Vec<TurnId> = stored.turns.iter().map(|turn| turn.id).collect();
        assert_eq!(read, expected, "{cap}");
    }
}
