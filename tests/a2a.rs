//! Stories of an agent that speaks A2A.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::a2a::A2aAgent;
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{Plan, World, echoed, plan, user};

/// The stand-in takes the GPA's place.
const AGENTS: &str = "agents:\n\
    - {name: GPA, protocol: a2a, endpoint: '{gpa}', key: '${GPA_API_KEY}', effect: irreversible, accepts: ['text/*']}\n";

const ALL: [(&str, bool); 4] = [("1.0", true), ("1.0", false), ("0.3", true), ("0.3", false)];

fn agent(version: &str, streaming: bool) -> (Arc<A2aAgent>, Plan) {
    let agent = Arc::new(A2aAgent::new(version, streaming));
    let answering = Arc::clone(&agent);
    let plan = plan("GPA")
        .gpa(move |seen| answering.answer(seen))
        .set("MAS_AGENTS", AGENTS)
        .set("MAS_SYNTHESIS", "never");
    (agent, plan)
}

/// The calls of one method, by the end of its name in either version.
fn calls(world: &World, method: &str) -> Vec<Value> {
    let asked = World::asked(&world.gpa).into_iter();
    asked
        .filter(|body| {
            let name = body["method"].as_str().unwrap_or_default().to_lowercase();
            name.ends_with(method) || name.starts_with(method)
        })
        .collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < patience, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_question_is_answered_in_the_next_turn_by_the_same_task() {
    for (version, streaming) in ALL {
        let (agent, plan) = agent(version, streaming);
        // The reply goes to whom asked, whatever the model would say.
        let world = plan
            .set("MAS_ROUTING", "sticky=12,guess=off,cache=off")
            .start()
            .await;
        let first = world.well(&[user("room")]).await;
        assert_eq!(first.text(), "Tell me the city.", "{version} {streaming}");
        let routed = World::asked(&world.model).len();
        let second = world
            .well(&[user("room"), echoed(&first), user("Lviv")])
            .await;
        assert_eq!(
            World::asked(&world.model).len(),
            routed,
            "{version} {streaming}"
        );
        let messages: Vec<Value> = (World::asked(&world.gpa).into_iter())
            .filter(|body| body["params"]["message"].is_object())
            .collect();
        assert_eq!(messages.len(), 2);
        let sent = &messages[1]["params"]["message"];
        assert_eq!(sent["taskId"], "task-1");
        assert_eq!(sent["contextId"], "ctx-1");
        assert_eq!(agent.states(), ["completed"]);
        if streaming {
            assert_eq!(second.text(), "A room in Lviv is yours.");
            let file = &second.message["custom_content"]["attachments"][0];
            assert_eq!(
                (&file["title"], &file["type"]),
                (&json!("room.png"), &json!("image/png"))
            );
        } else {
            assert_eq!(second.text(), "A room is yours.");
        }
        for seen in world.gpa.seen() {
            assert_eq!(seen.header("authorization"), Some("Bearer gpa-key"));
            assert!(seen.method == "GET" || seen.header("a2a-version") == Some(version));
        }
        let cards = world
            .gpa
            .seen()
            .iter()
            .filter(|seen| seen.method == "GET")
            .count();
        assert_eq!(cards, 1, "the card is read once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_a_stage_and_a_replaced_draft_is_no_part_of_the_answer() {
    let (_, plan) = agent("1.0", true);
    let world = plan.start().await;
    let answer = world.well(&[user("versions")]).await;
    assert_eq!(answer.text(), "The final text.");
    let stage = answer.stage("Task");
    assert_eq!(stage["content"], "Looking for rooms\n\nAll done.");
    assert_eq!(stage["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ends_badly_is_a_failure_in_the_agents_own_words() {
    for (asked, said) in [
        ("fail", "No rooms today."),
        ("reject", "I book rooms only."),
        ("login", "Sign in first."),
    ] {
        let (_, plan) = agent("1.0", true);
        let world = plan.start().await;
        let answer = world.ask(&[user(asked)]).await;
        assert_eq!(answer.error_code(), "agent_unavailable");
        let told = answer.checked.error.unwrap()["display_message"].to_string();
        assert!(told.contains(said), "{told}");
        assert_eq!(calls(&world, "canceltask").len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_task_is_cancelled_and_never_begun_again() {
    let (agent, plan) = agent("1.0", true);
    let world = plan.set("MAS_STREAM_IDLE", "300ms").start().await;
    let answer = world.ask(&[user("wait")]).await;
    assert_eq!(answer.error_code(), "agent_timeout");
    assert_eq!(agent.states(), ["canceled"]);
    assert_eq!(calls(&world, "sendstreamingmessage").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_cancelled_when_the_turn_runs_out_of_time_or_its_reader_leaves() {
    for streaming in [true, false] {
        let (agent, plan) = agent("1.0", streaming);
        let world = plan.set("MAS_TURN_TIMEOUT", "2s").start().await;
        world.ask(&[user("wait")]).await;
        assert_eq!(agent.states(), ["canceled"], "the deadline, {streaming}");
    }
    let (agent, plan) = agent("0.3", true);
    let world = plan.start().await;
    let request = world.post(&json!({"messages": [user("wait")], "stream": true}));
    let mut response = request.send().await.unwrap();
    let mut read = String::new();
    while !read.contains("Half") {
        let piece = response.chunk().await.unwrap().unwrap();
        read.push_str(&String::from_utf8_lossy(&piece));
    }
    drop(response);
    until("the reader left, the task runs on", || {
        agent.states() == ["canceled"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_agent_lost_begins_anew_in_the_same_context() {
    let (agent, plan) = agent("1.0", true);
    let world = plan
        .set("MAS_ROUTING", "sticky=12,guess=off,cache=off")
        .start()
        .await;
    let first = world.well(&[user("room")]).await;
    // It is over at the agent's, for whatever reason.
    let cancel =
        json!({"jsonrpc": "2.0", "id": 1, "method": "CancelTask", "params": {"id": "task-1"}});
    let request = world
        .client()
        .post(world.gpa.url())
        .body(cancel.to_string());
    request.send().await.unwrap();
    let second = world
        .well(&[user("room"), echoed(&first), user("Lviv")])
        .await;
    assert_eq!(second.text(), "You said: Lviv");
    let sent = calls(&world, "sendstreamingmessage");
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[2]["params"]["message"]["contextId"], "ctx-1");
    assert!(sent[2]["params"]["message"]["taskId"].is_null());
    assert_eq!(agent.states(), ["canceled", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_followed_by_asking() {
    let agent = Arc::new(A2aAgent::new("1.0", true));
    let answering = Arc::clone(&agent);
    let cut = move |seen: &Seen| {
        let reply = answering.answer(seen);
        if seen.json()["method"] != "SendStreamingMessage" {
            return reply;
        }
        let said = json!({"jsonrpc": "2.0", "id": 1, "result": {"artifactUpdate": {"taskId": "task-1", "contextId": "ctx-1",
            "append": true, "artifact": {"artifactId": "a", "parts": [{"text": "A room "}]}}}});
        Reply::sse().data(said).cut()
    };
    let world = plan("GPA")
        .gpa(cut)
        .set("MAS_AGENTS", AGENTS)
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let answer = world.well(&[user("hello")]).await;
    assert_eq!(answer.text(), "A room is yours.");
    assert_eq!(calls(&world, "gettask").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_the_agent_takes_are_parts_and_the_key_stays_at_the_configured_place() {
    let (_, plan) = agent("0.3", true);
    let world = plan.start().await;
    let message = json!({"role": "user", "content": "look", "custom_content": {"attachments": [
        {"type": "text/csv", "title": "t", "data": "a,b"},
        {"type": "text/plain", "title": "stored", "url": "files/b/x.txt"},
    ]}});
    world.well(&[message]).await;
    let sent = calls(&world, "message/stream");
    let parts = &sent[0]["params"]["message"]["parts"];
    let text = parts[0]["text"].as_str().unwrap();
    assert!(text.contains("stored (text/plain"), "{text}");
    assert_eq!(
        parts[1],
        json!({"kind": "file", "file": {"mimeType": "text/csv", "bytes": "YSxi", "name": "t"}})
    );
    // The card names another host; its path alone is taken.
    let posts = world.gpa.seen();
    assert!(
        posts
            .iter()
            .any(|seen| seen.method == "POST" && seen.path == "/rpc")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_page_about_agents_is_an_agents_file() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agents.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```yaml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let world = plan("Writer")
        .set(
            "MAS_AGENTS",
            &example.replace("https://models.example.com", "{gpa}"),
        )
        .set("MAS_ASSERTION_KEYS", crate::world::KEYS)
        .set("DIAL_URL", "{model}")
        .set("OPENAI_BASE_URL", "{model}")
        .set("MAS_AUTH", "none")
        .gpa(|_| crate::world::says("Written."))
        .start()
        .await;
    let coordinator = world.app.coordinator();
    let names: Vec<&str> = coordinator
        .registry
        .iter()
        .map(|card| card.id.as_str())
        .collect();
    assert_eq!(names, ["GPA", "UMS", "Writer", "Booker"]);
    world.well(&[user("Write a poem")]).await;
    assert_eq!(world.gpa.seen()[0].path, "/v1/chat/completions");
}
