//! Stories of an agent that is a plain OpenAI-compatible server.

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{Plan, World, delta, echoed, finish, plan, user};

/// The stand-in at the GPA's place answers as such a server.
const AGENTS: &str = "agents:\n\
    - {name: GPA, protocol: openai, endpoint: '{gpa}/v1', model: tiny, key: '${GPA_API_KEY}', effect: none, accepts: ['image/*']}\n";

fn agents(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Plan {
    plan("GPA").gpa(answer).set("MAS_AGENTS", AGENTS)
}

fn says(text: &str) -> Reply {
    Reply::sse()
        .data(delta(json!({"role": "assistant", "content": ""})))
        .data(delta(json!({"content": text})))
        .data(finish())
        .data(json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}))
        .done()
}

fn ended(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_is_asked_in_its_own_words_and_told_its_own_turns() {
    let world = agents(|_| says("It is 42.")).start().await;
    let first = world.well(&[user("What is it?")]).await;
    world
        .well(&[user("What is it?"), echoed(&first), user("Sure?")])
        .await;
    let seen = world.gpa.seen();
    assert_eq!(seen[0].path, "/v1/chat/completions");
    assert_eq!(seen[0].header("authorization"), Some("Bearer gpa-key"));
    assert_eq!(seen[0].header("api-key"), None);
    assert_eq!(
        seen[1].json(),
        json!({"model": "tiny", "stream": true, "stream_options": {"include_usage": true}, "messages": [
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "It is 42."},
            {"role": "user", "content": "Sure?"},
        ]})
    );
    let used = first.whole["statistics"]["usage_per_model"].to_string();
    assert!(used.contains("GPA") && used.contains('7'), "{used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_parts_of_the_message_and_other_files_are_lines() {
    let world = agents(|_| says("A cat.")).start().await;
    let message = json!({"role": "user", "content": "What is this?", "custom_content": {"attachments": [
        {"type": "image/png", "title": "cat", "data": "iVBO"},
        {"type": "image/png", "title": "stored", "url": "files/bucket/cat.png"},
        {"type": "text/csv", "title": "table", "data": "a,b"},
    ]}});
    world.well(&[message]).await;
    let asked = World::asked(&world.gpa);
    let content = &asked[0]["messages"][0]["content"];
    let text = content[0]["text"].as_str().unwrap();
    assert!(text.starts_with("What is this?\n"), "{text}");
    assert!(
        text.contains("- table (text/csv") && text.contains("- stored (image/png"),
        "{text}"
    );
    assert_eq!(
        content[1],
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}})
    );
    assert_eq!(content.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_says_so() {
    let long = |_: &Seen| {
        let reply = Reply::sse().data(delta(json!({"content": "And then"})));
        reply.data(ended("length")).done()
    };
    let world = agents(long).set("MAS_SYNTHESIS", "never").start().await;
    let answer = world.well(&[user("Tell me a story")]).await;
    assert!(
        answer.text().starts_with("And then\n\n_(cut here"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_withheld_ends_the_turn_so() {
    let withheld = |_: &Seen| {
        let reply = Reply::sse().data(delta(json!({"content": ""})));
        reply.data(ended("content_filter")).done()
    };
    let world = agents(withheld).start().await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(
        answer.whole["choices"][0]["finish_reason"],
        "content_filter"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_dial_applications_say_means_nothing_from_a_plain_server() {
    let sly = |_: &Seen| {
        let custom = json!({"stages": [{"index": 0, "name": "S", "status": "completed"}], "state": {"k": 1}});
        let reply = Reply::sse().data(delta(json!({"content": "Hi", "custom_content": custom})));
        reply.data(finish()).done()
    };
    let world = agents(sly).start().await;
    let first = world.well(&[user("hi")]).await;
    assert!(first.stages().iter().all(|stage| stage["name"] != "S"));
    world
        .well(&[user("hi"), echoed(&first), user("and?")])
        .await;
    let asked = World::asked(&world.gpa)[1].to_string();
    assert!(!asked.contains("custom_content"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_without_a_model_is_a_mistake_of_the_agents_file() {
    let text = "agents:\n- {name: A, protocol: openai, endpoint: 'https://a.example.com/v1'}\n";
    let env = coordinator::settings::Env::from([
        ("MAS_AGENTS", text),
        ("OPENAI_BASE_URL", "https://m.example.com"),
        ("MAS_AUTH", "none"),
        ("MAS_STATE_KEYS", crate::world::KEYS),
    ]);
    let settings = crate::compose::settings(env).await.unwrap();
    let metrics = coordinator::metrics::Metrics::kept();
    let problem = crate::compose::app(&settings, metrics).await.unwrap_err();
    assert!(problem.to_string().contains("agent A"), "{problem}");
}
